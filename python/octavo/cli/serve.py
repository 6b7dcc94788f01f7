"""`octavo serve [MODEL]`: the HTTP server."""

from __future__ import annotations

import argparse
import os

from octavo import log
from octavo.cli.options import add_options, from_options
from octavo.config import EngineConfig, ServerConfig

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, EngineConfig, "engine", positional=True)
    add_options(parser, ServerConfig, "server")


def run(args: argparse.Namespace) -> int:
    engine_config = from_options(EngineConfig, args)
    server_config = from_options(ServerConfig, args)
    log.configure(server_config.log_level)
    from octavo.server.edge.api_keys import with_api_keys
    from octavo.server.serve import listen, serve

    server_config = with_api_keys(server_config, os.environ)

    with listen(server_config) as listener:  # a port in use is told before the model is loaded
        from octavo.assemble import build_engine

        serve(build_engine(engine_config), server_config, listener)
    return 0
