"""The program of a front-end's process: `octavo.server.front_ends` starts it and tells it its job on standard input."""

from __future__ import annotations

import os
import pickle
import socket
import sys

from octavo import log

__all__ = ["main"]


def main() -> None:
    """Serve until a signal, or until the engine's process has ended."""
    job = pickle.load(sys.stdin.buffer)
    config = job.server_config
    log.configure(config.log_level, config.log_format)
    from octavo.assemble import build_front
    from octavo.engine.remote_core import RemoteCore
    from octavo.server.edge.clients import Clients
    from octavo.server.serve import serve

    certificates = None
    if config.tls.ssl_certfile is not None:
        from octavo.server.edge.tls import Certificates

        certificates = Certificates(config.tls)
    core = RemoteCore(socket.socket(fileno=job.wire), job.state)
    engine = build_front(job.engine_config, core, job.info, job.name, reads_images=job.reads_images)
    sockets = [socket.socket(fileno=each) for each in job.sockets]
    serve(engine, config, sockets, clients=Clients(config, os.environ), certificates=certificates)


if __name__ == "__main__":
    main()
