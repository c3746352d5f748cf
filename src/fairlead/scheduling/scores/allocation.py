"""Room that stays: kube-scheduler's LeastAllocated and BalancedAllocation for cpu and memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.columns import CPU, MEMORY, Columns, Indexes, counted
from fairlead.scheduling.snapshot import Shape

Scores = npt.NDArray[np.float64]


def least_allocated(shape: Shape, columns: Columns, rows: Indexes) -> Scores:
    """Mean of (allocatable - requested) / allocatable after placing, of the resources that the node has.

    Pods that request nothing count for a default. Source: `leastResourceScorer` of the NodeResourcesFit plugin.
    """
    capacity = columns.allocatable[:2].take(rows, 1).astype(np.float64)
    taken = columns.counted.take(rows, 1) + np.array(counted(shape))[:, None]
    present = capacity > 0
    share = np.divide(capacity - taken, capacity, out=np.zeros_like(capacity), where=present)
    number = present.sum(0)
    scores: Scores = 100.0 * np.maximum(share, 0.0).sum(0) / np.maximum(number, 1)
    return scores


def balanced_allocation(shape: Shape, columns: Columns, rows: Indexes) -> Scores:
    """100 x (1 - standard deviation) of the requested shares after placing; of two resources it is half the difference.

    0 for pods that request neither, as the plugin is skipped for them. Source: `balancedResourceScorer` of the
    NodeResourcesBalancedAllocation plugin.
    """
    cpu, memory = shape.requests.get("cpu", 0), shape.requests.get("memory", 0)
    if not cpu and not memory:
        return np.zeros(len(rows))
    capacity = columns.allocatable[:2].take(rows, 1)
    taken = capacity - columns.free[:2].take(rows, 1) + np.array([[cpu], [memory]])
    share = np.minimum(taken / np.maximum(capacity, 1), 1.0)
    both = (capacity > 0).all(0)
    return np.where(both, 100.0 - 50.0 * np.abs(share[CPU] - share[MEMORY]), 100.0)
