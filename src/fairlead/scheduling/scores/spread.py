"""Topology spread constraints that are wishes (`ScheduleAnyway`)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.filters.spread import has_levels
from fairlead.scheduling.fleet.columns import Columns
from fairlead.scheduling.neighbours import Neighbours
from fairlead.scheduling.snapshot import HOST

Mask = npt.NDArray[np.bool_]


def topology_spread(
    neighbours: Neighbours, columns: Columns, fits: Mask, selected: Mask, tolerated: Mask
) -> npt.NDArray[np.float64]:
    """The fewer pods in the domain the better; a level counts by the logarithm of its number of domains.

    Rows that lack a label of a constraint get 0. Source: `Score` and `NormalizeScore` of the PodTopologySpread plugin.
    """
    wishes = [(i, each) for i, each in enumerate(neighbours.shape.spread) if not each.is_required]
    labelled = has_levels(columns, [each.level for _, each in wishes])
    among = fits & labelled
    if not wishes or not among.any():
        return np.zeros(columns.size)
    raw = np.zeros(columns.size)
    for index, each in wishes:
        domains = columns.domains(each.level)
        counted = labelled
        if each.honours_affinity:
            counted = counted & selected
        if each.honours_taints:
            counted = counted & tolerated
        if each.level == HOST:
            number, by_row = int(among.sum()), neighbours.counts[index]
        else:
            number = len(np.unique(domains.of_row[among]))
            by_row = domains.sums(neighbours.counts[index], counted)[domains.of_row]
        raw += by_row * math.log(number + 2) + (each.max_skew - 1)
    raw = np.round(raw)
    least, most = float(raw[among].min()), float(raw[among].max())
    scaled = 100.0 * (most + least - raw) / most if most > 0 else np.full(columns.size, 100.0)
    return np.where(labelled, scaled, 0.0)
