"""Topology spread constraints that must hold (`DoNotSchedule`).

Rules: kube-scheduler's pod topology spread plugin. Domains are those of nodes that the pod selects and, where it says
so, tolerates; nodes without a label of one of the constraints are in no domain of any.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.filters.inter_pod import Barrier
from fairlead.scheduling.fleet.columns import Columns, Integers
from fairlead.scheduling.neighbours import Neighbours, counts
from fairlead.scheduling.snapshot import SpreadConstraint

Mask = npt.NDArray[np.bool_]

SKEW = "node(s) didn't match pod topology spread constraints"
NO_LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """The state of one constraint."""

    constraint: SpreadConstraint
    of_row: npt.NDArray[np.intp]
    counts: Integers
    """By domain, the last for rows in none."""
    present: Mask
    """Domains that have a node to count."""
    adds: int
    """1 where the constraint counts the newcomer itself, else 0."""

    def allowed(self) -> Integers:
        """By domain: the pods that it may hold at most, unless others get more."""
        constraint = self.constraint
        if not self.present.any():
            return np.full(len(self.counts), np.iinfo(np.int64).max // 2)
        least = int(self.counts[self.present].min())
        if int(self.present.sum()) < constraint.min_domains:
            least = 0
        return np.full(len(self.counts), constraint.max_skew + least)

    def room(self, row: int) -> int | None:
        """How many pods the constraint lets onto a row one after the other; None for any number."""
        domain = int(self.of_row[row])
        if not self.adds or domain < 0 or not self.present[domain]:
            return None
        others = self.present.copy()
        others[domain] = False
        if int(self.present.sum()) < self.constraint.min_domains:
            least = 0
        elif others.any():
            least = int(self.counts[others].min())
        else:
            return None
        return self.constraint.max_skew + least - int(self.counts[domain])


def tally_spread(neighbours: Neighbours, columns: Columns, selected: Mask, tolerated: Mask) -> list[Tally]:
    """The state of all constraints that must hold. `selected` and `tolerated`: rows that the pod's node affinity and
    selector choose, and whose taints it tolerates."""
    shape = neighbours.shape
    required = [(i, each) for i, each in enumerate(shape.spread) if each.is_required]
    labelled = has_levels(columns, [each.level for _, each in required])
    tallies = []
    for index, each in required:
        eligible = labelled
        if each.honours_affinity:
            eligible = eligible & selected
        if each.honours_taints:
            eligible = eligible & tolerated
        domains = columns.domains(each.level)
        tallies.append(
            Tally(
                each,
                domains.of_row,
                domains.sums(neighbours.counts[index], eligible),
                domains.sums(np.ones(columns.size), eligible) > 0,
                int(counts(each, shape)),
            )
        )
    return tallies


def spread(tallies: list[Tally]) -> list[Barrier]:
    """What speaks against rows, constraint by constraint."""
    found = []
    for tally in tallies:
        found.append((NO_LABEL, tally.of_row < 0))
        found.append((SKEW, (tally.counts + tally.adds > tally.allowed())[tally.of_row]))
    return found


def has_levels(columns: Columns, levels: list[str]) -> Mask:
    """Rows that are in a domain of each level."""
    found = np.ones(columns.size, np.bool_)
    for level in levels:
        found &= columns.domains(level).of_row >= 0
    return found
