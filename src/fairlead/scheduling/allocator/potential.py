"""What free devices are worth, so that a small request does not break what a large one will need.

The worth of a node is

    64 · Σ over groups  weight · n²  +  Σ over devices  size² · r²

- A device counts if a claim could get it now, by itself: it is not held, enough is left of its counters, no taint keeps
  claims away. Its size is 64 for a whole card, and for a part the mean share that it has of the card's counters (half
  of the PEs and half of the memory: 32). Of devices without counters the largest of a driver's on the node has size 64,
  by capacity. r is what is left of a device that is given out in shares, 1 where nothing is taken.
- A group is the devices of one driver on one card (weight 4), PCIe switch (4), PCIe root (3), socket or NUMA node (2),
  fabric (2), or on the node (1). n counts those that are free, whole and untouched; parts of a card that is offered
  whole are in no group.

The waste of a set of devices is the worth before less the worth after. All terms are convex, so what is taken from the
smaller rest costs less: taking k of n free devices of a group costs k·(2n - k). A part of a broken card costs its own
size (and what overlaps it), a part of a whole card the card, too; of a card's parts the smallest fusion that does is
broken; shares fill a device before they touch another; and a node with fewer free devices is filled before an empty
one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fairlead.scheduling.allocator.layout import WHOLE, Component, Layout

GROUP_UNIT: Final = WHOLE
_FINE: Final = 2**16

Shares = tuple[tuple[int, tuple[int, ...]], ...]
"""By place in the component, ascending: what is taken of each capacity of a device held in shares."""


class Rest(NamedTuple):
    """A component of which something is held."""

    worth: int
    """The devices' part of the sum."""
    open: int
    """A bit for each device that is not held whole and has its counters, those that taints keep away included."""
    members: int
    """A bit for each device that groups count."""


def rest_of(layout: Layout, component: Component, mask: int, shares: Shares, others: tuple[int, ...]) -> Rest:
    """What is left of a component: `mask` has a bit for each device held whole, `others` is what devices that are not
    among the node's candidates take of its counters (empty for nothing)."""
    key = (component.kind, mask, shares, others)
    found = layout.memo.get(key)
    if found is None:
        if len(layout.memo) >= _MOST_REMEMBERED:
            layout.memo.clear()
        found = layout.memo[key] = _work_out(component, mask, dict(shares), others)
    return found


_MOST_REMEMBERED: Final = 100_000


def _work_out(component: Component, mask: int, shares: dict[int, tuple[int, ...]], others: tuple[int, ...]) -> Rest:
    left = list(component.counters)
    for slot, amount in enumerate(others):
        left[slot] -= amount
    for place, part in enumerate(component.parts):
        if mask >> place & 1 or place in shares:
            for slot, amount in part.consumes:
                left[slot] -= amount
    worth = open_ = members = 0
    for place, part in enumerate(component.parts):
        taken = shares.get(place)
        if mask >> place & 1 or (taken is None and any(amount > left[slot] for slot, amount in part.consumes)):
            continue
        open_ |= 1 << place
        if part.is_kept_away:
            continue
        if taken is None:
            worth += part.size * part.size
            members |= part.is_member << place
        else:
            rest = _rest(part.capacities, taken)
            worth += part.size * part.size * rest * rest // (_FINE * _FINE)
    return Rest(worth, open_, members)


def _rest(capacities: tuple[int, ...], taken: tuple[int, ...]) -> int:
    """How much is left of a device that is given out in shares: the mean over its capacities, in parts of `_FINE`."""
    ratios = [
        max(0, capacity - amount) * _FINE // capacity
        for capacity, amount in zip(capacities, taken, strict=True)
        if capacity > 0
    ]
    return sum(ratios) // len(ratios) if ratios else _FINE
