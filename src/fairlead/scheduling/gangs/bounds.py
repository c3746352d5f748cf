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

    def of(self, trial: Trial, shape: Shape, count: int) -> Ints:
        """By row, up to `count` or more."""
        options = trial.options(shape)
        fits = options.scores > NOWHERE
        if may_gain(shape):
            return np.full(len(fits), _MANY, dtype=np.int64)
        if any(self._fleet.is_lacking(key) for key in shape.shared_claims):
            return np.where(fits, _MANY, 0)
        rooms = trial.survey.rooms(options, max(count, self._most.get(shape, 0)))
        if not trial.is_thorough or not shape.own_claims:
            return rooms
        if self._counts[shape]:
            # Others of the gang may have taken what this shape could get if they took something else.
            rows = {row for _, row in trial.put} if self._are_many else set()
        else:
            rows = {*np.flatnonzero(fits).tolist(), *(row for _, row in trial.put)}
        if rows:
            rooms = rooms.copy()
            for row in rows:
                rooms[row] = max(rooms[row], self._joint.room(trial, options, row, count))
        return rooms

    def are_exact(self) -> bool:
        """Whether the numbers, one pod after the other, are what fits."""
        return all(self._counts[shape] and self.is_countable(shape) for shape in self._counts)

    def is_countable(self, shape: Shape) -> bool:
        """Whether the rooms of rows add up: not where pods mind each other, or share devices that are still to be
        found."""
        return not depends_on_pods(shape) and not any(self._fleet.is_lacking(key) for key in shape.shared_claims)
