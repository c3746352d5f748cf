"""How many pods of a shape each row holds: remembered from decision to decision, counted again where things changed."""

from __future__ import annotations

import weakref
from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.options import NOWHERE, Options, Outlook
from fairlead.scheduling.snapshot import Shape
from fairlead.scheduling.topology import Domains

Ints = npt.NDArray[np.int64]

_LEAST_LIMIT: Final = 16
"""Rooms are counted at least so far, so that a row that a few pods would fill is told from one that they would break
into."""


class _Known:
    """The rooms of one shape."""

    def __init__(self) -> None:
        self.rooms: Ints = np.zeros(0, dtype=np.int64)
        self.limit = 0
        self.read = -1
        self.shared_version = -1


class Survey:
    """What the search remembers of one outlook from decision to decision: rooms and domains."""

    def __init__(self, outlook: Outlook) -> None:
        self.fleet = outlook.fleet
        self.domains = Domains(outlook.fleet)
        self._known: weakref.WeakKeyDictionary[Options, _Known] = weakref.WeakKeyDictionary()

    def rooms(self, options: Options, most: int) -> Ints:
        """By row: how many more pods of the shape fit, up to `most` or more. The options are fresh."""
        known = self._known.get(options)
        if known is None:
            known = self._known[options] = _Known()
        limit = _LEAST_LIMIT
        while limit < most:
            limit *= 2
        fits = options.scores > NOWHERE
        rows = self._stale(known, options.shape, limit, fits)
        if rows is None:
            known.limit = max(limit, known.limit)
            known.rooms = np.zeros(len(fits), dtype=np.int64)
            rows = np.flatnonzero(fits)
        if len(rows):
            known.rooms[rows] = options.rooms(rows.tolist(), known.limit)
        return np.where(fits, known.rooms, 0)

    def _stale(self, known: _Known, shape: Shape, limit: int, fits: npt.NDArray[np.bool_]) -> Ints | None:
        """Rows to look at again, of those that fit; None for all."""
        log, read = self.fleet.log, known.read
        has_other_claims = bool(shape.shared_claims) and known.shared_version != self.fleet.shared_version
        known.read, known.shared_version = log.end, self.fleet.shared_version
        if read < 0 or limit > known.limit or has_other_claims:
            return None
        changes = log.since(read)
        if changes is None or len(changes) > len(fits):
            return None
        rows = {change.row for change in changes}
        if -1 in rows:
            return None
        more = len(fits) - len(known.rooms)
        if more > 0:
            known.rooms = np.concatenate([known.rooms, np.zeros(more, dtype=np.int64)])
        return np.array(sorted(row for row in rows if fits[row]), dtype=np.int64)


def depends_on_pods(shape: Shape) -> bool:
    """Whether where one pod of the shape goes changes where the next can: rooms are then no numbers to add up."""
    return bool(shape.near or shape.far or shape.spread)


def may_gain(shape: Shape) -> bool:
    """Whether a row that is closed to the shape may open when other pods are placed."""
    return any(not term.weight for term in shape.near) or any(each.is_required for each in shape.spread)


_SURVEYS: weakref.WeakKeyDictionary[Outlook, Survey] = weakref.WeakKeyDictionary()


def survey_of(outlook: Outlook) -> Survey:
    """The survey that belongs to an outlook; it goes with it."""
    found = _SURVEYS.get(outlook)
    if found is None:
        found = _SURVEYS[outlook] = Survey(outlook)
    return found
