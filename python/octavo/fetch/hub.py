"""Models of the Hugging Face hub: first its local cache, then a download into it through `huggingface_hub`.

That library keeps the cache (HF_HOME, HF_HUB_CACHE), continues a connection that breaks, shows progress, and reads HF_ENDPOINT, HF_TOKEN
and HF_HUB_OFFLINE. Here is which files a model needs, whether they are all there, whether what came has the checksum that the hub
names, and what to do when it fails. Weights come last, so a cached model whose weights are there has everything else. A cached model is
used as it is; the hub is not asked whether there is a newer one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo.errors import CheckpointError
from octavo.fetch.hub_files import folder_files, gguf_files, is_safetensors_repo, weight_names
from octavo.fetch.hub_name import HubName
from octavo.fetch.hub_resume import fetch_blob

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

__all__ = ["cached_hub_model", "hub_model_path"]


def hub_model_path(name: HubName, progress: Callable[[str], None]) -> Path:
    """Return the model's folder, or its (first) .gguf file, in the local cache, downloading what is missing.

    Raises:
        CheckpointError: no such model or file, no permission, no network, no room, or a damaged download.
    """
    cached = cached_hub_model(name)
    if cached is not None:
        return cached
    try:
        return _downloaded(name, progress)
    except CheckpointError:
        raise
    except Exception as error:  # the library's errors, and those of the HTTP client that its version has
        raise CheckpointError(f"cannot get {name} from the Hugging Face hub: {_advice(name, error)}") from error


def cached_hub_model(name: HubName) -> Path | None:
    """Return where the model lies in the local cache, or None where it or a part of it is not there."""
    folder = _cached_folder(name)
    if folder is None:
        return None
    present = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if name.file is None and "config.json" in present and is_safetensors_repo(present):
        index = folder / "model.safetensors.index.json"
        wanted: Iterable[str] = weight_names(json.loads(index.read_text())) if index.is_file() else ["model.safetensors"]
        return folder if set(wanted) <= set(present) else None
    try:
        files = gguf_files(name, present)
    except CheckpointError:
        return None
    return folder / files[0] if files else None


def _cached_folder(name: HubName) -> Path | None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    repo = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name.repo, repo_type="model")
    ref = repo / "refs" / name.revision
    folder = repo / "snapshots" / (ref.read_text().strip() if ref.is_file() else name.revision)
    return folder if folder.is_dir() else None


def _downloaded(name: HubName, progress: Callable[[str], None]) -> Path:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    info = HfApi().model_info(name.repo, revision=name.revision, files_metadata=True)
    siblings: dict[str, RepoSibling] = {each.rfilename: each for each in info.siblings or ()}
    is_folder = name.file is None and is_safetensors_repo(siblings)
    files = folder_files(siblings) if is_folder else gguf_files(name, siblings)
    if not files:
        raise CheckpointError(f"{name.repo} has neither safetensors nor GGUF weights, which are what Octavo reads")
    progress(f"downloading {name} ({_size(siblings, files)}) from the Hugging Face hub")
    paths = []
    for file in files:
        if siblings[file].lfs is not None:
            fetch_blob(name.repo, file, name.revision)
        path = Path(hf_hub_download(name.repo, file, revision=name.revision))
        _check(path, siblings[file])
        paths.append(path)
    return paths[files.index("config.json")].parent if is_folder else paths[0]


def _check(path: Path, sibling: RepoSibling) -> None:
    """Hold a large file against the checksum that the hub names; one that differs is taken out of the cache."""
    wanted = getattr(sibling.lfs, "sha256", None)
    if wanted is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != wanted:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{sibling.rfilename} has the sha256 {digest.hexdigest()}, not {wanted}; the download is damaged and was removed: try again"
        )


def _size(siblings: dict[str, Any], files: Sequence[str]) -> str:
    return f"{sum(siblings[file].size or 0 for file in files) / 1e6:,.0f} MB"


def _advice(name: HubName, error: Exception) -> str:
    """What went wrong and what to do, in one line."""
    from huggingface_hub import constants, errors

    kind = type(error)
    elsewhere = (
        f"or give the path of a model folder or .gguf file (hf download {name.repo} --local-dir FOLDER, on another machine, makes one)"
    )
    if issubclass(kind, errors.GatedRepoError):
        return f"its authors ask for consent first; give it at {constants.ENDPOINT}/{name.repo}, then set HF_TOKEN to your access token"
    if issubclass(kind, errors.RevisionNotFoundError):
        return f"it has no branch, tag or commit {name.revision!r}"
    if issubclass(kind, errors.RepositoryNotFoundError):
        return "no such repository, or a private one; check the name, or set HF_TOKEN to an access token that may read it"
    if issubclass(kind, errors.OfflineModeIsEnabled):
        return f"it is not in the local cache ({constants.HF_HUB_CACHE}) and HF_HUB_OFFLINE is set; unset it, {elsewhere}"
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return f"{error.strerror} ({error.filename}); set HF_HOME to a folder with room for it"
    reason = " ".join(str(error).split())[:200] or kind.__name__
    return f"{reason}; is {constants.ENDPOINT} reachable? Try again (what has come is kept), {elsewhere}"
