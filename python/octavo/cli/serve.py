"""`octavo serve [MODEL]`: the HTTP server."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from octavo import log
from octavo.cli.options import add_options, from_options
from octavo.config import EngineConfig, ServerConfig

if TYPE_CHECKING:
    from octavo.engine import AsyncEngine
    from octavo.server.front_ends import FrontEndJob

__all__ = ["add_arguments", "front_end_job", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, EngineConfig, "engine", positional=True)
    add_options(parser, ServerConfig, "server")


def front_end_job(engine: AsyncEngine, engine_config: EngineConfig, server_config: ServerConfig) -> FrontEndJob:
    """What the front-ends of `engine`'s core are told."""
    from octavo.engine.core_hub import CoreHub
    from octavo.server.front_ends import FrontEndJob

    state = CoreHub(engine.core).state
    return FrontEndJob(engine_config, server_config, engine.info, engine.images is not None, name="", state=state, wire=-1, sockets=())


def run(args: argparse.Namespace) -> int:
    engine_config = from_options(EngineConfig, args)
    server_config = from_options(ServerConfig, args)
    log.configure(server_config.log_level, server_config.log_format)
    from octavo.server.edge.clients import Clients
    from octavo.server.listen import listeners
    from octavo.server.service_manager import ServiceManager

    clients = Clients(server_config, os.environ)
    certificates = None
    if server_config.tls.ssl_certfile is not None:
        from octavo.server.edge.tls import Certificates

        certificates = Certificates(server_config.tls)
    if server_config.otlp_traces_endpoint is not None:
        from octavo.server.tracing import check_tracing

        check_tracing()
    manager = ServiceManager(os.environ)
    with listeners(server_config, os.environ) as sockets:  # a port in use is told before the model is loaded
        from octavo.assemble import build_engine
        from octavo.server.serve import serve, serve_front_ends

        engine = build_engine(engine_config)
        if server_config.frontends == 1:
            serve(engine, server_config, sockets, clients=clients, certificates=certificates, manager=manager)
        else:
            job = front_end_job(engine, engine_config, server_config)
            serve_front_ends(engine.core, job, sockets, manager, secure=certificates is not None)
    return 0
