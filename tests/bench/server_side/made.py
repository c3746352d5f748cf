"""Histories made up for tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairlead.bench.server_side.history import History


def is_counter(name: str) -> bool:
    return name.endswith("_total") or ":joules:" in name


def history(source: str = "a", one_process: bool = True, **columns: Sequence[float]) -> History:
    """A look each second from 0 on; NaN: nothing was seen."""
    made = History(source, is_counter, one_process)
    for k, row in enumerate(zip(*columns.values(), strict=True)):
        there = {name: value for name, value in zip(columns, row, strict=True) if not math.isnan(value)}
        if there:
            made.add(float(k), there)
        else:
            made.failed(float(k), "nothing")
    return made
