"""Required affinity and anti-affinity between pods, of the newcomer and of those that stand.

Rules: kube-scheduler's inter-pod affinity plugin. Only pods that satisfy all of a newcomer's terms count for it, and it
goes where each of the terms' domains has one; where none is anywhere, and it satisfies its own terms, it is the first
and may go anywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.columns import Columns, Integers
from fairlead.scheduling.neighbours import Neighbours, means
from fairlead.scheduling.snapshot import NodeView, Shape

Barrier = tuple[str, npt.NDArray[np.bool_]]
"""A reason, and the rows that it speaks against."""

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"


def inter_pod(neighbours: Neighbours, columns: Columns) -> list[Barrier]:
    """What speaks against rows, in kube-scheduler's order."""
    found = []
    levels = list(dict.fromkeys(t.level for t in neighbours.shape.near if not t.weight))
    if levels:
        found.append((AFFINITY, _apart(neighbours, columns, levels)))
    for reason, by_level in ((ANTI_AFFINITY, neighbours.shunned), (EXISTING, neighbours.shuns)):
        if by_level:
            found.append((reason, _together(by_level, columns)))
    return found


def excludes_itself(shape: Shape, node: NodeView) -> bool:
    """Whether two pods of the shape cannot be on the node together."""
    return any(not t.weight and node.value(t.level) is not None and means(t, shape) for t in shape.far)


def _apart(neighbours: Neighbours, columns: Columns, levels: list[str]) -> npt.NDArray[np.bool_]:
    """Rows that lack a domain, or whose domain at one of the levels has no pod that is wanted."""
    lacking = np.zeros(columns.size, np.bool_)
    alone = np.zeros(columns.size, np.bool_)
    total = 0
    for level in levels:
        domains = columns.domains(level)
        sums = domains.sums(neighbours.wanted)
        total += int(sums.sum())
        lacking |= domains.of_row < 0
        alone |= sums[domains.of_row] == 0
    shape = neighbours.shape
    if not total and all(means(term, shape) for term in shape.near if not term.weight):
        return lacking
    return lacking | alone


def _together(by_level: dict[str, Integers], columns: Columns) -> npt.NDArray[np.bool_]:
    found = np.zeros(columns.size, np.bool_)
    for level, counts in by_level.items():
        domains = columns.domains(level)
        found |= domains.sums(counts)[domains.of_row] > 0
    return found
