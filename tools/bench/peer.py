#!/usr/bin/env python3
"""Make llama.cpp in a folder of its own and measure it beside Octavo in one run, the sides taking turns round by round.

    python tools/bench/peer.py [--peer-dir DIR] [--only decode,prefill] [--rounds 5] [--json FILE]

Prints medians over the rounds, and for each figure the median of the rounds' ratios to llama.cpp's best format.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from versus.llama_cpp import BUILDS, derive_model, make_peer
from versus.quiet import locked, undisturbed
from versus.scenarios import SCENARIOS
from versus.sides import LlamaCpp, Octavo, Side
from versus.table import Rounds, render

from octavo.cli.machine import processor_name
from octavo.fetch.default_model import default_model_path

__all__ = ["measure"]

PEER_DIR = Path(__file__).resolve().parents[2] / "build" / "peer"


def measure(scenarios: Sequence[str], sides: Sequence[Side], num_rounds: int, run: Callable[[str, Side], dict[str, float]]) -> Rounds:
    """Run every scenario on every side in every round; each round begins with another side."""
    rounds: dict = {scenario: {side.name: [] for side in sides} for scenario in scenarios}
    for index in range(num_rounds):
        first = index % len(sides)
        for scenario in scenarios:
            for side in [*sides[first:], *sides[:first]]:
                figures = run(scenario, side)
                rounds[scenario][side.name].append(figures)
                shown = "  ".join(f"{key} {value:.2f}" for key, value in figures.items())
                print(f"round {index + 1}  {scenario}  {side.name}  {shown}", file=sys.stderr, flush=True)
    return rounds


def choose_sides(options: argparse.Namespace) -> list[Side]:
    model = options.model or default_model_path(print)
    if options.before:
        flags = shlex.split(options.octavo_args)
        return [Octavo(model, options.threads, flags), Octavo(model, options.threads, flags, "before", options.before.resolve())]
    if options.ours_only and not options.octavo_format:
        return [Octavo(model, options.threads, shlex.split(options.octavo_args))]
    programs = make_peer(options.peer_dir, options.isa)

    def in_format(name: str) -> Path:
        return derive_model(programs, model, name, options.peer_dir / "models")

    ours = in_format(options.octavo_format) if options.octavo_format else model
    sides: list[Side] = [] if options.peer_only else [Octavo(ours, options.threads, shlex.split(options.octavo_args))]
    if not options.ours_only:
        sides += [LlamaCpp(programs, in_format(name), options.threads, name) for name in options.formats.split(",")]
    return sides


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SCENARIOS), metavar="NAMES", help=f"scenarios, of: {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="compute threads of each side (default: 2)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="GGUF file; default: Octavo's default model (Q4_1)")
    parser.add_argument("--formats", default="Q4_1,Q8_0,BF16", metavar="NAMES", help="the peer's, derived from the file (Q4_1,Q8_0,BF16)")
    parser.add_argument("--octavo-format", metavar="NAME", help="run Octavo from this derived format instead of the file as it is")
    parser.add_argument("--octavo-args", default="", metavar="FLAGS", help="flags of Octavo's engine, in quotes")
    parser.add_argument("--peer-dir", type=Path, default=PEER_DIR, metavar="DIR", help="where the peer is made (default: build/peer)")
    parser.add_argument("--isa", default="", choices=list(BUILDS), help="newest instructions of either side (default: all there are)")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="lock this file during each measurement")
    parser.add_argument(
        "--quiet", type=float, default=1.0, metavar="SHARE", help="measure again where other processes took more of the cores (0 to 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures")
    only_one = parser.add_mutually_exclusive_group()
    only_one.add_argument("--ours-only", action="store_true")
    only_one.add_argument("--peer-only", action="store_true")
    only_one.add_argument("--before", type=Path, metavar="CHECKOUT", help="against Octavo built in place in this checkout, not llama.cpp")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(SCENARIOS):
        parser.error(f"--only {', '.join(sorted(unknown))}: scenarios are {', '.join(SCENARIOS)}")
    return options


def main() -> None:
    options = parse()
    if options.isa:
        os.environ["OCTAVO_ISA"] = options.isa  # Octavo chooses when it starts, the peer when it is built
    sides = choose_sides(options)

    def run(scenario: str, side: Side) -> dict[str, float]:
        with locked(options.lock):
            return undisturbed(lambda: SCENARIOS[scenario](side), options.quiet)

    rounds = measure(options.only, sides, options.rounds, run)
    print(render(rounds, [side.name for side in sides], Octavo.name))
    if options.json:
        machine = {"processor": processor_name(), "cores": os.cpu_count()}
        options.json.write_text(json.dumps({"command": sys.argv, "machine": machine, "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
