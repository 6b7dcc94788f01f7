"""Tables of plain text."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

__all__ = ["format_table"]

_GAP = "  "
_NARROWEST = 16


def format_table(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return the rows as aligned columns with two spaces between them, the longest texts wrapped to fit.

    Args:
        width: of the whole table in characters; None: the terminal's.
    """
    widths = _fit([max(map(len, column)) for column in zip(*rows, strict=True)], width or shutil.get_terminal_size((140, 24)).columns)
    lines = []
    for row in rows:
        wrapped = [textwrap.wrap(text, size) or [""] for text, size in zip(row, widths, strict=True)]
        for pieces in zip_longest(*wrapped, fillvalue=""):
            lines.append(_GAP.join(f"{piece:<{size}}" for piece, size in zip(pieces, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _fit(widths: list[int], total: int) -> list[int]:
    """Narrow the widest columns until all fit, none of them below a readable width."""
    room = total - len(_GAP) * (len(widths) - 1)
    widths = [max(width, 1) for width in widths]
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths
