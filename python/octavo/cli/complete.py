"""`octavo complete PROMPT`: prints a model's continuation of a prompt as it is made."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from octavo.cli.source import add_source_options, open_source, sampling_params

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT", help="the text to continue; - reads it from standard input")
    add_source_options(parser, max_tokens=128, temperature=0.0)


def run(args: argparse.Namespace) -> int:
    params = sampling_params(args)
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    with closing(open_source(args)) as source, closing(source.complete(prompt, params)) as pieces:
        for piece in pieces:
            print(piece.text, end="", flush=True)
    print()
    return 0
