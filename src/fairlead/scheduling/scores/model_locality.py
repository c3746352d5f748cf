"""The model that a pod loads, in the cache of the node already."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.columns import Columns, Indexes
from fairlead.scheduling.snapshot import Shape

_MOST: Final = 64 << 30
"""Bytes above which nothing more counts: about a minute of fetching."""


def model_locality(shape: Shape, columns: Columns, rows: Indexes) -> npt.NDArray[np.float64]:
    """Bytes that need not be fetched, as a share of 64 GiB: a place is worth the time that it saves.

    Unlike images, a model is not scaled by the share of nodes that have it: it takes minutes where an image takes
    seconds, and replicas of one model are kept apart by spread constraints, if they are to be.
    """
    there = np.zeros(columns.size)
    for name in shape.models:
        found = columns.models.get(name)
        if found:
            at = np.fromiter(found, np.intp, len(found))
            sizes = np.fromiter(found.values(), np.float64, len(found))
            there[at] = np.maximum(there[at], sizes)
    return 100.0 * np.minimum(there[rows], _MOST) / _MOST
