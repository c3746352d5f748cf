"""The devices of the cluster: what slices offer, which claims hold them, and what a pod's claims would get on a node.

Decisions are the allocator's. Here is the state that it needs, kept from the informers' copies: slices prepared once,
and allocations that were decided and that the API does not show yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from fairlead.kube.objects.devices import AllocationResult, DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from fairlead.scheduling.allocator import (
    Allocated,
    AllocationError,
    Catalogue,
    Decision,
    Failed,
    Features,
    InUse,
    NodePlace,
    Plan,
    allocate,
    build_catalogue,
    plan_claims,
    prepare_slice,
    tally_allocations,
)
from fairlead.scheduling.allocator.devices import PreparedSlice
from fairlead.scheduling.snapshot import NodeView

FEATURES: Final = Features(
    admin_access=True,
    consumable_capacity=True,
    # Binding would have to wait for what a driver makes of the conditions: such devices are left to who does.
    binding_conditions=False,
    device_taints=True,
    list_attributes=True,
    partitionable_devices=True,
    prioritized_list=True,
)


@dataclass(frozen=True, slots=True)
class Wish:
    """The claims of a pod that have no devices yet, and how to look for them."""

    claims: tuple[ResourceClaim, ...]
    plan: Plan


class Devices:
    """Slices, classes, taint rules and claims are iterated anew with every `refresh`."""

    def __init__(
        self,
        slices: Iterable[ResourceSlice],
        classes: Iterable[DeviceClass],
        rules: Iterable[DeviceTaintRule],
        claims: Iterable[ResourceClaim],
    ) -> None:
        self._slices, self._classes, self._rules, self._claims = slices, classes, rules, claims
        self._prepared: dict[str, tuple[str, PreparedSlice]] = {}  # slice name -> version, slice
        self._rule_versions: frozenset[tuple[str, str]] = frozenset()
        self._catalogue: Catalogue = build_catalogue((), FEATURES)
        self._class_by_name: Mapping[str, DeviceClass] = {}
        self._decided: dict[str, AllocationResult] = {}  # claim uid -> what the API does not show yet
        self._held: dict[str, AllocationResult] = {}  # claim uid -> all that is held
        self._in_use: InUse | None = None

    def refresh(self) -> None:
        """Take note of what the copies say now. Raises ValueError for a consumed capacity that is no quantity."""
        self._refresh_slices()
        self._class_by_name = {each.metadata.name: each for each in self._classes}
        shown = {claim.metadata.uid: claim.status.allocation for claim in self._claims}
        self._decided = {uid: given for uid, given in self._decided.items() if uid in shown and shown[uid] is None}
        self._held = {uid: given for uid, given in shown.items() if given is not None} | self._decided
        self._in_use = None

    def with_decided(self, claim: ResourceClaim) -> ResourceClaim:
        """The claim as it will be once the API shows what was decided."""
        decided = self._decided.get(claim.metadata.uid)
        if decided is None or claim.status.allocation is not None:
            return claim
        return replace(claim, status=replace(claim.status, allocation=decided))

    def wish(self, claims: Sequence[ResourceClaim]) -> Wish | None:
        """What a pod's claims still lack; None where they all have devices."""
        lacking = tuple(claim for claim in claims if claim.status.allocation is None)
        return Wish(lacking, plan_claims(lacking, self._class_by_name, FEATURES)) if lacking else None

    def decide(self, wish: Wish, node: NodeView) -> Decision:
        """The devices for a wish on a node, or why there are none."""
        if self._in_use is None:
            self._in_use = tally_allocations(self._held.values())
        try:
            view = self._catalogue.view(NodePlace(node.name, node.labels))
        except AllocationError as error:
            return Failed(error.fault, str(error), error.on_this_node, 0)
        return allocate(wish.plan, view, self._in_use)

    def assume(self, wish: Wish, given: Allocated) -> dict[str, AllocationResult]:
        """Hold what was decided until the API shows it, or until `forget`. Claim name -> its allocation."""
        made = dict(zip((claim.metadata.uid for claim in wish.claims), given.allocations, strict=True))
        self._decided |= made
        self._held |= made
        self._in_use = None
        return {claim.metadata.name: made[claim.metadata.uid] for claim in wish.claims}

    def forget(self, uids: Iterable[str]) -> None:
        """What was decided for these claims is not written, or not known to be."""
        for uid in uids:
            if self._decided.pop(uid, None) is not None:
                self._held.pop(uid, None)
                self._in_use = None

    def _refresh_slices(self) -> None:
        rules = tuple(self._rules)
        versions = frozenset((rule.metadata.uid, rule.metadata.resource_version) for rule in rules)
        known = self._prepared if versions == self._rule_versions else {}
        prepared: dict[str, tuple[str, PreparedSlice]] = {}
        for each in self._slices:
            name, version = each.metadata.name, f"{each.metadata.uid}/{each.metadata.resource_version}"
            before = known.get(name)
            prepared[name] = before if before and before[0] == version else (version, prepare_slice(each, rules))
        if prepared != self._prepared:
            self._catalogue = build_catalogue((each for _, each in prepared.values()), FEATURES)
        self._prepared, self._rule_versions = prepared, versions
