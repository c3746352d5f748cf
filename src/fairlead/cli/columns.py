"""Columns of text as kubectl prints them: never cut, whatever the width of the terminal or where the output goes."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "   "


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A header and rows, each cell as wide as the widest of its column."""
    lines = [header, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(header))]
    return "\n".join(
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
