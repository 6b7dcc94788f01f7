"""Entry point of the command line: finds the subcommand's file, runs it, turns errors into one line and an exit code.

Exit codes: 0 done, 1 an error that the text explains, 2 wrong usage, 130 interrupted, 141 nobody reads the output any more.
A subcommand's file has `add_arguments(parser)` and `run(args) -> int`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from octavo.cli.parser import Parser, UsageError, suggestion
from octavo.errors import OctavoError

__all__ = ["main"]

_SIGPIPE = 128 + 13  # what a shell reports of a program that the signal ended

COMMANDS = {
    "serve": "serve a model over HTTP with OpenAI's API",
    "chat": "talk to a model in the terminal",
    "complete": "print a model's continuation of a prompt",
    "run-batch": "answer a file of requests in OpenAI's batch format",
    "bench": "measure latency, throughput, a server under load, or start-up",
    "models": "list the model families that run",
    "doctor": "say what this machine has and what Octavo will use of it",
}


class _ShowVersion(argparse.Action):
    """Prints the version; resolves it only then."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> NoReturn:
        import octavo

        print(f"octavo {octavo.__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args, unknown = _build_parser(arguments).parse_known_args(arguments)
    program = f"octavo {args.command}"
    try:
        if unknown:
            raise UsageError(f"unknown argument {unknown[0]}{suggestion(unknown[0], args.flags)}")
        code = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output has what he wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would flush into the pipe once more at exit
        return _SIGPIPE
    except UsageError as error:
        return _fail(f"{program}: error: {error} (see {program} --help)", 2)
    except OctavoError as error:
        return _fail(f"{program}: {error}", 1)
    except ImportError as error:
        if error.name not in ("octavo._kernels", "octavo._runtime"):
            raise
        return _fail(f"{program}: Octavo's compiled parts do not load ({error}); install Octavo again for this Python", 1)
    except KeyboardInterrupt:
        return _fail("", 130)


def _build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(prog="octavo", description="Octavo serves large language models.")
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".")
        if name == chosen:
            module = import_module(f"octavo.cli.{name.replace('-', '_')}")
            module.add_arguments(command)
            command.set_defaults(run=module.run, flags=_flags(command))
    return parser


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """Every flag of a command, those of its own subcommands included."""
    nested = [each for action in parser._actions if isinstance(action.choices, dict) for each in action.choices.values()]
    return [flag for action in parser._actions for flag in action.option_strings] + [flag for each in nested for flag in _flags(each)]


def _fail(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
