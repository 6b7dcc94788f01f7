"""A line in the log when the process has no file descriptor left: new connections then wait, and nothing else tells why."""

from __future__ import annotations

import asyncio
import errno
import os

from octavo.log import get_logger

__all__ = ["watch_descriptors"]

_log = get_logger(__name__)
_EVERY_S = 2.0
_AGAIN_S = 60.0


async def watch_descriptors(descriptor: int, *, every_s: float = _EVERY_S) -> None:
    """Look every few seconds whether `descriptor` can still be duplicated; warn at most once a minute. Runs until cancelled."""
    loop = asyncio.get_running_loop()
    warned = -_AGAIN_S
    while True:
        if _exhausted(descriptor) and loop.time() - warned >= _AGAIN_S:
            warned = loop.time()
            _log.warning("no file descriptor is left: new connections wait; raise the limit (ulimit -n), or look for idle connections")
        await asyncio.sleep(every_s)


def _exhausted(descriptor: int) -> bool:
    try:
        os.close(os.dup(descriptor))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False
