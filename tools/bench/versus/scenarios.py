"""What is measured, by name. Each scenario takes a side and returns its figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from octavo.cli.bench.workload import BenchRequest, add_workload_options, load_workload
from versus.server import serve_load
from versus.sides import Side

__all__ = ["SCENARIOS", "workload"]

VOCAB_SIZE = 30_000


def workload(num_prompts: int, prefix_len: int = 0) -> list[BenchRequest]:
    """Prompts of 128 tokens of their own after a shared prefix, 128 tokens to generate: `octavo bench serve`'s prompts."""
    parser = argparse.ArgumentParser()
    add_workload_options(parser, num_prompts=num_prompts)
    return load_workload(parser.parse_args([f"--prefix-len={prefix_len}"]), VOCAB_SIZE).requests


def _decode(side: Side) -> dict[str, float]:
    return {"tokens_per_s": side.decode(128, 128)}


def _prefill(side: Side) -> dict[str, float]:
    return {"tokens_per_s": side.prefill(512)}


SCENARIOS: dict[str, Callable[[Side], dict[str, float]]] = {
    "decode": _decode,
    "prefill": _prefill,
    "concurrent8": lambda side: serve_load(side, workload(8)),
    "concurrent32": lambda side: serve_load(side, workload(32)),
    "prefix": lambda side: serve_load(side, workload(32, prefix_len=512)),
    "startup": lambda side: serve_load(side, []),
}
