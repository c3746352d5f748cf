"""The rows that so many pods of a part would best go to, and how many to each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.gangs import fill
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.trial import Place, Trial
from fairlead.scheduling.snapshot import HOST, Shape

Ints = npt.NDArray[np.int64]


def arrange(trial: Trial, part: Part, place: Place, shape: Shape, count: int) -> list[tuple[int, int]]:
    """Rows and numbers of pods, in the order of rows; for as many pods as there is room for, at most `count`."""
    options = trial.options(shape)
    rooms = trial.survey.rooms(options, count)[place.rows]
    has_room = np.flatnonzero(rooms)
    rows, rooms = place.rows[has_room], rooms[has_room]
    count = min(count, int(rooms.sum()))
    if not count:
        return []
    scores = options.scores[rows]
    topology = part.topology
    if topology.arrangement == "spread":
        cut = trial.survey.domains.cut((topology.over or HOST,))
        ids, domains = _in_order(cut.ids[rows])
        there = _there(trial, part, cut.ids, len(cut.values))[domains]
        given = fill.spread(ids, there, rooms, scores, count)
    else:
        levels = [trial.survey.domains.cut((level,)).ids[rows] for level in topology.preferred]
        given = fill.pack_by([_in_order(ids)[0] for ids in levels if _divides(ids)], rooms, scores, count)
    chosen = np.flatnonzero(given)
    return list(zip(rows[chosen].tolist(), given[chosen].tolist(), strict=True))


def _there(trial: Trial, part: Part, ids: Ints, size: int) -> Ints:
    """By domain: how many pods of the part are there, of those bound before and those placed in this search."""
    fleet = trial.outlook.fleet
    there = np.zeros(size, dtype=np.int64)
    mine = {pod.uid for batch in part.batches for pod in batch.pods}
    rows = [fleet.row_of[name] for name in part.bound if name in fleet.row_of]
    rows += [row for pod, row in trial.put if pod.uid in mine]
    for row in rows:
        if ids[row] >= 0:
            there[ids[row]] += 1
    return there


def _in_order(ids: Ints) -> tuple[Ints, Ints]:
    """The domains of rows numbered as they come, -1 for none, and which these are: what happened to the fleet before
    has numbered them otherwise."""
    values, first, places = np.unique(ids, return_index=True, return_inverse=True)
    by_row = np.argsort(first)
    by_row = by_row[values[by_row] >= 0]
    number = np.full(len(values), -1, dtype=np.int64)
    number[by_row] = np.arange(len(by_row))
    return number[places], values[by_row]


def _divides(ids: Ints) -> bool:
    return bool(len(ids)) and bool((ids != ids[0]).any())
