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
    """Whether the pod brings the requested shares of cpu and memory closer together: 75 where it does neither, towards
    100 where it does, towards 50 where it drives them apart.

    With d the difference of the two shares, at most 1 each, before and after placing: 75 + 25 x (d_before - d_after).
    0 for pods that request neither, as the plugin is skipped for them. Source: the NodeResourcesBalancedAllocation
    plugin of Kubernetes 1.36; before, it looked at the state after placing alone.
    """
    cpu, memory = shape.requests.get("cpu", 0), shape.requests.get("memory", 0)
    if not cpu and not memory:
        return np.zeros(len(rows))
    capacity = columns.allocatable[:2].take(rows, 1)
    taken = capacity - columns.free[:2].take(rows, 1)
    divisor = np.maximum(capacity, 1)
    before = np.minimum(taken / divisor, 1.0)
    after = np.minimum((taken + np.array([[cpu], [memory]])) / divisor, 1.0)
    closer = np.abs(before[CPU] - before[MEMORY]) - np.abs(after[CPU] - after[MEMORY])
    return np.where((capacity > 0).all(0), 75.0 + 25.0 * closer, 75.0)
