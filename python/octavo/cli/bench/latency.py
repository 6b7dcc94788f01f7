"""`octavo bench latency`: one stream at a time through the engine in this process."""

from __future__ import annotations

import argparse

from octavo.cli.bench.engine_client import run_in_process
from octavo.cli.bench.report import add_plot_option
from octavo.cli.bench.workload import add_workload_options
from octavo.cli.options import add_options
from octavo.config import EngineConfig

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workload_options(parser, num_prompts=5)
    add_plot_option(parser)
    add_options(parser, EngineConfig, "engine")


def run(args: argparse.Namespace) -> int:
    return run_in_process(args, concurrency=1)
