"""What the devices of a node are like, apart from their names: equal for nodes of one make, and then one object.

Devices that draw on the same counters (a card and its partitions) make a component; any other device is a component of
its own. What is taken of one component says nothing about another, and components that are alike can be exchanged.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.scheduling.allocator.capacity import Capacity
from fairlead.scheduling.allocator.counters import nanos
from fairlead.scheduling.allocator.features import Features
from fairlead.scheduling.allocator.held import bits
from fairlead.scheduling.allocator.links import Spot, distance, spot_of
from fairlead.scheduling.allocator.pools import NodePools
from fairlead.scheduling.allocator.taints import untolerated

WHOLE: Final = 64
"""The size of a whole piece of hardware; its parts are smaller in proportion."""

_FINE: Final = 10**6
_LEVELS: Final[tuple[tuple[int, Callable[[Spot], Hashable]], ...]] = (
    (4, lambda spot: spot.card),
    (4, lambda spot: spot.switch),
    (3, lambda spot: spot.root),
    (2, lambda spot: spot.socket if spot.socket is not None else (spot.numa or None)),
    (2, lambda spot: spot.fabric),
    (1, lambda spot: ()),
)
"""Weight of a level -> the group of a device there, None for none. The last one is the node."""


@dataclass(frozen=True, slots=True)
class Part:
    """One device."""

    driver: str
    is_shared: bool
    capacities: tuple[int, ...]
    """How much there is of each capacity of a device that is given out in shares, in billionths."""
    consumes: tuple[tuple[int, int], ...]
    """Counters of its component, by place, and how much it takes."""
    is_kept_away: bool
    """Whether a taint keeps ordinary claims away."""
    size: int
    """1 to `WHOLE`."""
    is_member: bool
    """Whether groups count it: it is no part of something that is offered whole, too."""
    groups: tuple[int, ...]
    """Places of the groups that it belongs to."""
    spot: Spot


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """Devices that draw on the same counters."""

    positions: tuple[int, ...]
    """The devices' places among the node's candidates, ascending."""
    parts: tuple[Part, ...]
    counters: tuple[int, ...]
    """How much there is of each."""
    slots: tuple[tuple[int, int], ...]
    """Where they are: place of the pool, place in its table."""
    kind: int
    """Equal for components that can be exchanged as far as the layout goes."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Layout:
    """The devices of a node."""

    components: tuple[Component, ...]
    seat_of: tuple[tuple[int, int], ...]
    """By candidate: its component, and its place there."""
    weights: tuple[int, ...]
    """By group."""
    spots: tuple[Spot, ...]
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    """What was worked out about components, by kind."""
    _rows: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False)
    _spreads: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def spread(self, component: int, places: int) -> int:
        """From bits for devices of a component to bits for candidates."""
        key = (component, places)
        mask = self._spreads.get(key)
        if mask is None:
            positions = self.components[component].positions
            mask = self._spreads[key] = sum([1 << positions[place] for place in bits(places)])
        return mask

    def distances(self, position: int) -> tuple[int, ...]:
        """From one device to each."""
        row = self._rows.get(position)
        if row is None:
            here = self.spots[position]
            row = self._rows[position] = tuple(distance(here, there) for there in self.spots)
        return row

    def closest(self, mask: int) -> int:
        """The least distance between two devices with a bit in the mask; 0 where there are no two."""
        positions = tuple(bits(mask))
        pairs = ((one, self.distances(one)) for one in positions)
        return min((row[other] for one, row in pairs for other in positions if other > one), default=0)


