"""Files that a request names instead of sending them: from the hosts and the folder that the server's owner allows, from nowhere else.

A server that fetches what its clients name can be made to reach what they cannot (server-side request forgery). So each name must be
on a list, its addresses must be public or on the list themselves, and the connection goes to the very addresses that were checked: a
name that resolves to something else a moment later gains nothing. Redirects are followed by hand, each checked like the first.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from octavo.errors import InvalidRequestError

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver

    from octavo.config import ServerConfig

__all__ = ["MAX_MEDIA_BYTES", "MediaFiles", "is_public"]

MAX_MEDIA_BYTES = 20 * 1024 * 1024
"""Most bytes of one file."""
_MAX_REDIRECTS = 3
_MAX_URL = 2048  # characters
_AT_ONCE = 8  # files on their way, of all requests
_TIMEOUT_S = 15.0
_PIECE = 1 << 16
_SHOWN = 60  # characters of a URL that an error repeats
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215: IPv4 addresses inside
Resolve = Callable[[str, int], Awaitable[list[str]]]


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach the address too. False for those that hide an IPv4 address in an IPv6 one."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return _is_global(ip.ipv4_mapped)
        if ip.sixtofour is not None or ip.teredo is not None or any(ip in network for network in _NAT64):
            return False
    return _is_global(ip)


def _is_global(ip: IPv4Address | IPv6Address) -> bool:
    return ip.is_global and not ip.is_multicast


async def _addresses(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class MediaFiles:
    """Reads what `http:`, `https:` and `file:` URLs name. All calls on one event loop.

    Args:
        resolve: the addresses of a host; None: the system's resolver.
    """

    def __init__(self, config: ServerConfig, resolve: Resolve | None = None) -> None:
        self._names = frozenset(name.lower().rstrip(".") for name in config.allowed_media_domains)
        self._folder = None if config.allowed_local_media_path is None else Path(config.allowed_local_media_path).resolve()
        self._resolve = resolve or _addresses
        self._on_their_way = asyncio.Semaphore(_AT_ONCE)

    async def read(self, url: str, param: str) -> bytes:
        """Return the file's bytes, at most `MAX_MEDIA_BYTES`.

        Raises:
            InvalidRequestError: naming `param`: it is not allowed, not there, too large, or does not come in time.
        """
        scheme = url.partition(":")[0].lower()
        try:
            if scheme == "file":
                return await asyncio.to_thread(self._read_file, url)
            if scheme in ("http", "https"):
                return await self._fetch(url)
        except _Refused as refused:
            raise InvalidRequestError(f"{param}: {url[:_SHOWN]!r} {refused}", param) from None
        raise InvalidRequestError(f"{param}: {url[:_SHOWN]!r} is not a data:, http:, https: or file: URL", param)

    # ---- files ----------------------------------------------------------------------------------------------------------------

    def _read_file(self, url: str) -> bytes:
        if self._folder is None:
            raise _Refused("names a file, which this server reads for nobody (--allowed-local-media-path allows a folder)")
        parts = urlsplit(url)
        named = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or "\0" in named:
            raise _Refused("is not a file of this machine")
        path = Path(os.path.realpath(named))
        if not path.is_relative_to(self._folder):
            raise _Refused("is outside of the folder that --allowed-local-media-path allows")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold it up
        except OSError:
            raise _Refused("cannot be read") from None
        try:
            return _whole(descriptor)
        finally:
            os.close(descriptor)

    # ---- URLs -----------------------------------------------------------------------------------------------------------------

    async def _fetch(self, url: str) -> bytes:
        if not self._names:
            raise _Refused("is an address, and this server fetches none (--allowed-media-domains allows some); send a data URI")
        import aiohttp

        async with self._on_their_way:
            try:
                connector = aiohttp.TCPConnector(resolver=_Checked(self._checked_addresses), use_dns_cache=False, force_close=True)
                timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
                cookies = aiohttp.DummyCookieJar()
                async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=cookies, trust_env=False) as session:
                    return await self._follow(session, url)
            except _Refused:
                raise
            except asyncio.TimeoutError:
                raise _Refused(f"did not come within {_TIMEOUT_S:.0f} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                refused = _refusal_in(error)
                raise refused or _Refused("could not be fetched") from None

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_url(url)
            async with session.get(url, allow_redirects=False, headers={"Accept": "image/*,audio/*"}) as response:
                if response.status in _REDIRECTS:
                    url = urljoin(url, response.headers.get("Location", ""))
                    continue
                if response.status != 200:
                    raise _Refused(f"was answered {response.status}")
                return await _body(response)
        raise _Refused(f"redirects more than {_MAX_REDIRECTS} times")

    def _check_url(self, url: str) -> None:
        """The scheme, and the name against the list. An address in the place of a name goes through no resolver: it is checked here."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in ("http", "https") or not host or parts.username is not None or len(url) > _MAX_URL:
            raise _Refused("leads to what is no plain http: or https: URL")
        if not self._is_listed(host):
            raise _Refused(f"leads to {host[:_SHOWN]!r}, which is not among --allowed-media-domains")
        if _is_address(host) and not self._may_reach(host):
            raise _Refused("leads to an address that is not public")

    def _is_listed(self, host: str) -> bool:
        names = self._names
        parents = ("*." + host.split(".", index)[index] for index in range(1, host.count(".") + 1))
        return "*" in names or host in names or any(parent in names for parent in parents)

    def _may_reach(self, address: str) -> bool:
        return address in self._names or is_public(address)

    async def _checked_addresses(self, host: str, port: int) -> list[str]:
        addresses = await self._resolve(host, port)
        if not addresses or not all(map(self._may_reach, addresses)):
            raise _Refused("leads to an address that is not public")
        return addresses


class _Refused(OSError):
    """Why a file is not read, to be said after its name. An OSError, so that aiohttp hands it through from the resolver."""


def _whole(descriptor: int) -> bytes:
    """What the file holds."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _Refused("is not a regular file")
    if not 0 < status.st_size <= MAX_MEDIA_BYTES:
        raise _Refused(f"has {status.st_size} bytes; it may have 1 to {MAX_MEDIA_BYTES}")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(MAX_MEDIA_BYTES)


def _refusal_in(error: BaseException | None) -> _Refused | None:
    """The refusal that aiohttp has wrapped in an error of its own."""
    while error is not None:
        if isinstance(error, _Refused):
            return error
        error = getattr(error, "os_error", None) or error.__cause__
    return None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _Checked(addresses: Resolve) -> AbstractResolver:  # noqa: N802
    """aiohttp's resolver over `addresses`: what it gives is what is connected to."""
    from aiohttp.abc import AbstractResolver

    class Checked(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[Any]:
            return [
                {
                    "hostname": host,
                    "host": address,
                    "port": port,
                    "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                    "proto": 0,
                    "flags": socket.AI_NUMERICHOST,
                }
                for address in await addresses(host, port)
            ]

        async def close(self) -> None:
            """Nothing is kept."""

    return Checked()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for piece in response.content.iter_chunked(_PIECE):
        data += piece
        if len(data) > MAX_MEDIA_BYTES:
            raise _Refused(f"has more than {MAX_MEDIA_BYTES} bytes")
    return bytes(data)
