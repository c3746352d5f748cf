"""What the API says about devices: slices, taint rules and nodes, taken in one by one, and whom they reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fairlead.kube.objects.devices import DeviceTaintRule, ResourceSlice, ResourceSliceSpec
from fairlead.scheduling.allocator import (
    AllocationError,
    Catalogue,
    Failed,
    Features,
    NodePlace,
    PoolId,
    prepare_slice,
)
from fairlead.scheduling.allocator.devices import PreparedSlice
from fairlead.scheduling.allocator.layout import Layouts
from fairlead.scheduling.allocator.pools import Pool
from fairlead.scheduling.fleet.device_holdings import Holdings, PoolState
from fairlead.scheduling.fleet.device_offers import Refusal, refusal_of
from fairlead.scheduling.fleet.device_seats import Seat


class DeviceFacts:
    """Slices prepared once, and a seat for each node that was asked about. Says which nodes a change may reach."""

    def __init__(self, features: Features, holdings: Holdings) -> None:
        self._holdings = holdings
        self._catalogue = Catalogue(features, is_narrow=True)
        self._layouts = Layouts(features)
        self._slices: dict[str, tuple[ResourceSlice, PreparedSlice]] = {}
        self._rules: dict[str, DeviceTaintRule] = {}
        self._nodes: dict[str, NodePlace] = {}
        self._seats: dict[str, Seat | Refusal] = {}
        self._states: dict[PoolId, dict[Pool, PoolState]] = {}
        self._nodes_of: dict[PoolId, set[str]] = {}  # pool -> nodes whose seats show it
        self._local: Counter[str] = Counter()  # node -> devices in slices of its own
        self._changed: set[str] | None = None

    def take_changed(self) -> set[str] | None:
        """Nodes about which answers may be different since the last call; None for all of them."""
        changed, self._changed = self._changed, set()
        return changed

    def note_all(self) -> None:
        self._changed = None

    def note_pools(self, pools: Iterable[PoolId]) -> None:
        """More or less is held of these pools."""
        if self._changed is not None:
            for pool in pools:
                self._changed |= self._nodes_of.get(pool, frozenset())

    def set_slice(self, slice_: ResourceSlice) -> None:
        before = self._slices.get(slice_.metadata.name)
        if before is not None and before[0].spec == slice_.spec:
            return
        self._replace(slice_.metadata.name, slice_)

    def remove_slice(self, name: str) -> None:
        if name in self._slices:
            self._replace(name, None)

    def set_rules(self, rules: Iterable[DeviceTaintRule]) -> None:
        """These are all taint rules."""
        now = {rule.metadata.uid or rule.metadata.name: rule for rule in rules}
        before, self._rules = self._rules, now
        different = [
            rule
            for key in before.keys() | now.keys()
            if before.get(key) != now.get(key) and _spec(before.get(key)) != _spec(now.get(key))
            for rule in (before.get(key), now.get(key))
            if rule is not None
        ]
        if different:
            for slice_, prepared in tuple(self._slices.values()):
                if any(_concerns(rule, slice_.spec, prepared) for rule in different):
                    self._replace(slice_.metadata.name, slice_)

    def set_node(self, name: str, labels: Mapping[str, str]) -> None:
        before = self._nodes.get(name)
        if before is not None and before.labels == labels:
            return
        self._nodes[name] = NodePlace(name, labels)
        if before is None or self._catalogue.has_remote:
            self._leave(name)

    def remove_node(self, name: str) -> None:
        if self._nodes.pop(name, None) is not None:
            self._leave(name)

    def has_devices(self, node: str) -> bool:
        """Whether slices of the node's own list devices."""
        return self._local[node] > 0

    def seat(self, node: str) -> Seat | Refusal:
        """The node's devices; a refusal where they cannot be told."""
        found = self._seats.get(node)
        if found is None:
            found = self._seats[node] = self._seat(node)
        return found

    def _seat(self, name: str) -> Seat | Refusal:
        place = self._nodes.get(name)
        if place is None:
            return Refusal(f"node {name} is not known")
        try:
            view = self._catalogue.view(place)
        except AllocationError as error:
            return refusal_of(Failed(error.fault, str(error), error.on_this_node, 0), concerns_all=False)
        for pool in view.pools:
            self._nodes_of.setdefault(pool.id, set()).add(name)
        return Seat(view, self._layouts.of(view), [self._state(pool) for pool in view.pools])

    def _state(self, pool: Pool) -> PoolState:
        states = self._states.setdefault(pool.id, {})
        state = states.get(pool)
        if state is None:
            state = states[pool] = PoolState(pool, self._holdings)
        return state

    def _replace(self, name: str, slice_: ResourceSlice | None) -> None:
        """Another slice of that name, or none."""
        before = self._slices.pop(name, None)
        touched: list[PreparedSlice] = []
        if before is not None:
            touched.append(before[1])
            self._local[before[1].reach.node_name] -= len(before[1].devices)
            self._holdings.note_leaving(before[1].pool, before[1].devices)
            self._catalogue.remove(before[1])
        if slice_ is not None:
            prepared = prepare_slice(slice_, self._rules.values())
            self._slices[name] = slice_, prepared
            self._local[prepared.reach.node_name] += len(prepared.devices)
            self._catalogue.add(prepared)
            touched.append(prepared)
        for each in touched:
            self._states.pop(each.pool, None)
            for node in tuple(self._nodes_of.get(each.pool, ())):
                self._leave(node)
            if each.reach.node_name:
                self._leave(each.reach.node_name)
            elif not each.counter_sets:
                self._leave_all()

    def _leave(self, node: str) -> None:
        """The node is to be looked at anew."""
        seat = self._seats.pop(node, None)
        if isinstance(seat, Seat):
            for pool in seat.view.pools:
                self._nodes_of[pool.id].discard(node)
                if not self._nodes_of[pool.id]:
                    del self._nodes_of[pool.id]
        if self._changed is not None:
            self._changed.add(node)

    def _leave_all(self) -> None:
        self._seats.clear()
        self._states.clear()
        self._nodes_of.clear()
        self._changed = None


def _spec(rule: DeviceTaintRule | None) -> object:
    return rule.spec if rule is not None else None


def _concerns(rule: DeviceTaintRule, spec: ResourceSliceSpec, prepared: PreparedSlice) -> bool:
    selector = rule.spec.device_selector
    if (
        selector is None
        or selector.driver not in (None, spec.driver)
        or selector.pool not in (None, prepared.pool.pool)
    ):
        return False
    return selector.device is None or any(each.id.device == selector.device for each in prepared.devices)
