"""Whether all that is still to be placed may find room, as far as can be counted: a way without prospects is left."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import numpy as np

from fairlead.scheduling.gangs.bounds import Bounds
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.places import firm_levels
from fairlead.scheduling.gangs.totals import Totals
from fairlead.scheduling.gangs.trial import Decision, Must, Place, Trial
from fairlead.scheduling.snapshot import Shape


class Prospects:
    """Counts for one gang. Never says no where there is a way."""

    def __init__(self, bounds: Bounds, totals: Totals) -> None:
        self._bounds = bounds
        self._totals = totals

    def are_open(self, trial: Trial, decisions: Iterable[Decision]) -> bool:
        """Whether these decisions may all be made."""
        by_place: dict[Hashable, tuple[Place, dict[Shape, int]]] = {}
        copies: dict[Hashable, tuple[Must, int]] = {}
        for decision in decisions:
            must = decision.must()
            place = must.place
            counts = by_place.setdefault(place.key, (place, {}))[1]
            for shape, count in must.counts.items():
                counts[shape] = counts.get(shape, 0) + count
            if must.part is not None and must.counts:
                key = (must.part.kind, place.key, frozenset(must.counts.items()))
                copies[key] = must, copies.get(key, (must, 0))[1] + 1
        return all(self._hold(trial, place, counts) for place, counts in by_place.values()) and all(
            self._hold_copies(trial, must, count) for must, count in copies.values()
        )

    def _hold(self, trial: Trial, place: Place, counts: Mapping[Shape, int]) -> bool:
        """Whether a place has room for so many pods of each shape, and as much as they want together."""
        return self._totals.suffice(trial, place, counts) and all(
            self._bounds.suffice(trial, shape, place.rows, count) for shape, count in counts.items()
        )

    def _hold_copies(self, trial: Trial, must: Must, copies: int) -> bool:
        """Whether so many parts that are alike find domains: each of them needs one, which may hold several."""
        part, rows = must.part, must.place.rows
        levels = firm_levels(trial, part) if part is not None else ()
        if part is None or not levels or part.bound:
            return True
        cut = trial.survey.domains.cut(levels)
        ids = cut.ids[rows]
        rows, ids = rows[ids >= 0], ids[ids >= 0]
        size = len(cut.values)
        held = np.full(size, copies, dtype=np.int64)
        for shape, count in must.counts.items():
            bound = self._bounds.of(trial, shape, count * copies)[rows]
            held = np.minimum(held, np.bincount(ids, weights=bound, minlength=size).astype(np.int64) // count)
        for left, wanted in self._totals.of(trial, must.counts):
            sums = np.bincount(ids, weights=left[rows], minlength=size).astype(np.int64)
            held = np.minimum(held, np.maximum(sums, 0) // wanted)
        return int(held[np.unique(ids)].sum()) >= copies


def counts_of(part: Part, target: int) -> dict[Shape, int]:
    """How many pods of each shape are among any `target` pods of a part, at least."""
    counts = {shape: part.must(shape, target) for shape in part.shapes}
    return {shape: count for shape, count in counts.items() if count}
