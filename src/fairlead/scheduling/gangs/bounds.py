"""How many pods of a shape each row may still take: numbers by which ways without hope are left out."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.options import NOWHERE, Outlook
from fairlead.scheduling.gangs.joint import JointRooms, counts_one_by_one
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.rooms import depends_on_pods, may_gain
from fairlead.scheduling.gangs.trial import Trial
from fairlead.scheduling.snapshot import Shape

Ints = npt.NDArray[np.int64]

_MANY: Final = 1 << 20
"""Of a row about which nothing can be said."""


class Bounds:
    """The bounds of one gang's shapes.

    In a thorough search they are never less than what fits, however devices are shared out; else they are what fits one
    pod after the other.
    """

    def __init__(self, outlook: Outlook, part: Part) -> None:
        self._fleet = outlook.fleet
        self._joint = JointRooms(outlook)
        self._most = dict(part.shapes)
        self._counts = {shape: counts_one_by_one(shape, outlook.fleet.devices.mode) for shape in part.shapes}
        self._are_many = len(part.shapes) > 1

    def suffice(self, trial: Trial, shape: Shape, rows: Ints, count: int) -> bool:
        """Whether rows may hold so many pods together."""
        plain = self._one_by_one(trial, shape, count)
        if plain[rows].sum() >= count:
            return True
        return bool(self._together(trial, shape, plain, count)[rows].sum() >= count)

    def of(self, trial: Trial, shape: Shape, count: int) -> Ints:
        """By row, up to `count` or more."""
        return self._together(trial, shape, self._one_by_one(trial, shape, count), count)

    def _one_by_one(self, trial: Trial, shape: Shape, count: int) -> Ints:
        options = trial.options(shape)
        if may_gain(shape):
            return np.full(len(options.scores), _MANY, dtype=np.int64)
        if any(self._fleet.is_lacking(key) for key in shape.shared_claims):
            return np.where(options.scores > NOWHERE, _MANY, 0)
        return trial.survey.rooms(options, max(count, self._most.get(shape, 0)))

    def _together(self, trial: Trial, shape: Shape, plain: Ints, count: int) -> Ints:
        """No less than what fits, however devices are shared out, where the search is thorough."""
        if not trial.is_thorough or not shape.own_claims or may_gain(shape):
            return plain
        rows: set[int] = set()
        if not self._counts[shape]:
            rows = {*np.flatnonzero(plain).tolist(), *trial.on}
        elif self._are_many:
            # Others of the gang may have taken what this shape could get if they took something else.
            rows = set(trial.on)
        if not rows:
            return plain
        options, most = trial.options(shape), plain.copy()
        for row in rows:
            most[row] = max(most[row], self._joint.room(trial, options, row, count))
        return most

    def are_exact(self) -> bool:
        """Whether the numbers, one pod after the other, are what fits."""
        return all(self._counts[shape] and self.is_countable(shape) for shape in self._counts)

    def is_countable(self, shape: Shape) -> bool:
        """Whether the rooms of rows add up: not where pods mind each other, or share devices that are still to be
        found."""
        return not depends_on_pods(shape) and not any(self._fleet.is_lacking(key) for key in shape.shared_claims)
