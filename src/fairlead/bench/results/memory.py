"""How long the blocks of time must be that a comparison draws: longer than what a server's queue remembers.

Blocks that a queue binds together tell less than as many independent ones. How much neighbours are alike says how long
the queue's memory is, as if it faded exponentially; blocks are then merged until little of it is left between them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ALIKE = ((0.1, 1), (0.25, 2), (0.36, 3), (0.45, 4))
"""Correlation of neighbouring blocks up to which as many are merged. Of a fading memory, means over merged blocks are
then correlated by 0.12 at most: r(x) = (1 − e^−x)² / (2 (x − 1 + e^−x)) for blocks of x memories."""
TELLING = 0.75
"""The percentile beyond which values are counted: bursts show there, and there are enough of them."""

Floats = npt.NDArray[np.float64]


def times_longer(*sides: Floats) -> int | None:
    """By how much the blocks of these runs (each blocks × bins of counts) are to be longer; None: longer than any."""
    found = alike(*sides)
    return next((longer for bound, longer in ALIKE if found <= bound), None)


def alike(*sides: Floats) -> float:
    """Correlation of each block's share of slow values with the next one's, of all runs together. Of so few blocks it
    comes out too small by about (1 + 3r)/n (Kendall, Biometrika 41, 1954), which is added."""
    products = squares = blocks = 0.0
    for side in sides:
        total = side.sum(axis=0)
        bound = int(np.searchsorted(np.cumsum(total), TELLING * total.sum()))
        counts = side.sum(axis=1)
        share = float(side[:, bound + 1 :].sum() / max(1.0, total.sum()))
        off = np.where(counts > 0, side[:, bound + 1 :].sum(axis=1) / np.maximum(counts, 1) - share, 0.0)
        off = off - off.mean()
        products += float((off[1:] * off[:-1]).sum()) * len(off) / max(1, len(off) - 1)
        squares += float(np.square(off).sum())
        blocks += len(off)
    if squares <= 0:
        return 0.0
    found, each = products / squares, blocks / len(sides)
    return found + (1 + 3 * found) / each


def merged(blocks: Floats, longer: int) -> Floats:
    """So many blocks as one; what is left over at the end goes to the last."""
    if longer == 1:
        return blocks
    starts = np.arange(0, max(1, len(blocks) // longer) * longer, longer)
    return np.asarray(np.add.reduceat(blocks, starts, axis=0), dtype=np.float64)
