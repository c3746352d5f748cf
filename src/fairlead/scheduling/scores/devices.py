"""What Fairlead adds for devices: the least waste decides, then pods with devices are packed; others keep away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.fleet.columns import Columns, Indexes
from fairlead.scheduling.snapshot import Shape

Scores = npt.NDArray[np.float64]

_HALF: Final = 4.0
"""Devices in use at which the packing score is half of what it can be."""


def device_cost(costs: Sequence[Cost], present: npt.NDArray[np.bool_]) -> Scores:
    """For each cost: 100 for the cheapest of those present, 0 for the dearest, equal steps between. Others are as the
    next dearer one."""
    order = sorted(range(len(costs)), key=costs.__getitem__)
    points = np.zeros(len(costs))
    steps = max(int(present.sum()) - 1, 1)
    rank = 0
    for index in order:
        points[index] = 100.0 * (1.0 - min(rank / steps, 1.0))
        rank += bool(present[index])
    return points


def device_packing(shape: Shape, columns: Columns, rows: Indexes) -> Scores:
    """The more devices of the node are in use the better, so that free nodes stay whole for large pods and gangs."""
    used = columns.devices[rows].astype(np.float64)
    return 100.0 * used / (used + _HALF)


def devices_spared(shape: Shape, columns: Columns, rows: Indexes) -> Scores:
    """100 for nodes without devices, for pods that need none."""
    return np.where(columns.has_devices[rows], 0.0, 100.0)
