"""`octavo bench serve`: load over HTTP against a running server, or against one started for the run."""

from __future__ import annotations

import argparse
from typing import Any

from octavo.cli.bench.http_client import http_sender, open_session, served_model
from octavo.cli.bench.load import add_load_options, send_all, warm_up
from octavo.cli.bench.report import add_plot_option, check_report_options, report_run
from octavo.cli.bench.server_process import spawn_server
from octavo.cli.bench.summary import summarize
from octavo.cli.bench.timeline import Timeline
from octavo.cli.bench.workload import Workload, add_workload_options, load_workload
from octavo.cli.options import add_options, from_options, positive_int, to_flags
from octavo.config import EngineConfig
from octavo.server import event_loop

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("server")
    server.add_argument("--base-url", metavar="URL", help="a running server with OpenAI's API; default: start one with the engine flags")
    server.add_argument("--api-key", metavar="TEXT", help="bearer token of that server")
    server.add_argument("--vocab-size", type=positive_int, default=30000, metavar="N", help="prompt token ids are below (default: 30000)")
    add_workload_options(parser, num_prompts=32)
    add_load_options(parser)
    add_plot_option(parser)
    add_options(parser, EngineConfig, "engine")


def run(args: argparse.Namespace) -> int:
    check_report_options(args)
    config = from_options(EngineConfig, args)
    workload = load_workload(args, args.vocab_size)
    if args.base_url:
        model, timelines = event_loop.run(_measure(args, args.base_url.rstrip("/").removesuffix("/v1"), workload))
    else:
        with spawn_server(to_flags(config)) as server:
            model, timelines = event_loop.run(_measure(args, server.base_url, workload))
    setting: dict[str, Any] = {
        "base_url": args.base_url,
        "model": model,
        "engine_flags": to_flags(config),
        "workload": workload.description,
        "concurrency": args.concurrency,
        "request_rate": args.request_rate,
    }
    results = summarize(timelines, sum(request.output_len for request in workload.requests))
    return report_run(args, setting, results, timelines)


async def _measure(args: argparse.Namespace, base_url: str, workload: Workload) -> tuple[str, list[Timeline]]:
    async with open_session(base_url, args.api_key) as session:
        model = (args.base_url and args.model) or await served_model(session)
        send = http_sender(session, model)
        await warm_up(send)
        return model, await send_all(send, workload.requests, concurrency=args.concurrency, request_rate=args.request_rate)
