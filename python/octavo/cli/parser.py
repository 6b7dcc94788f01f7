"""The argument parser of every command: a mistake is one line and exit code 2."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn

__all__ = ["Parser", "UsageError", "suggestion"]

_LIKENESS = 0.7
# Flags of vLLM, SGLang and llama.cpp whose name does not resemble the one here.
_ELSEWHERE = {
    "--enable-prefix-caching": "--prefix-caching",
    "--no-enable-prefix-caching": "--no-prefix-caching",
    "--enable-radix-cache": "--prefix-caching",
    "--disable-radix-cache": "--no-prefix-caching",
    "--mem-fraction-static": "--gpu-memory-utilization",
    "--model-path": "--model",
    "-m": "--model",
    "-hf": "--model",
    "--ctx-size": "--max-model-len",
    "-c": "--max-model-len",
    "--context-length": "--max-model-len",
    "--parallel": "--max-num-seqs",
    "-np": "--max-num-seqs",
    "--max-running-requests": "--max-num-seqs",
    "--batch-size": "--max-num-batched-tokens",
    "--chunked-prefill-size": "--max-num-batched-tokens",
    "--alias": "--served-model-name",
    "-t": "--threads",
    "--cache-type-k": "--kv-cache-dtype",
    "-n": "--max-tokens",
    "--n-predict": "--max-tokens",
    "--temp": "--temperature",
    "--uvicorn-log-level": "--log-level",
    "--enable-log-requests": "--access-log",
    "--disable-log-stats": "--log-stats-s",
    "--allowed-origins": "--cors-origins",
    "--tool-call-parser": "--tool-parser",
    "--kv-cache-memory-bytes": "--kv-cache-bytes",
    "--ssl-cert-file": "--ssl-certfile",
    "--ssl-key-file": "--ssl-keyfile",
    "-ngl": "--device",
    "--n-gpu-layers": "--device",
}


class UsageError(Exception):
    """The command line asks for something that makes no sense; reported as the parser reports its own errors."""


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, with what was perhaps meant; the list of all flags is a --help away."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_with_suggestion(message)} (see {self.prog} --help)\n")


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for a word that resembles a known one or is another program's name for it, else nothing."""
    flag = word.partition("=")[0]
    names = list(known)
    close = [_ELSEWHERE[flag]] if _ELSEWHERE.get(flag) in names else difflib.get_close_matches(flag, names, 1, _LIKENESS)
    return f"; did you mean {close[0]}?" if close else ""


def _with_suggestion(message: str) -> str:
    """argparse tells of a wrong choice by listing all; the nearest is what helps."""
    found = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
    return message + (suggestion(found[1], re.findall(r"[\w-]+", found[2])) if found else "")
