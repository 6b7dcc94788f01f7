"""`octavo models`: the model families that run, the files that they are read from, and what tests compare them with."""

from __future__ import annotations

import argparse

from octavo.cli.table import format_table

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(args: argparse.Namespace) -> int:
    from octavo.models import families

    rows = [(each.model_type, each.makes, each.gguf or "", each.reference, each.title) for each in families()]
    print(format_table([("model_type", "makes", "GGUF", "tested against", "models"), *rows]))
    return 0
