"""Sockets to listen on: an address and a port, a path, or what systemd has opened (socket activation)."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from octavo.errors import ConfigError

if TYPE_CHECKING:
    from octavo.config import ServerConfig

__all__ = ["BACKLOG", "is_loopback", "listen", "listeners", "url_of", "with_addresses"]

BACKLOG = 1024
_MAX_PORT = 65535
_LEAST_FILES = 32  # the model, the event loop, the listener, a few clients
_FIRST_PASSED = 3  # SD_LISTEN_FDS_START


@contextmanager
def listeners(config: ServerConfig, environment: MutableMapping[str, str]) -> Iterator[list[socket.socket]]:
    """Within the block, listen on the sockets that systemd passed to this process, or else where `config` says.

    Enter it before loading a model, so that a port in use is known at once. systemd's variables are taken out of `environment`, so that
    no child takes them for its own. Protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html

    Raises:
        ConfigError: naming the address and the remedy.
    """
    found = _passed(environment) or _listen_for_each(config)
    own = _inode(config.uds) if config.uds is not None and config.uds == found[0].getsockname() else None
    try:
        yield found
    finally:
        for each in found:
            each.close()
        if config.uds is not None and own is not None and _inode(config.uds) == own:  # another server may have taken the path
            os.unlink(config.uds)


def _listen_for_each(config: ServerConfig) -> list[socket.socket]:
    """A socket of its own for each front-end, which the system divides new connections among (SO_REUSEPORT); a path has one for all."""
    first = listen(config)
    if config.frontends == 1 or config.uds is not None:
        return [first]
    config = replace(config, port=first.getsockname()[1])
    first.close()  # it was alone on the port: only then others may join
    return [_listen_at_address(config, shared=True) for _ in range(config.frontends)]


def _passed(environment: MutableMapping[str, str]) -> list[socket.socket]:
    for_us = environment.get("LISTEN_PID") == str(os.getpid())
    count = environment.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(name, None)
    if not for_us or not count.isdecimal():
        return []
    return [_passed_socket(number) for number in range(_FIRST_PASSED, _FIRST_PASSED + int(count))]


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _passed_socket(number: int) -> socket.socket:
    try:
        found = socket.socket(fileno=number)
    except OSError as error:
        raise ConfigError(f"descriptor {number} that systemd passed is no socket: {error.strerror}") from None
    os.set_inheritable(number, False)
    if found.type is not socket.SOCK_STREAM or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigError(f"descriptor {number} that systemd passed does not listen for connections; the unit needs ListenStream=")
    return found


def listen(config: ServerConfig) -> socket.socket:
    """Return a socket that listens on the configured path or address.

    Raises:
        ConfigError: naming the address, the port and the remedy.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < _LEAST_FILES:  # below 0: no limit
        raise ConfigError(
            f"this process may open {allowed} files, but a server needs {_LEAST_FILES}, and one more for each client: see ulimit -n"
        )
    return _listen_at_address(config) if config.uds is None else _listen_at_path(config.uds)


def _listen_at_address(config: ServerConfig, *, shared: bool = False) -> socket.socket:
    if not 0 <= config.port <= _MAX_PORT:
        raise ConfigError(f"--port is {config.port}; it must be at least 0 (any free port) and at most {_MAX_PORT}")
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
        dual = family is socket.AF_INET6 and config.host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=dual, reuse_port=shared)
    except OSError as error:
        raise ConfigError(_why_not(config, error)) from None


def _listen_at_path(path: str) -> socket.socket:
    """Listen at `path`; a socket that a server before has left there is replaced, anything else is not."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_socket(path):
            if _answers(path):
                raise ConfigError(f"--uds {path}: another server listens there; stop it, or choose another path")
            os.unlink(path)
        made.bind(path)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"--uds {path}: a file that is no socket is there; choose another path") from None
        raise ConfigError(f"cannot listen on --uds {path}: {error.strerror or error}") from None
    except BaseException:
        made.close()
        raise
    return made


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
    return True


def with_addresses(config: ServerConfig, listeners: Sequence[socket.socket]) -> ServerConfig:
    """Return `config` with the host that the server really listens on: systemd may have chosen another than `--host`.

    It is empty where no browser of this machine can reach the server by a loopback name, as behind a path; what guards against
    rebound names (`octavo.server.edge.origins`) goes by it.
    """
    hosts = [each.getsockname()[0] for each in listeners if each.family is not socket.AF_UNIX]
    others = [host for host in hosts if not is_loopback(host)]
    return replace(config, host=next(iter([*others, *hosts]), ""))


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own only."""
    return ip_address(host.partition("%")[0]).is_loopback


def url_of(listener: socket.socket, *, secure: bool) -> str:
    """Where clients find `listener`, as a person would write it."""
    scheme = "https" if secure else "http"
    if listener.family is socket.AF_UNIX:
        return f"{scheme}+unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{scheme}://{shown}:{port}"


def _why_not(config: ServerConfig, error: OSError) -> str:
    where = f"cannot listen on {config.host} port {config.port}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where}: another program uses the port; stop it, or choose another port with --port (0: any free one)"
        case errno.EACCES:
            return f"{where}: ports below 1024 need privileges; choose another with --port"
        case errno.EADDRNOTAVAIL:
            return f"{where}: this machine has no such address; see --host"
    return f"{where}: {error}; see --host and --port"