class Layouts:
    """All layouts of a fleet, one of each."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self._known: weakref.WeakValueDictionary[Hashable, Layout] = weakref.WeakValueDictionary()
        self._numbers: dict[tuple[Capacity, ...], int] = {}
        self._recent: dict[int, tuple[tuple[Capacity, ...], int]] = {}

    def of(self, view: NodePools) -> Layout:
        """The layout of a node's devices; the same for nodes that are alike."""
        spots = _local_spots(view)
        likeness = self._likeness(view, spots)
        found = self._known.get(likeness)
        if found is None:
            found = self._known[likeness] = build_layout(view, self._features, spots)
        return found

    def _likeness(self, view: NodePools, spots: Sequence[Spot]) -> Hashable:
        devices = tuple(
            (
                candidate.device.id.driver,
                place,
                candidate.device.is_shared,
                self._number(candidate.device.capacities),
                candidate.consumes,
                tuple([(taint.key, taint.value, taint.effect) for taint in candidate.device.taints]),
                spot,
                "" if candidate.device.reach.node_name else repr(candidate.device.reach.selector),
            )
            for candidate, place, spot in zip(view.candidates, view.pool_of, spots, strict=True)
        )
        return devices, tuple(pool.counters.amounts for pool in view.pools)

    def _number(self, capacities: tuple[Capacity, ...]) -> int:
        recent = self._recent.get(id(capacities))
        if recent is None or recent[0] is not capacities:
            number = self._numbers.setdefault(capacities, len(self._numbers))
            if len(self._recent) > _MOST_RECENT:
                self._recent.clear()
            recent = self._recent[id(capacities)] = capacities, number
        return recent[1]


_MOST_RECENT: Final = 4096


