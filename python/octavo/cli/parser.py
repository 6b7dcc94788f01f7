"""The argument parser of every command: a mistake is one line and exit code 2."""

from __future__ import annotations

import argparse
from typing import NoReturn

__all__ = ["Parser", "UsageError"]


class UsageError(Exception):
    """The command line asks for something that makes no sense; reported as the parser reports its own errors."""


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line; the list of all flags is a --help away."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")
