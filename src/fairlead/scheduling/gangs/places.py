"""Which domains may hold a part, the best first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.options import NOWHERE, Scores
from fairlead.scheduling.gangs.bounds import Bounds
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.trial import Place, Trial
from fairlead.scheduling.snapshot import Shape
from fairlead.scheduling.topology import Cut

Ints = npt.NDArray[np.int64]

_MOST_YIELDING: Final = 5
"""Preferred levels that are given up in any combination; of more, the last ones at once."""


def firm_levels(trial: Trial, part: Part) -> tuple[str, ...]:
    """The levels that all pods of the part share in this search, whatever it gives up."""
    topology = part.topology
    held = [level for level in topology.preferred if (part.number, level) in trial.wishes]
    return tuple(dict.fromkeys((*topology.required, *held)))


def levels_of(trial: Trial, part: Part) -> Iterator[tuple[str, ...]]:
    """The levels that all pods of the part share in this search; several ones, the most wished for first, where the
    part gives up what it prefers."""
    firm = firm_levels(trial, part)
    loose = [level for level in part.topology.preferred if level not in firm][:_MOST_YIELDING]
    if part.number in trial.strict or not loose:
        yield firm
        return
    for keeps in itertools.product((True, False), repeat=len(loose)):
        yield (*firm, *itertools.compress(loose, keeps))


def candidate_places(
    trial: Trial, bounds: Bounds, part: Part, within: Place, levels: tuple[str, ...], target: int
) -> Iterator[Place]:
    """The domains of `levels` that have room for `target` pods of the part, as far as can be counted: first those where
    most of all its pods fit, of these the one that they fill most exactly, then the one with the best scores."""
    musts = {shape: part.must(shape, target) for shape in part.shapes}
    if not levels:
        if all(bounds.suffice(trial, shape, within.rows, must) for shape, must in musts.items() if must):
            yield within
        return
    cut = trial.survey.domains.cut(levels)
    ids = cut.ids[within.rows]
    inside = ids >= 0
    rows, ids = within.rows[inside], ids[inside]
    fine = np.bincount(ids, minlength=len(cut.values)) > 0
    pinned = pinned_domain(trial, part, cut)
    if pinned is not None:
        fine &= np.arange(len(fine)) == pinned
    sums = _sums(trial, bounds, part, rows, ids, len(fine))
    for shape, must in musts.items():
        fine &= sums[shape] >= must
    for domain in _rank(trial, part, rows, ids, np.flatnonzero(fine), sums):
        yield Place(rows[ids == domain], (within.key, levels, int(domain)))


def pinned_domain(trial: Trial, part: Part, cut: Cut) -> int | None:
    """The domain that pods of the part are in already; None where none of them has a node that is known, -2 where they
    are in several, or in none."""
    row_of = trial.outlook.fleet.row_of
    found = {int(cut.ids[row_of[name]]) for name in part.bound if name in row_of}
    if not found:
        return None
    return found.pop() if len(found) == 1 and min(found) >= 0 else -2


def _sums(trial: Trial, bounds: Bounds, part: Part, rows: Ints, ids: Ints, size: int) -> Mapping[Shape, Ints]:
    """By shape and domain: how many pods fit, as far as can be counted."""
    found = {}
    for shape, count in part.shapes.items():
        weights = bounds.of(trial, shape, count)[rows]
        found[shape] = np.bincount(ids, weights=weights, minlength=size).astype(np.int64)
    return found


def _rank(
    trial: Trial, part: Part, rows: Ints, ids: Ints, domains: Ints, sums: Mapping[Shape, Ints]
) -> npt.NDArray[np.intp] | Ints:
    if len(domains) <= 1 or not sums:
        return domains
    found = np.zeros(len(domains), dtype=np.int64)
    leftover = np.zeros(len(domains), dtype=np.int64)
    for shape, count in part.shapes.items():
        here = sums[shape][domains]
        found += np.minimum(here, count)
        leftover += np.maximum(here - count, 0)
    # Among equals the one with the first row: numbers of domains depend on what the fleet was like before.
    first = np.zeros(len(sums[next(iter(sums))]), dtype=np.int64)
    first[ids[::-1]] = rows[::-1]
    order = np.lexsort((first[domains], leftover, -found))
    # Scores are looked at only where they may decide.
    if leftover[order[0]] == leftover[order[1]] and found[order[0]] == found[order[1]]:
        shape = max(part.shapes, key=lambda each: part.shapes[each])
        means = _mean_scores(trial.options(shape).scores[rows], ids, int(ids.max()) + 1)[domains]
        order = np.lexsort((first[domains], -means, leftover, -found))
    return domains[order]


def _mean_scores(scores: Scores, ids: Ints, size: int) -> Scores:
    fits = scores > NOWHERE
    counts = np.bincount(ids, weights=fits, minlength=size)
    sums = np.bincount(ids, weights=np.where(fits, scores, 0.0), minlength=size)
    return sums / np.maximum(counts, 1)
