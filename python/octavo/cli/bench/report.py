"""Results for people (a table) and for programs (a JSON file)."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import octavo
from octavo.cli.bench.timeline import Timeline
from octavo.cli.machine import processor_name
from octavo.cli.parser import UsageError
from octavo.cli.table import format_table
from octavo.errors import ConfigError

__all__ = ["add_plot_option", "check_report_options", "report", "report_run"]

_LATENCIES = {
    "ttft_ms": "time to first token",
    "itl_ms": "inter-token latency",
    "tpot_ms": "time per output token",
    "e2e_ms": "end to end",
}


def add_plot_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plot", metavar="FILE", help="draw the run into this file (png, svg or pdf; needs octavo[bench])")


def check_report_options(args: argparse.Namespace) -> None:
    """Refuse before a long run what could not be reported after it. Raises `ConfigError` and `UsageError`."""
    if args.plot and find_spec("matplotlib") is None:
        raise ConfigError('--plot needs matplotlib; pip install "octavo[bench]"')
    for flag, file in (("--plot", args.plot), ("--json", args.json)):
        if file and not Path(file).absolute().parent.is_dir():
            raise UsageError(f"{flag} {file}: there is no such folder")


def report_run(args: argparse.Namespace, setting: Mapping[str, Any], results: dict[str, Any], timelines: Sequence[Timeline]) -> int:
    """Report a run of requests; returns the exit code: 1 where a request failed."""
    report(args, setting, results, _run_rows(results), _requests(timelines))
    if args.plot:
        from octavo.cli.bench.plot import plot

        plot(timelines, Path(args.plot), f"octavo bench {args.benchmark}")
    return int(results["failed"] > 0)


def report(
    args: argparse.Namespace,
    setting: Mapping[str, Any],
    results: Mapping[str, Any],
    rows: Mapping[str, Any],
    requests: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Print the table; write the JSON file where one is asked for."""
    _print_tables(rows, results)
    if args.json:
        document = {
            "benchmark": args.benchmark,
            "octavo_version": octavo.__version__,
            "command": sys.argv,
            "machine": {"processor": processor_name(), "cores": os.cpu_count(), "platform": platform.platform()},
            "setting": setting,
            "results": results,
            "requests": requests,
        }
        Path(args.json).write_text(json.dumps(document, indent=1) + "\n")


def _print_tables(rows: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    print(format_table([(name, str(value)) for name, value in rows.items()]))
    columns = ("mean", "p50", "p90", "p99", "max")
    latencies = [(name, *(f"{results[key][column]:.1f}" for column in columns)) for key, name in _LATENCIES.items() if results.get(key)]
    if latencies:
        print(format_table([("milliseconds", *columns), *latencies]))


def _run_rows(results: Mapping[str, Any]) -> dict[str, str]:
    cached, prompt = results["cached_prompt_tokens"], results["prompt_tokens"]
    rows = {
        "requests": f"{results['completed']} completed, {results['failed']} failed in {results['duration_s']:.2f} s",
        "prompt tokens": f"{prompt}" + ("" if cached is None else f", {cached} from the prefix cache ({cached / max(prompt, 1):.0%})"),
        "output tokens": f"{results['output_tokens']} of {results['expected_output_tokens']} expected",
        "throughput": f"{results['output_tokens_per_s']:.1f} output tokens/s, {results['total_tokens_per_s']:.1f} with prompts, "
        f"{results['requests_per_s']:.2f} requests/s",
    }
    return {**rows, **{f"error, {count} times": text for text, count in results["errors"].items()}}


def _requests(timelines: Sequence[Timeline]) -> list[dict[str, Any]]:
    start = min(timeline.sent for timeline in timelines)
    return [
        {
            "sent_s": timeline.sent - start,
            "prompt_tokens": timeline.num_prompt_tokens,
            "cached_tokens": timeline.num_cached_tokens,
            "output_tokens": timeline.num_output_tokens,
            "ttft_s": timeline.ttft_s,
            "e2e_s": timeline.ended - timeline.sent,
            "itl_s": timeline.itl_s,
            "error": timeline.error,
        }
        for timeline in timelines
    ]
