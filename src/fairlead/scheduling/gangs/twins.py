"""Rows and domains that are interchangeable for a gang: where one led nowhere, the other need not be tried."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.options import NOWHERE, Outlook
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.rooms import Survey, depends_on_pods
from fairlead.scheduling.gangs.trial import Trial

Ints = npt.NDArray[np.int64]


class Twins:
    """Likeness of rows before the gang came, remembered by row; what a trial has put there is added when asked."""

    def __init__(self, outlook: Outlook, survey: Survey, root: Part) -> None:
        self._outlook = outlook
        self._survey = survey
        self._shapes = tuple(root.shapes)
        self._places = {shape: i for i, shape in enumerate(self._shapes)}
        self._levels = _all_levels(root)
        self._names = sorted({name for shape in self._shapes for name, amount in shape.requests.items() if amount})
        self._before: dict[int, int] = {}
        self._numbers: dict[Hashable, int] = {}
        self._kept: list[Any] = []
        self.apply = not any(depends_on_pods(each) or each.host_ports or each.volumes for each in self._shapes)
        """Whether likeness can be told at all."""

    def look(self) -> None:
        """Remembers what rows are like on which any pod of the gang fits; called before it has put any anywhere."""
        if not self.apply:
            return
        fits = [self._outlook.of(shape).scores > NOWHERE for shape in self._shapes]
        for row in np.flatnonzero(np.any(fits, axis=0)).tolist():
            if row not in self._before:
                self._before[row] = self._number(("row", self._describe(row)))

    def row(self, trial: Trial, row: int) -> Hashable:
        """Equal for rows that are interchangeable now, domains included."""
        domains = tuple(int(self._survey.domains.cut((each,)).ids[row]) for each in self._levels)
        return self._state(trial, row), domains

    def domain(self, trial: Trial, rows: Ints, levels: tuple[str, ...]) -> Hashable:
        """Equal for sets of rows that are interchangeable when a part that is cut by `levels` chooses among them."""
        states = {row: self._state(trial, row) for row in rows.tolist()}
        others = [level for level in self._levels if level not in levels]
        return self._sign(rows, [*levels, *others], states)

    def _sign(self, rows: Ints, levels: list[str], states: dict[int, int]) -> Hashable:
        """Row states by domain of each level in turn; a domain that lies wholly inside goes without its name."""
        if not levels:
            return self._number(("rows", *sorted(states[row] for row in rows.tolist())))
        ids = self._survey.domains.cut((levels[0],)).ids
        found = []
        for value in np.unique(ids[rows]).tolist():
            here = rows[ids[rows] == value]
            is_inside = value >= 0 and len(here) == int((ids == value).sum())
            name = -1 if value < 0 else -2 if is_inside else value
            found.append((name, self._sign(here, levels[1:], states)))
        return self._number(("domains", *sorted(found)))

    def _state(self, trial: Trial, row: int) -> int:
        # Rows that were not looked at are like no other.
        before = self._before.get(row, -1 - row)
        counts = [0] * len(self._shapes)
        for pod in trial.on.get(row, ()):
            counts[self._places[pod.shape]] += 1
        return self._number((before, *counts))

    def _describe(self, row: int) -> tuple[Hashable, ...]:
        fleet = self._outlook.fleet
        node = fleet.nodes[row]
        described: list[Hashable] = [fleet.free(row, name) for name in self._names]
        for shape in self._shapes:
            described.append(self._outlook.of(shape).fits(row))
            wants = fleet.wants(shape)
            if wants is not None and node is not None:
                # Alike nodes give the same object as their answer.
                answer = fleet.devices.offer(wants, node.name)
                self._kept.append(answer)
                described.append(id(answer))
        return tuple(described)

    def _number(self, value: Hashable) -> int:
        return self._numbers.setdefault(value, len(self._numbers))


def _all_levels(part: Part) -> tuple[str, ...]:
    """The levels that any part of the gang is cut by."""
    topology = part.topology
    levels = dict.fromkeys((*topology.required, *topology.preferred))
    for each in part.parts:
        levels.update(dict.fromkeys(_all_levels(each)))
    return tuple(levels)