def build_layout(view: NodePools, features: Features, spots: Sequence[Spot] | None = None) -> Layout:
    """Works out components, sizes and groups."""
    spots = _local_spots(view) if spots is None else spots
    found = _components(view)
    component_of = {position: i for i, positions in enumerate(found) for position in positions}
    # A partition whose attributes do not name its card is on that of its counters.
    spots = tuple(
        spot._replace(card=("counters", component_of[position]))
        if spot.card is None and view.candidates[position].consumes
        else spot
        for position, spot in enumerate(spots)
    )
    sizes, members = _sizes(view, found, features)
    groups, weights = _groups(view, spots, members)
    spread = _spread_cards(spots, component_of)
    components: list[Component] = []
    kinds: dict[Hashable, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    seats: dict[int, tuple[int, int]] = {}
    for i, positions in enumerate(found):
        slots = sorted({(view.pool_of[p], slot) for p in positions for slot, _ in view.candidates[p].consumes})
        place_of = {slot: place for place, slot in enumerate(slots)}
        parts = tuple(
            Part(
                view.candidates[p].device.id.driver,
                view.candidates[p].device.is_shared and features.consumable_capacity,
                tuple(nanos(each.value) for each in view.candidates[p].device.capacities),
                tuple((place_of[view.pool_of[p], slot], amount) for slot, amount in view.candidates[p].consumes),
                features.device_taints and untolerated(view.candidates[p].device.taints, ()) is not None,
                sizes[p],
                members[p],
                groups[p],
                spots[p],
            )
            for p in positions
        )
        totals = tuple(view.pools[pool].counters.amounts[slot] for pool, slot in slots)
        alike = (totals, tuple(_without_card(part, spread) for part in parts))
        components.append(Component(positions, parts, totals, tuple(slots), _kind(kinds, alike, positions, i)))
        seats |= {position: (i, place) for place, position in enumerate(positions)}
    return Layout(tuple(components), tuple(seats[p] for p in range(len(seats))), weights, tuple(spots))


def _kind(
    kinds: dict[Hashable, list[tuple[int, tuple[int, ...]]]], alike: Hashable, positions: tuple[int, ...], new: int
) -> int:
    """Exchangeable components also have their devices in the same order, each behind its counterpart."""
    for row in kinds[alike]:
        kind, last = row
        if all(before < after for before, after in zip(last, positions, strict=True)):
            kinds[alike].remove(row)
            kinds[alike].append((kind, positions))
            return kind
    kinds[alike].append((new, positions))
    return new


def _without_card(part: Part, spread: frozenset[Hashable]) -> Hashable:
    """Its card only matters where parts of one lie in several components."""
    spot = part.spot if part.spot.card in spread else part.spot._replace(card=None)
    has_card = part.is_member and part.spot.card is not None
    groups = part.groups[1:] if has_card and part.spot.card not in spread else part.groups
    return (
        part.driver, part.is_shared, part.capacities, part.consumes, part.is_kept_away, part.size, part.is_member,
        groups, spot,
    )  # fmt: skip


def _spread_cards(spots: Sequence[Spot], component_of: dict[int, int]) -> frozenset[Hashable]:
    owners: dict[Hashable, set[int]] = defaultdict(set)
    for position, spot in enumerate(spots):
        owners[spot.card].add(component_of[position])
    return frozenset(card for card, components in owners.items() if card is not None and len(components) > 1)


def _components(view: NodePools) -> list[tuple[int, ...]]:
    """Candidates that share counters, directly or through others; in the order of their first."""
    leader: dict[tuple[int, int], int] = {}  # counter -> some candidate
    parent = list(range(len(view.candidates)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    for position, candidate in enumerate(view.candidates):
        for slot, _ in candidate.consumes:
            first = leader.setdefault((view.pool_of[position], slot), position)
            low, high = sorted((root(first), root(position)))
            parent[high] = low
    found: dict[int, list[int]] = {}
    for position in range(len(parent)):
        found.setdefault(root(position), []).append(position)
    return [tuple(positions) for positions in found.values()]


def _sizes(
    view: NodePools, components: Sequence[tuple[int, ...]], features: Features
) -> tuple[dict[int, int], dict[int, bool]]:
    """Sizes, and whether groups count the device."""
    sizes: dict[int, int] = {}
    members: dict[int, bool] = {}
    largest: dict[tuple[str, str], int] = {}
    for candidate in view.candidates:
        for capacity in candidate.device.capacities:
            key = (candidate.device.id.driver, capacity.name)
            largest[key] = max(largest.get(key, 0), nanos(capacity.value))
    for positions in components:
        shares = {p: _share_of_counters(view, p) for p in positions}
        most = max(shares.values())
        for p in positions:
            device = view.candidates[p].device
            fraction = shares[p] * _FINE // most if most else _FINE
            if not most:
                ratios = [
                    nanos(each.value) * _FINE // largest[device.id.driver, each.name]
                    for each in device.capacities
                    if largest[device.id.driver, each.name] > 0
                ]
                fraction = sum(ratios) // len(ratios) if ratios else _FINE
            sizes[p] = max(1, (WHOLE * fraction + _FINE // 2) // _FINE)
            members[p] = shares[p] == most
    return sizes, members


def _share_of_counters(view: NodePools, position: int) -> int:
    totals = view.pools[view.pool_of[position]].counters.amounts
    return sum(
        amount * _FINE // totals[slot] for slot, amount in view.candidates[position].consumes if totals[slot] > 0
    )


def _groups(
    view: NodePools, spots: Sequence[Spot], members: dict[int, bool]
) -> tuple[dict[int, tuple[int, ...]], tuple[int, ...]]:
    """By candidate its groups, one for each level where it has one; and the weight of each group."""
    numbers: dict[Hashable, int] = {}
    weights: list[int] = []
    groups: dict[int, tuple[int, ...]] = {}
    for position, spot in enumerate(spots):
        own: list[int] = []
        for level, (weight, group_of) in enumerate(_LEVELS):
            group = group_of(spot)
            if group is None or not members[position]:
                continue
            key = (view.candidates[position].device.id.driver, level, group)
            if key not in numbers:
                numbers[key] = len(weights)
                weights.append(weight)
            own.append(numbers[key])
        groups[position] = tuple(own)
    return groups, tuple(weights)


def _local_spots(view: NodePools) -> tuple[Spot, ...]:
    """Spots with names replaced by numbers in the order of their appearance, so that equal nodes have equal ones."""
    numbers: dict[Hashable, int] = {}

    def local(level: str, value: Hashable) -> Hashable:
        return None if value is None else numbers.setdefault((level, value), len(numbers))

    return tuple(
        Spot(
            local("card", spot.card),
            local("fabric", spot.fabric),
            local("switch", spot.switch),
            local("root", spot.root),
            spot.numa,
            spot.socket,
        )
        for spot in (spot_of(candidate.device) for candidate in view.candidates)
    )
