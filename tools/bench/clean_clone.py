#!/usr/bin/env python3
"""What a newcomer waits for: seconds from a clean clone to the first token of `tools/serve`, and what it takes on disk and in memory.

    python tools/bench/clean_clone.py [--commit HEAD] [--keep]

Everything is made anew in a temporary folder: virtual environment, build, model download (pip's cache is set aside). On disk are the
packages in `.venv` without what every new virtual environment has (pip, setuptools).
Standard library only. The processor should have nothing else to do.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

__all__ = ["measure"]

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 1800.0
OF_PYTHON = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")
BODY = {"prompt": "The sky is", "max_tokens": 1}


def measure(commit: str, folder: Path) -> dict[str, float]:
    """Clone into `folder`, start the server there, ask for one token. Raises `SystemExit` where it does not come."""
    clone = folder / "octavo"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), "checkout", "--quiet", commit], check=True)
    environment = {**os.environ, "OCTAVO_CACHE": str(folder / "cache"), "PIP_NO_CACHE_DIR": "1"}
    environment.pop("PYTHONPATH", None)
    port = _free_port()
    started = time.perf_counter()
    server = subprocess.Popen([str(clone / "tools" / "serve"), "--port", str(port)], env=environment)
    try:
        _first_token(server, port, started)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "packages_mb": _packages_mb(clone / ".venv"), "resident_mib": _resident_mib(server.pid)}
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _first_token(server: subprocess.Popen[bytes], port: int, started: float) -> None:
    while time.perf_counter() < started + LIMIT_S:
        if server.poll() is not None:
            raise SystemExit("tools/serve ended; its words are above")
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("POST", "/v1/completions", json.dumps(BODY), {"Content-Type": "application/json"})
            if json.load(connection.getresponse())["usage"]["completion_tokens"] != 1:
                raise SystemExit("the server answered without a token")
            return
        except OSError:  # it does not listen yet
            time.sleep(0.05)
        finally:
            connection.close()
    raise SystemExit(f"no token within {LIMIT_S:.0f} s")


def _packages_mb(venv: Path) -> float:
    """Allocated blocks, as `du` counts them."""
    site = next(venv.glob("lib/python*/site-packages"))
    packages = [folder for folder in site.iterdir() if not folder.name.startswith(OF_PYTHON)]
    return sum(path.lstat().st_blocks * 512 for folder in packages for path in [folder, *folder.rglob("*")]) / 1e6


def _resident_mib(process_id: int) -> float:
    status = Path(f"/proc/{process_id}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commit", default="HEAD", help="what is checked out (default: HEAD)")
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="octavo-clone-"))
    try:
        figures = measure(options.commit, folder)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    packages, resident = f"packages take {figures['packages_mb']:.0f} MB on disk", f"{figures['resident_mib']:.0f} MiB resident"
    print(f"first token after {figures['seconds']:.1f} s; {packages}; {resident}")


if __name__ == "__main__":
    main()
