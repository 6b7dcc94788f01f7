"""Running the application: listen, say where, serve until a signal, drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from octavo.log import get_logger
from octavo.server.app import build_app
from octavo.server.edge.clients import Clients
from octavo.server.edge.connection import CONNECTION_LOG, Site
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.descriptors import watch_descriptors
from octavo.server.event_loop import run
from octavo.server.listen import BACKLOG, is_loopback, listen, url_of, with_addresses
from octavo.server.service_manager import ServiceManager

if TYPE_CHECKING:
    from octavo.config import ServerConfig
    from octavo.engine.port import Core, Engine
    from octavo.server.edge.tls import Certificates
    from octavo.server.front_ends import FrontEndJob

__all__ = ["make_runner", "serve", "serve_front_ends", "start_site"]

_log = get_logger(__name__)
_LINGER_S = 2.0  # to read on after a refusal, so that a client that is still sending gets it
_FAULT = 1
_INTERRUPTED = 128 + signal.SIGINT
_FLUSH_S = 5.0  # for answers that are complete to reach their clients


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


async def start_site(
    runner: web.AppRunner, app: web.Application, listener: socket.socket, certificates: Certificates | None = None
) -> None:
    """Serve `app`, whose runner is set up, on `listener`; over TLS where there are certificates."""
    context = None if certificates is None else certificates.context
    await Site(runner, listener, app[CONTEXT].half_closed, backlog=BACKLOG, ssl_context=context).start()


def serve(
    engine: Engine,
    config: ServerConfig,
    sockets: Sequence[socket.socket] = (),
    *,
    clients: Clients | None = None,
    certificates: Certificates | None = None,
    manager: ServiceManager | None = None,
) -> None:
    """Start `engine` and serve it until SIGTERM or SIGINT; then finish running requests for up to `config.shutdown_s` seconds.

    New requests are answered 503 meanwhile; a second signal ends at once. Blocks; the engine is closed on return. Where a fault ends the
    engine for good, the process ends with exit code 1, so that whoever supervises it starts another.

    Args:
        sockets: those that listen (`octavo.server.listen`); none: one is made here.
        clients: whoever has a key, read again at SIGHUP; None: those of `config`.
        certificates: serve TLS with these; they are read again when they change, and at SIGHUP.
        manager: told when the server is ready and when it stops.
    """
    sockets = list(sockets) or [listen(config)]
    clients = Clients(config, {}) if clients is None else clients
    run(_serve(engine, with_addresses(config, sockets), sockets, clients, certificates, manager or ServiceManager({})))


def serve_front_ends(core: Core, job: FrontEndJob, sockets: Sequence[socket.socket], manager: ServiceManager, *, secure: bool) -> None:
    """Serve `core` through as many processes as `job.server_config.frontends` says; else like `serve`.

    Raises:
        OctavoError: a front-end does not start.
    """
    run(_serve_front_ends(core, job, sockets, manager, secure=secure))


async def _serve_front_ends(
    core: Core, job: FrontEndJob, sockets: Sequence[socket.socket], manager: ServiceManager, *, secure: bool
) -> None:
    from octavo.engine.core_hub import CoreHub  # needed where there are several only
    from octavo.server.front_ends import FrontEnds

    hub = CoreHub(core)
    front_ends = FrontEnds(hub, job, sockets)
    stop = _stop_signal()
    await hub.start()
    try:
        await front_ends.start()
        where = url_of(sockets[0], secure=secure)
        _log.info("%s is served at %s by %d front-ends", job.info.name, where, job.server_config.frontends)
        fault = asyncio.ensure_future(core.wait_dead())
        fault.add_done_callback(lambda _: stop.set())
        chores = [asyncio.create_task(manager.keep_alive())]
        reloads = [lambda: front_ends.signal(signal.SIGHUP)] if job.server_config.api_key_file is not None or secure else []
        if reloads or manager.listens:
            _on_hangup(reloads, manager, where)
        manager.ready(f"serving {job.info.name} at {where}")
        await stop.wait()
        fault.cancel()
        manager.stopping(f"{core.stats().num_running} sequences finish")
        for chore in chores:
            chore.cancel()
    finally:
        await front_ends.stop()
        await hub.close()
    if core.died:
        _end_after_fault(core.dead)


async def _serve(
    engine: Engine,
    config: ServerConfig,
    sockets: Sequence[socket.socket],
    clients: Clients,
    certificates: Certificates | None,
    manager: ServiceManager,
) -> None:
    app = build_app(engine, config, clients=clients)
    runner = make_runner(app)
    stop = _stop_signal()
    await engine.start()
    await runner.setup()
    _calm_collector()
    try:
        for each in sockets:
            await start_site(runner, app, each, certificates)
        where = ", ".join(url_of(each, secure=certificates is not None) for each in sockets)
        _log.info("%s is served at %s (API under /v1, chat page at /, dashboard at /dashboard)", engine.info.name, where)
        _warn_of_strangers(clients, sockets)
        fault = asyncio.ensure_future(engine.wait_dead())
        fault.add_done_callback(lambda _: stop.set())
        chores = [asyncio.create_task(watch_descriptors(sockets[0].fileno())), asyncio.create_task(manager.keep_alive())]
        if certificates is not None:
            chores.append(asyncio.create_task(certificates.watch()))
        reloads = [clients.reload] if config.api_key_file is not None else []
        reloads += [certificates.reload] if certificates is not None else []
        if reloads or manager.listens:
            _on_hangup(reloads, manager, where)
        manager.ready(f"serving {engine.info.name} at {where}")
        await stop.wait()
        fault.cancel()
        app[CONTEXT].draining = True
        running = engine.stats().num_running
        manager.stopping(f"{running} sequences finish")
        _log.info("shutting down; %d running sequences get up to %.0f s to finish", running, config.shutdown_s)
        await engine.close(drain_s=config.shutdown_s)
        for chore in chores:
            chore.cancel()
    finally:
        await runner.cleanup()
        await engine.close()
    if engine.died:
        _end_after_fault(engine.dead)
    _log.info("stopped")


def _end_after_fault(reason: str | None) -> NoReturn:
    _log.error("stopped after a fault of the engine: %s", reason)
    logging.shutdown()
    os._exit(_FAULT)  # a thread that hangs in a step would hold the process


def _calm_collector() -> None:
    """Leave what is there to stay, the model's and the program's objects, out of collections: walking through them stops the event loop
    for tens of milliseconds. What requests leave behind is freed by its reference counts, so collections can be few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _on_hangup(reloads: Iterable[Callable[[], None]], manager: ServiceManager, where: str) -> None:
    """Read files again at SIGHUP."""

    def on_signal() -> None:
        manager.reloading()
        for reload in reloads:
            reload()
        manager.ready(f"serving at {where}")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_signal)


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


def _warn_of_strangers(clients: Clients, sockets: Sequence[socket.socket]) -> None:
    if not clients and not all(each.family is socket.AF_UNIX or is_loopback(each.getsockname()[0]) for each in sockets):
        _log.warning("the server listens beyond this machine without a key: whoever reaches it can use it; see --api-key")
