"""How many pods of a kind go on which row, given how many each has room for. Pure arithmetic on arrays.

All functions answer with the number on each row; the rooms must hold all that is asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def pack(rooms: Ints, scores: Floats, count: int) -> Ints:
    """The fewest rows: the roomiest first, and for what remains the row that it fills most exactly. Ties go to the
    higher score, then to the earlier row."""
    given = np.zeros_like(rooms)
    order = np.lexsort((-scores, -rooms))
    falling = rooms[order]
    left = count
    for step, at in enumerate(order):
        room = int(falling[step])
        if room >= left:
            tightest = falling[step + int(np.searchsorted(-falling[step:], -left, side="right")) - 1]
            first = step + int(np.searchsorted(-falling[step:], -tightest, side="left"))
            given[order[first]] = left
            return given
        given[at] = room
        left -= room
    raise ValueError(f"{count} pods do not fit in {int(rooms.sum())} places")


def pack_by(levels: Sequence[Ints], rooms: Ints, scores: Floats, count: int) -> Ints:
    """Like `pack`, but whole domains first: the fewest of the first level, in each the fewest of the next, at last the
    fewest rows. `levels` holds for each level the domain of every row, -1 for none: those rows come last."""
    if not levels:
        return pack(rooms, scores, count)
    given = np.zeros_like(rooms)
    ids = levels[0] + 1
    sums = np.bincount(ids, weights=rooms).astype(np.int64)
    homeless, sums[0] = int(sums[0]), 0
    left = count
    while left:
        enough = sums >= left
        if enough.any():
            domain = int(np.argmin(np.where(enough, sums, np.iinfo(np.int64).max)))
        else:
            domain = int(np.argmax(sums))
        room = int(sums[domain])
        if not room:
            domain, room = 0, homeless
            if room < left:
                raise ValueError(f"{count} pods do not fit in {int(rooms.sum())} places")
        here = ids == domain
        take = min(room, left)
        given[here] = pack_by([level[here] for level in levels[1:]], rooms[here], scores[here], take)
        left -= take
        sums[domain] = 0
    return given


def spread(ids: Ints, there: Ints, rooms: Ints, scores: Floats, count: int) -> Ints:
    """Evenly over domains: each pod goes where the fewest are, of those with room. `ids` is the domain of each row, -1
    for none: such rows come last. `there` says how many pods are in each domain already. Within a domain rows are
    packed."""
    given = np.zeros_like(rooms)
    size = len(there)
    sums = np.bincount(ids + 1, weights=rooms, minlength=size + 1)[1:].astype(np.int64)
    best = np.full(size, -np.inf)
    inside = ids >= 0
    np.maximum.at(best, ids[inside], np.where(rooms[inside] > 0, scores[inside], -np.inf))
    taken = np.zeros(size, dtype=np.int64)
    heap = [(int(there[d]), -float(best[d]), d) for d in np.flatnonzero(sums)]
    heapq.heapify(heap)
    left = count
    while left and heap:
        now, score, domain = heapq.heappop(heap)
        taken[domain] += 1
        left -= 1
        if taken[domain] < sums[domain]:
            heapq.heappush(heap, (now + 1, score, domain))
    for domain in np.flatnonzero(taken):
        here = ids == domain
        given[here] = pack(rooms[here], scores[here], int(taken[domain]))
    if left:
        here = ids < 0
        given[here] = pack(rooms[here], scores[here], left)
    return given
