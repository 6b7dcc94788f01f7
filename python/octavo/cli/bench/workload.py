"""What a benchmark sends: prompts of token ids, drawn from a seed, so that every engine gets the same work.

Request i of a workload with seed s has the tokens `np.random.default_rng([s, i]).integers(1000, min(vocab, 30000), n_in)`. Ids below
1000 are left out because special tokens live there. With a shared prefix, its tokens come from `default_rng([s, 2**31])`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octavo.cli.options import positive_int
from octavo.cli.parser import UsageError

__all__ = ["BenchRequest", "Workload", "add_workload_options", "load_workload"]

_FIRST_ID, _LAST_ID = 1000, 30000
_PREFIX_KEY = 2**31


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """A prompt, and how many tokens are generated after it, whatever they are."""

    prompt_token_ids: list[int]
    output_len: int


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of sending, and in words what they are."""

    description: dict[str, Any]
    requests: list[BenchRequest]


def add_workload_options(parser: argparse.ArgumentParser, *, num_prompts: int) -> None:
    group = parser.add_argument_group("workload")
    group.add_argument("--num-prompts", type=positive_int, default=None, metavar="N", help=f"requests to send (default: {num_prompts})")
    group.add_argument("--input-len", type=positive_int, default=128, metavar="N", help="prompt tokens of each of its own (default: 128)")
    group.add_argument("--output-len", type=positive_int, default=128, metavar="N", help="tokens to generate for each (default: 128)")
    group.add_argument("--prefix-len", type=int, default=0, metavar="N", help="tokens that all prompts begin with, before their own")
    group.add_argument("--workload", metavar="FILE", help="JSON file with sets of [input_len, output_len] pairs")
    group.add_argument("--set", metavar="NAME", help="which set of the file")
    group.add_argument("--workload-seed", type=int, default=0, metavar="N", help="seed of the prompts' tokens; a set has its own")
    parser.set_defaults(default_num_prompts=num_prompts)


def load_workload(args: argparse.Namespace, vocab_size: int) -> Workload:
    """Build the workload of the flags. `UsageError` where the file, the set or a length is wrong."""
    if args.prefix_len < 0:
        raise UsageError(f"--prefix-len is {args.prefix_len}; it must be at least 0")
    seed, lengths, source = _read_set(args) if args.workload else (args.workload_seed, _equal_lengths(args), "equal lengths")
    prefix = _tokens([seed, _PREFIX_KEY], args.prefix_len, vocab_size)
    requests = [
        BenchRequest(prefix + _tokens([seed, index], input_len, vocab_size), output_len)
        for index, (input_len, output_len) in enumerate(lengths)
    ]
    description = {
        "source": source,
        "seed": seed,
        "num_prompts": len(requests),
        "prefix_len": args.prefix_len,
        "mean_input_len": sum(len(request.prompt_token_ids) for request in requests) / len(requests),
        "mean_output_len": sum(request.output_len for request in requests) / len(requests),
    }
    return Workload(description, requests)


def _equal_lengths(args: argparse.Namespace) -> list[tuple[int, int]]:
    return [(args.input_len, args.output_len)] * (args.num_prompts or args.default_num_prompts)


def _read_set(args: argparse.Namespace) -> tuple[int, list[tuple[int, int]], str]:
    try:
        sets = json.loads(Path(args.workload).read_text())["sets"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--workload {args.workload} cannot be read: {error}") from error
    if args.set not in sets:
        raise UsageError(f"--set {args.set} is not in {args.workload}; it has: {', '.join(sorted(sets))}")
    chosen = sets[args.set]
    lengths = [(int(input_len), int(output_len)) for input_len, output_len in chosen["requests"]]
    return chosen["seed"], lengths[: args.num_prompts], f"{Path(args.workload).name}:{args.set}"


def _tokens(key: list[int], count: int, vocab_size: int) -> list[int]:
    low = _FIRST_ID if vocab_size > _FIRST_ID else 0
    return np.random.default_rng(key).integers(low, min(vocab_size, _LAST_ID), count).tolist()
