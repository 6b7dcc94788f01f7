"""Large files of the Hugging Face hub, by plain HTTP, so that a download that was killed goes on where it stopped.

`huggingface_hub` continues a connection that breaks, but what a process had fetched is lost with it. Here the bytes go to a file in its
cache that is named after their etag; the next process asks for the rest (RFC 9110, 14.2, Range), and the finished file becomes the
cache's blob, which the library then finds. Two processes take turns by the library's own lock.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["fetch_blob"]

_PARTIAL = ".partial"


def fetch_blob(repo: str, file: str, revision: str) -> None:
    """Bring the bytes of a file into the cache, unless they are there, or are more than the hub sends by plain HTTP.

    Nothing is checked but their number. Raises what `huggingface_hub` raises.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    url = hf_hub_url(repo, file, revision=revision)
    stated = get_hf_file_metadata(url)
    if not stated.etag or not stated.size or stated.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
        return
    cache, folder = Path(constants.HF_HUB_CACHE), repo_folder_name(repo_id=repo, repo_type="model")
    blob = cache / folder / "blobs" / stated.etag
    lock = cache / ".locks" / folder / f"{stated.etag}.lock"
    for path in (blob, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        partial = blob.with_name(blob.name + _PARTIAL)
        with partial.open("ab") as fetched:
            if fetched.tell() > stated.size:
                fetched.truncate(fetched.seek(0))
            there = fetched.tell()
            http_get(url, fetched, resume_size=there, headers=build_hf_headers(), expected_size=stated.size, displayed_filename=file)
        os.replace(partial, blob)
