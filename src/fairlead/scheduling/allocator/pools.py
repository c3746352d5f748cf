"""Resource pools as one node sees them: current generation, complete or not, valid or why not, in the order of search.

The rules are those of the ResourceSlice API: the slices of a pool's newest generation belong together and are complete
when there are as many as they say; a pool is not allocated from while it is incomplete, or when device names repeat or
counters are consumed that nobody defines. Devices are tried by driver, pool, slice name, and place in the slice; pools
with binding conditions come last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fairlead.scheduling.allocator.counters import (
    NO_COUNTERS,
    CounterTable,
    build_counter_table,
    dangling_reference,
    repeated_set,
)
from fairlead.scheduling.allocator.devices import PoolId, PreparedDevice, PreparedSlice
from fairlead.scheduling.allocator.errors import AllocationError
from fairlead.scheduling.allocator.features import Features
from fairlead.scheduling.allocator.in_use import InUse
from fairlead.scheduling.allocator.nodes import NodePlace

Consumption = tuple[tuple[int, int], ...]
"""Counters a device takes: place in the pool's table, amount in billionths."""

_Slices = tuple[tuple[PreparedSlice, ...], tuple[PreparedSlice, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A device that a node can use, with the pool it comes from."""

    device: PreparedDevice
    consumes: Consumption


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """One pool as seen from a node."""

    id: PoolId
    candidates: tuple[Candidate, ...] = ()
    """Its devices in slices that reach the node."""
    elsewhere: tuple[Candidate, ...] = ()
    """Its other devices; they share its counters."""
    counters: CounterTable = NO_COUNTERS
    is_incomplete: bool = False
    defect: str = ""
    """Why it is invalid; "" if it is not."""

    @property
    def is_usable(self) -> bool:
        return not self.is_incomplete and not self.defect

    @property
    def has_binding_conditions(self) -> bool:
        return any(candidate.device.spec.binding_conditions for candidate in self.candidates)

    def remaining_counters(self, in_use: InUse) -> list[int]:
        """What is left of each counter; less than nothing where more is held than there is."""
        remaining = list(self.counters.amounts)
        for candidate in (*self.candidates, *self.elsewhere):
            if candidate.consumes and in_use.holds(candidate.device.id):
                for slot, amount in candidate.consumes:
                    remaining[slot] -= amount
        for counter, amount in in_use.gone.get(self.id, {}).items():
            place = self.counters.slots.get(counter)
            if place is not None:
                remaining[place] -= amount
        return remaining


@dataclass(frozen=True, slots=True, eq=False)
class NodePools:
    """All that a node can use, in the order of search."""

    node: NodePlace
    pools: tuple[Pool, ...]
    candidates: tuple[Candidate, ...]
    """The devices of the usable pools."""
    pool_of: tuple[int, ...]
    """Which of `pools` each candidate belongs to."""

    @property
    def invalid(self) -> tuple[Pool, ...]:
        return tuple(pool for pool in self.pools if pool.defect)


class Catalogue:
    """All slices of a cluster, by pool. Views of the same slices from different nodes share their pools.

    Kubernetes' scheduler shows every node the slices that define counters, whosever they are; so a pool that is invalid
    on one node troubles all. `is_narrow` shows a node only those of pools that it has devices of.
    """

    def __init__(self, features: Features, *, is_narrow: bool = False) -> None:
        self._features = features
        self._is_narrow = is_narrow
        self._slices: dict[PoolId, list[PreparedSlice]] = {}
        self._local: dict[str, list[PreparedSlice]] = {}  # node name -> slices of its own devices
        self._remote: list[PreparedSlice] = []  # other slices of devices
        self._counting: dict[PoolId, list[PreparedSlice]] = {}  # slices that define counters
        # Which slices reach the node, which do not -> the pool: the same slices make another pool for another node.
        self._built: dict[PoolId, dict[_Slices, Pool]] = {}

    @property
    def has_remote(self) -> bool:
        """Whether there are devices that more than one node may reach."""
        return bool(self._remote)

    def add(self, slice_: PreparedSlice) -> None:
        """One more slice."""
        for books in self._books_of(slice_):
            books.append(slice_)
        self._built.pop(slice_.pool, None)

    def remove(self, slice_: PreparedSlice) -> None:
        """A slice that was added is gone."""
        for books in self._books_of(slice_):
            books.remove(slice_)
        self._built.pop(slice_.pool, None)
        if not self._slices[slice_.pool]:
            del self._slices[slice_.pool]

    def slices_of(self, pool: PoolId) -> tuple[PreparedSlice, ...]:
        """All slices of a pool, of whatever generation."""
        return tuple(self._slices.get(pool, ()))

    def view(self, node: NodePlace) -> NodePools:
        """The pools of a node. Raises AllocationError where a slice names its nodes in a way that cannot be read."""
        found: dict[PoolId, list[PreparedSlice]] = {}
        for slice_ in (*self._local.get(node.name, ()), *self._remote):
            if self._concerns(slice_, node):
                _add_newest(found, slice_)
        if self._features.partitionable_devices:
            for id_ in tuple(found) if self._is_narrow else self._counting:
                for slice_ in self._counting.get(id_, ()):
                    _add_newest(found, slice_)
        pools = [pool for id_, slices in found.items() if (pool := self._pool(id_, slices)) is not None]
        pools.sort(key=lambda pool: (pool.has_binding_conditions, pool.id))
        pairs = [(candidate, i) for i, pool in enumerate(pools) for candidate in pool.candidates]
        return NodePools(
            node, tuple(pools), tuple(candidate for candidate, _ in pairs), tuple(position for _, position in pairs)
        )

    def _books_of(self, slice_: PreparedSlice) -> tuple[list[PreparedSlice], ...]:
        everything = self._slices.setdefault(slice_.pool, [])
        if slice_.counter_sets:
            return everything, self._counting.setdefault(slice_.pool, [])
        if slice_.reach.node_name:
            return everything, self._local.setdefault(slice_.reach.node_name, [])
        return everything, self._remote

    def _concerns(self, slice_: PreparedSlice, node: NodePlace) -> bool:
        if slice_.has_per_device_field and not self._features.partitionable_devices:
            return False
        try:
            if slice_.reach.is_stated:
                return slice_.reach.includes(node)
            return slice_.per_device and any(device.reach.includes(node) for device in slice_.devices)
        except AllocationError as error:
            raise AllocationError(
                error.fault, f"failed to perform node selection for slice {slice_.name}: {error}"
            ) from error

    def _pool(self, id_: PoolId, slices: Sequence[PreparedSlice]) -> Pool | None:
        """The pool that these slices of its newest visible generation make; None where the generation is obsolete."""
        first = slices[0]
        others: tuple[PreparedSlice, ...] = ()
        if len(slices) != first.slices_in_pool:
            everywhere = self._slices[id_]
            if any(slice_.generation > first.generation for slice_ in everywhere):
                return None
            current = tuple(slice_ for slice_ in everywhere if slice_.generation == first.generation)
            if len(current) != first.slices_in_pool:
                return Pool(id_, is_incomplete=True)
            seen = {slice_.name for slice_ in slices}
            others = tuple(slice_ for slice_ in current if slice_.name not in seen)
        key = (tuple(sorted(slices, key=lambda slice_: slice_.name)), others)
        built = self._built.setdefault(id_, {})
        pool = built.get(key)
        if pool is None:
            pool = built[key] = _build_pool(id_, *key, self._features)
        return pool


def build_catalogue(slices: Iterable[PreparedSlice], features: Features) -> Catalogue:
    """Sorts slices by pool and by the nodes they can concern."""
    catalogue = Catalogue(features)
    for slice_ in slices:
        catalogue.add(slice_)
    return catalogue


def _add_newest(found: dict[PoolId, list[PreparedSlice]], slice_: PreparedSlice) -> None:
    known = found.get(slice_.pool)
    if known is None or slice_.generation > known[0].generation:
        found[slice_.pool] = [slice_]
    elif slice_.generation == known[0].generation:
        known.append(slice_)


def _build_pool(
    id_: PoolId, slices: Sequence[PreparedSlice], others: Sequence[PreparedSlice], features: Features
) -> Pool:
    counter_sets = [counter_set for slice_ in slices for counter_set in slice_.counter_sets]
    device_slices = [slice_ for slice_ in slices if not slice_.counter_sets]
    devices = [device for slice_ in device_slices for device in slice_.devices]
    defect = next((slice_.defect for slice_ in slices if slice_.defect), "") or _repeated_name(devices)
    if not features.partitionable_devices:
        return Pool(id_, defect=defect) if defect else Pool(id_, tuple(Candidate(device, ()) for device in devices))
    elsewhere = [device for slice_ in others for device in slice_.devices]
    everyone = [device.spec for slice_ in slices for device in slice_.devices]
    everyone.extend(device.spec for device in elsewhere)
    defect = defect or repeated_set(counter_sets) or dangling_reference(counter_sets, everyone)
    if defect:
        return Pool(id_, defect=defect)
    try:
        table = build_counter_table(counter_sets)
        return Pool(
            id_,
            tuple(Candidate(device, table.consumed_by(device.spec)) for device in devices),
            tuple(Candidate(device, table.consumed_by(device.spec)) for device in elsewhere),
            table,
        )
    except ValueError as error:
        return Pool(id_, defect=f"a counter is no quantity: {error}")


def _repeated_name(devices: Iterable[PreparedDevice]) -> str:
    seen: set[str] = set()
    for device in devices:
        name = device.id.device
        if name in seen:
            return f"duplicate device name {name}"
        seen.add(name)
    return ""
