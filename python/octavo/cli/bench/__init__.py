"""`octavo bench`: one file per benchmark, over shared files for what is sent, how, and what is made of the times."""

from __future__ import annotations

import argparse
from importlib import import_module

__all__ = ["add_arguments", "run"]

BENCHMARKS = {
    "latency": "one request after the other: time to first token, time per token",
    "throughput": "all requests at once through the engine in this process",
    "serve": "requests over HTTP against a server, at a rate or a concurrency",
    "startup": "from the start of the server's process to the first token",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="benchmark", required=True)
    for name, help_text in BENCHMARKS.items():
        benchmark = benchmarks.add_parser(name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".")
        import_module(f"octavo.cli.bench.{name}").add_arguments(benchmark)
        benchmark.add_argument("--json", metavar="FILE", help="write everything measured to this file")


def run(args: argparse.Namespace) -> int:
    return import_module(f"octavo.cli.bench.{args.benchmark}").run(args)
