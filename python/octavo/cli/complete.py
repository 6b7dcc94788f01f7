"""`octavo complete PROMPT`: prints a model's continuation of a prompt as it is made."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from octavo.cli.parser import UsageError
from octavo.cli.source import add_source_options, open_source, sampling_params

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="the text to continue; - or nothing reads it from standard input")
    add_source_options(parser, max_tokens=128, temperature=0.0)


def run(args: argparse.Namespace) -> int:
    params = sampling_params(args)
    prompt = _prompt(args.prompt)
    with closing(open_source(args)) as source, closing(source.complete(prompt, params)) as pieces:
        for piece in pieces:
            print(piece.text, end="", flush=True)
    print()
    return 0


def _prompt(argument: str | None) -> str:
    if argument is not None and argument != "-":
        return argument
    text = "" if argument is None and sys.stdin.isatty() else sys.stdin.read()
    if not text and argument is None:
        raise UsageError("PROMPT is missing; give the text to continue, or pipe it in")
    return text.removesuffix("\n")  # the newline that echo and editors end with is not meant
