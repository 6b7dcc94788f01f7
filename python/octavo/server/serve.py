"""Running the application: listen, say where, serve until a signal, drain."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import signal
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiohttp import web

from octavo.errors import ConfigError
from octavo.log import get_logger
from octavo.server.app import build_app
from octavo.server.edge.connection import CONNECTION_LOG, Site
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.descriptors import watch_descriptors
from octavo.server.event_loop import run

if TYPE_CHECKING:
    from octavo.config import ServerConfig
    from octavo.engine.async_engine import AsyncEngine

__all__ = ["listen", "make_runner", "serve", "start_site"]

_log = get_logger(__name__)
_BACKLOG = 1024
_MAX_PORT = 65535
_LINGER_S = 2.0  # to read on after a refusal, so that a client that is still sending gets it
_LEAST_FILES = 32  # the model, the event loop, the listener, a few clients
_FAULT = 1
_INTERRUPTED = 128 + signal.SIGINT
_FLUSH_S = 5.0  # for answers that are complete to reach their clients


def listen(config: ServerConfig) -> socket.socket:
    """Return a socket that listens on the configured address.

    Call it before loading a model, so that a port in use is known at once.

    Raises:
        ConfigError: naming the address, the port and the remedy.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < _LEAST_FILES:  # below 0: no limit
        raise ConfigError(
            f"this process may open {allowed} files, but a server needs {_LEAST_FILES}, and one more for each client: see ulimit -n"
        )
    if not 0 <= config.port <= _MAX_PORT:
        raise ConfigError(f"--port is {config.port}; it must be at least 0 (any free port) and at most {_MAX_PORT}")
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
        dual = family is socket.AF_INET6 and config.host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    except OSError as error:
        raise ConfigError(_why_not(config, error)) from None


def make_runner(app: web.Application) -> web.AppRunner:
    """Return the runner that the application needs: a client's going cancels its handler, which aborts its request."""
    return web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        logger=CONNECTION_LOG,
        shutdown_timeout=_FLUSH_S,
        auto_decompress=False,
        lingering_time=_LINGER_S,
        keepalive_timeout=app[CONTEXT].config.idle_timeout_s,  # also from the connection's start to the end of the first head
    )


async def start_site(runner: web.AppRunner, app: web.Application, listener: socket.socket) -> None:
    """Serve `app`, whose runner is set up, on `listener`."""
    await Site(runner, listener, app[CONTEXT].half_closed, backlog=_BACKLOG).start()


def serve(engine: AsyncEngine, config: ServerConfig, listener: socket.socket | None = None) -> None:
    """Start `engine` and serve it until SIGTERM or SIGINT; then finish running requests for up to `config.shutdown_s` seconds.

    New requests are answered 503 meanwhile; a second signal ends at once. Blocks; the engine is closed on return. Where a fault ends the
    engine for good, the process ends with exit code 1, so that whoever supervises it starts another.

    Args:
        listener: a socket from `listen`; made here when None.
    """
    run(_serve(engine, config, listen(config) if listener is None else listener))


async def _serve(engine: AsyncEngine, config: ServerConfig, listener: socket.socket) -> None:
    app = build_app(engine, config)
    runner = make_runner(app)
    stop = _stop_signal()
    await engine.start()
    await runner.setup()
    try:
        await start_site(runner, app, listener)
        _log.info("%s is served at %s (API under /v1, chat page at /, dashboard at /dashboard)", engine.info.name, _url(listener))
        _warn_of_strangers(config, listener)
        watch = asyncio.create_task(watch_descriptors(listener.fileno()))
        fault = asyncio.ensure_future(engine.wait_dead())
        fault.add_done_callback(lambda _: stop.set())
        await stop.wait()
        fault.cancel()
        watch.cancel()
        app[CONTEXT].draining = True
        running = engine.stats().num_running
        _log.info("shutting down; %d running sequences get up to %.0f s to finish", running, config.shutdown_s)
        await engine.close(drain_s=config.shutdown_s)
    finally:
        await runner.cleanup()
        await engine.close()
    if engine.died:
        _log.error("stopped after a fault of the engine: %s", engine.dead)
        logging.shutdown()
        os._exit(_FAULT)  # a thread that hangs in a step would hold the process
    _log.info("stopped")


def _stop_signal() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets; the next one ends the process at once, SIGINT with exit code 130."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))  # KeyboardInterrupt would wait for the step that runs

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


def _warn_of_strangers(config: ServerConfig, listener: socket.socket) -> None:
    if not config.api_key and not ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback:
        _log.warning("the server listens beyond this machine without a key: whoever reaches it can use it; see --api-key")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


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
