"""Words to systemd: ready, stopping, reloading, alive. Where nobody listens ($NOTIFY_SOCKET is not set) they go nowhere.

Protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping

from octavo.log import get_logger

__all__ = ["ServiceManager"]

_log = get_logger(__name__)


class ServiceManager:
    """Whoever started this service and wants to know how it fares.

    Its variables are taken out of `environment`, so that no child speaks in this process's name.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", None)
        interval, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        mine = pid in ("", str(os.getpid()))
        self._watchdog_s = int(interval) / 1e6 if mine and interval.isdecimal() else 0.0

    @property
    def listens(self) -> bool:
        """Whether there is one."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Requests are taken from now on; also after `reloading`."""
        self._say(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Files are being read again; `ready` follows."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Running requests finish, then the process ends."""
        self._say(f"STOPPING=1\nSTATUS={status}")

    async def keep_alive(self) -> None:
        """Say twice in each interval of the unit's WatchdogSec= that the event loop turns. Runs until cancelled."""
        while self._address and self._watchdog_s:
            self._say("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _say(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), address)
        except OSError as error:
            _log.warning("the service manager at %s was not told %r: %s", self._address, message.partition("\n")[0], error)
