"""Which engine is to have which adapters. Pure.

Engines stand in groups (role, track and revision): each group serves for itself, so each gets its own copies. Engines
of a new revision thus get their share while those of the old one still serve, and none is missing when these leave.

1. *How many copies.* Slots are granted copy by copy: the bounds first, then what is asked for or in use, then more
   copies of the busiest by requests in flight per copy, then what is there and idle. A grant stands where the copies
   granted so far can all be placed (`_Room`).
2. *Where.* Copies stay where they are; the rest goes where the fewest adapters are, and one that stands in the way
   moves only if nothing else helps. The number of loads is the least possible.
3. *What to do now.* A load waits for a free slot; a copy is given up when others of the adapter are there, or it is
   not wanted any more.

The same snapshot always gives the same step, and a step that was carried out leaves nothing to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.serving.adapters.spread import spread

KEEP_SHARE: Final = 0.7
"""Of the requests in flight that its copies are for: above it, none of them is given up. Between this and all of it
nothing changes, so that a number that swings a little moves nothing."""

HOLD_S: Final = 5.0
"""A copy is not given up for another adapter within so long of its loading: where more are asked for than there are
slots, they take turns of this length."""


@dataclass(frozen=True, slots=True)
class AdapterNeed:
    """One version of an adapter. `least` and `most` count engines of each group; `most` 0 is no bound."""

    name: str
    least: int = 1
    most: int = 0
    requests_per_engine: float = 8.0
    in_flight: float = 0.0
    """Requests under way, on average over the last time."""
    idle_s: float = 0.0
    """Since its last request."""
    idle_limit_s: float = 300.0
    asked_s: float | None = None
    """For how long requests wait that no engine can take; None: none do."""


@dataclass(frozen=True, slots=True)
class EngineSlots:
    """One engine as placement sees it."""

    name: str
    group: str
    slots: int
    loaded: Mapping[str, float] = field(default_factory=dict)
    """Adapter -> seconds since it was loaded."""
    usable: bool = True
    """Whether it serves and will go on to: ready, not draining, its adapters can be changed."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do now, and what is aimed at. Pairs are (engine, adapter)."""

    loads: tuple[tuple[str, str], ...] = ()
    unloads: tuple[tuple[str, str], ...] = ()
    target: frozenset[tuple[str, str]] = frozenset()
    short: Mapping[str, int] = field(default_factory=dict)
    """Adapter -> copies that are wanted and find no slot."""


def place(needs: Sequence[AdapterNeed], engines: Sequence[EngineSlots]) -> Placement:
    """The step from what is loaded to what should be."""
    loads: list[tuple[str, str]] = []
    unloads: list[tuple[str, str]] = []
    aim: set[tuple[str, str]] = set()
    short: dict[str, int] = {}
    for group in sorted({e.group for e in engines}):
        usable = sorted((e for e in engines if e.group == group and e.usable), key=lambda e: e.name)
        counts, missing = grant(needs, usable)
        for name, more in missing.items():
            short[name] = short.get(name, 0) + more
        target = spread(counts, [(e.name, e.slots, frozenset(e.loaded)) for e in usable])
        now, later = _step(target, usable)
        loads += now
        unloads += later
        aim |= target
    return Placement(tuple(loads), tuple(unloads), frozenset(aim), short)


def wanted_copies(need: AdapterNeed, engines: int, copies: int) -> int:
    """How many of a group's engines should have it, were there slots for all; `copies` have it now."""
    most = min(engines, need.most or engines)
    if need.asked_s is None and need.in_flight <= 0.0 and need.idle_s >= need.idle_limit_s:
        return min(need.least, most)
    busy = math.ceil(need.in_flight / need.requests_per_engine)
    if busy < copies:
        # Fewer would do now: given up are only those that would do by a margin.
        busy = min(copies, math.ceil(need.in_flight / (need.requests_per_engine * KEEP_SHARE)))
    in_use = need.asked_s is not None or need.in_flight > 0.0 or copies > 0
    return min(most, max(need.least, busy, int(in_use)))


def grant(needs: Sequence[AdapterNeed], engines: Sequence[EngineSlots]) -> tuple[dict[str, int], dict[str, int]]:
    """Copies of each adapter in a group, and how many more it should have and cannot."""
    held = {need.name: [e.loaded[need.name] for e in engines if need.name in e.loaded] for need in needs}
    wanted = {need.name: wanted_copies(need, len(engines), len(held[need.name])) for need in needs}
    claims = [
        (_rank(need, number, held[need.name]), need.name)
        for need in needs
        for number in range(1, wanted[need.name] + 1)
    ]
    room = _Room([e.slots for e in engines])
    counts = dict.fromkeys(wanted, 0)
    for _, name in sorted(claims):
        if room.take(counts[name]):
            counts[name] += 1
    missing = {name: more for name, count in counts.items() if (more := wanted[name] - count) > 0}
    return counts, missing


def _rank(need: AdapterNeed, number: int, held: Sequence[float]) -> tuple[float, ...]:
    """The order of grants, the smaller first; `number` is that of the copy, from 1."""
    if number <= need.least:
        return (0.0, number)
    is_held = number <= len(held)
    is_fresh = is_held and min(held) < HOLD_S
    if number == 1:
        if is_fresh:
            return (1.0, 0.0)
        if need.asked_s is not None and not is_held:
            return (2.0, -need.asked_s)
        if need.asked_s is not None or need.in_flight > 0.0:
            return (3.0, -need.in_flight, need.idle_s)
        return (5.0, need.idle_s)
    # A copy that is there is worth more than one that would have to be loaded, so equals do not take turns.
    share = need.in_flight / number / (KEEP_SHARE if is_held else 1.0)
    return (4.0, 0.0 if is_fresh else 1.0, -share)


class _Room:
    """Whether copies of adapters, each on engines of its own, fit into slots: a bound for every number of engines k.

    With any k engines left out of account, which can take no more than one copy of each adapter, the others must have
    slots for the rest. The k largest are the ones that matter (Gale and Ryser).
    """

    def __init__(self, slots: Sequence[int]) -> None:
        ascending = sorted(max(0, s) for s in slots)
        self._slack = [sum(ascending[: len(ascending) - k]) for k in range(len(ascending) + 1)]

    def take(self, copies: int) -> bool:
        """Take one more for an adapter that has so many; False where it does not fit."""
        touched = self._slack[: copies + 1]
        if copies + 1 >= len(self._slack) or min(touched) < 1:
            return False
        for k in range(copies + 1):
            self._slack[k] -= 1
        return True


def _step(
    target: set[tuple[str, str]], engines: Sequence[EngineSlots]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Of one group: loads into free slots, and copies to give up."""
    loads: list[tuple[str, str]] = []
    blocked: list[tuple[str, str]] = []
    for engine in engines:
        free = engine.slots - len(engine.loaded)
        for name in sorted(a for e, a in target if e == engine.name and a not in engine.loaded):
            (loads if free > 0 else blocked).append((engine.name, name))
            free -= 1
    there = {a for e in engines for a in e.loaded if (e.name, a) in target}
    wanted = {a for _, a in target}
    surplus = [(e.name, a) for e in engines for a in sorted(e.loaded) if (e.name, a) not in target]
    unloads = [(e, a) for e, a in surplus if a in there or a not in wanted]
    if not loads and not unloads and blocked:
        # Each would wait for the other's slot: one goes first.
        unloads = surplus[:1]
    return loads, unloads
