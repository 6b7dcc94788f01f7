"""An `octavo serve` process of the benchmark's own, on a free port of this machine."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from octavo.errors import OctavoError

__all__ = ["ServerProcess", "spawn_server"]

_SERVED_AT = re.compile(r"served at (http://\S+)")
_STOP_S = 20.0
_KEPT_LINES = 20


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server that is ready.

    Attributes:
        base_url: where it listens.
        started: when its process was started, seconds of `time.perf_counter`.
        ready: when it said that it serves.
    """

    base_url: str
    started: float
    ready: float


@contextmanager
def spawn_server(flags: Sequence[str]) -> Iterator[ServerProcess]:
    """Start a server, wait until it is ready, end it on leaving. Raises `OctavoError` with its last words when it fails."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "octavo", "serve", "--port", "0", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, errors="replace")
    try:
        base_url = _wait_until_ready(process)
        ready = time.perf_counter()
        threading.Thread(target=_drain, args=(process,), daemon=True).start()
        yield ServerProcess(base_url, started, ready)
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[str]) -> str:
    last_words: deque[str] = deque(maxlen=_KEPT_LINES)
    assert process.stderr is not None
    for line in process.stderr:
        last_words.append(line)
        if found := _SERVED_AT.search(line):
            return found[1]
    raise OctavoError(f"the server ended before it was ready: {''.join(last_words).strip()}")


def _drain(process: subprocess.Popen[str]) -> None:
    """Read on, so that the server never waits for us to take its log."""
    assert process.stderr is not None
    for _ in process.stderr:
        pass


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
