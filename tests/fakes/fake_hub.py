"""A Hugging Face hub on loopback: repositories of bytes, the two routes that downloads use, a log of requests."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["COMMIT", "FakeHub", "running_hub"]

COMMIT = "c" * 40


@dataclass
class FakeHub:
    """Attributes:
    repos: `user/name` -> file name -> content.
    token: who does not send it is told that nothing is there.
    gated: repositories that answer 403 as long as nobody agreed.
    gone: files that are listed and answer 404.
    lies: file name -> content that is sent instead of the one whose checksum is named.
    cut_after: bytes of a file after which the connection breaks, once.
    stall_after: bytes of a file after which nothing more comes, once; `stalled` tells when.
    log: (method, path, Range header) of each request.
    """

    repos: dict[str, dict[str, bytes]]
    token: str | None = None
    gated: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    lies: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None
    stall_after: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def running_hub(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve it on a free port; `hub.url` says where."""

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.state, self.path.partition("?")[0]
        hub.log.append((self.command, path, self.headers.get("Range")))
        parts = path.removeprefix("/api/models").strip("/").split("/")
        repo = "/".join(parts[:2])
        if repo not in hub.repos or (hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}"):
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
        elif repo in hub.gated and parts[2] == "resolve":
            self._refuse(403, "GatedRepo", f"Access to model {repo} is restricted")
        elif parts[3] not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif path.startswith("/api/models/"):
            self._send_info(repo)
        else:
            self._send_file(hub.repos[repo], "/".join(parts[4:]))

    def _send_info(self, repo: str) -> None:
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": _sha1(content), **_lfs(name, content)}
            for name, content in self.state.repos[repo].items()
        ]
        body = json.dumps({"id": repo, "modelId": repo, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "siblings": siblings})
        self._send(200, {"Content-Type": "application/json"}, body.encode())

    def _send_file(self, files: dict[str, bytes], name: str) -> None:
        if name not in files or name in self.state.gone:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        etag = _lfs(name, files[name]).get("lfs", {}).get("sha256") or _sha1(files[name])
        content = self.state.lies.get(name, files[name])
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(206 if first else 200, headers, content[first:], name)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, {"X-Error-Code": code, "X-Error-Message": message}, json.dumps({"error": message}).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes, file: str = "") -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.state.cut_after
        if cut is not None and file and len(body) > cut:
            self.state.cut_after = None
            self.wfile.write(body[:cut])
            self.close_connection = True
            return
        stall = self.state.stall_after
        if stall is not None and file and len(body) > stall:
            self.state.stall_after = None
            self.wfile.write(body[:stall])
            self.state.stalled.set()
            self.rfile.read(1)  # until the client is gone
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *unused: object) -> None:
        """Say nothing."""


def _sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _lfs(name: str, content: bytes) -> dict:
    """Weights are stored with Git LFS, under their sha256."""
    if not name.endswith((".safetensors", ".gguf")):
        return {}
    return {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}
