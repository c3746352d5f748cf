"""The devices of a fleet: what slices offer, what claims hold, and what claims without devices would get on a node.

Decisions are the allocator's. The book is the state that they need, changed piece by piece: a slice, a claim's
allocation. Answers are shared by all nodes that are alike for the same claims, so that a fleet of equal nodes costs
little more than one.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from fairlead.kube.objects.devices import (
    AllocationResult,
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceSlice,
)
from fairlead.scheduling.allocator import DeviceId, Failed, Features, plan_claims
from fairlead.scheduling.allocator.devices import PreparedDevice
from fairlead.scheduling.allocator.held import NOTHING_HELD
from fairlead.scheduling.allocator.problem import judge, pose
from fairlead.scheduling.allocator.requests import find_error
from fairlead.scheduling.allocator.result import write_results
from fairlead.scheduling.fleet.device_facts import DeviceFacts
from fairlead.scheduling.fleet.device_holdings import Holdings, device_id
from fairlead.scheduling.fleet.device_offers import Offer, Refusal, refusal_of
from fairlead.scheduling.fleet.device_profiles import Mode, Patience, Profile, trim
from fairlead.scheduling.fleet.device_seats import Seat
from fairlead.scheduling.fleet.device_table import DeviceRow, Supply, list_devices, list_supply
from fairlead.scheduling.fleet.device_wants import Wants, stand_in

__all__ = ["FEATURES", "DeviceBook", "DeviceRow", "Offer", "Refusal", "Supply", "Wants"]

FEATURES: Final = Features(
    admin_access=True,
    consumable_capacity=True,
    binding_conditions=True,
    device_taints=True,
    list_attributes=True,
    partitionable_devices=True,
    prioritized_list=True,
)

_MOST_RECENT: Final = 4096
"""Sets of claim objects whose wants are known at once."""
_MOST_KEPT: Final = 256
"""Wants that live on though nobody holds them, with all that is remembered for them."""
_MOST_PROFILES: Final = 1024
"""Kinds of nodes that are known for one wants."""


class DeviceBook:
    """In `best` mode the cheapest devices are chosen, in `upstream` mode those that Kubernetes' scheduler takes."""

    def __init__(self, features: Features = FEATURES, mode: Mode = "best") -> None:
        self.features = features
        self.mode: Mode = mode
        self._holdings = Holdings()
        self._facts = DeviceFacts(features, self._holdings)
        self._classes: dict[str, DeviceClass] = {}
        self._wants: weakref.WeakValueDictionary[tuple[bytes, ...], Wants] = weakref.WeakValueDictionary()
        self._kept: dict[Wants, None] = {}
        # Ids of claim objects -> these objects, which keeps the ids theirs, and what they want.
        self._recent: dict[tuple[int, ...], tuple[tuple[ResourceClaim, ...], Wants]] = {}

    # Facts

    def set_slice(self, slice_: ResourceSlice) -> None:
        """A slice is there, or is different."""
        self._facts.set_slice(slice_)

    def remove_slice(self, name: str) -> None:
        self._facts.remove_slice(name)

    def set_rules(self, rules: Iterable[DeviceTaintRule]) -> None:
        """These are all taint rules there are."""
        self._facts.set_rules(rules)

    def set_class(self, device_class: DeviceClass) -> None:
        """A class is there, or is different."""
        name = device_class.metadata.name
        before = self._classes.get(name)
        self._classes[name] = device_class
        if before is None or before.spec != device_class.spec:
            self._renew(name)

    def remove_class(self, name: str) -> None:
        if self._classes.pop(name, None) is not None:
            self._renew(name)

    def set_node(self, name: str, labels: Mapping[str, str]) -> None:
        """A node is there, or has other labels."""
        self._facts.set_node(name, labels)

    def remove_node(self, name: str) -> None:
        self._facts.remove_node(name)
        for wants in tuple(self._wants.values()):
            wants.at.pop(name, None)

    def take_changed(self) -> set[str] | None:
        """Nodes whose offers may be different since the last call; None for all."""
        return self._facts.take_changed()

    # Questions

    def has_devices(self, node: str) -> bool:
        """Whether a slice has devices of this node alone."""
        return self._facts.has_devices(node)

    def wants(self, claims: Sequence[ResourceClaim]) -> Wants:
        """What these claims want together: one object for all claims of equal specs (and equal names for them in
        their pods). Never fails: what is wrong with them is in its `refusal`, and so in every answer."""
        objects = tuple(claims)
        ids = tuple(map(id, objects))
        recent = self._recent.get(ids)
        if recent is not None:
            return recent[1]
        stand_ins = [stand_in(claim, place) for place, claim in enumerate(objects)]
        key = tuple(msgspec.json.encode((each.metadata.name, each.spec)) for each in stand_ins)
        found = self._wants.get(key)
        if found is None:
            found = self._wants[key] = Wants(stand_ins)
            self._plan(found)
        if len(self._recent) >= _MOST_RECENT:
            self._recent.clear()
        self._recent[ids] = objects, found
        self._kept.pop(found, None)
        self._kept[found] = None
        trim(self._kept, _MOST_KEPT)
        return found

    def offer(self, wants: Wants, node: str) -> Offer | Refusal:
        """The devices that the claims would get on the node now, or why none."""
        if wants.refusal is not None:
            return wants.refusal
        seat = self._facts.seat(node)
        if isinstance(seat, Refusal):
            return seat
        return self._profile(wants, node, seat).answer(seat.held())

    def room(self, wants: Wants, node: str, limit: int) -> int:
        """How many times the claims fit on the node together, one after the other, at most `limit`."""
        seat = self._facts.seat(node)
        if wants.refusal is not None or isinstance(seat, Refusal):
            return 0
        return self._profile(wants, node, seat).room(seat.held(), limit)

    def idle_room(self, wants: Wants, node: str, limit: int) -> int:
        """`room` as it would be if no claim held anything."""
        seat = self._facts.seat(node)
        if wants.refusal is not None or isinstance(seat, Refusal):
            return 0
        return self._profile(wants, node, seat).room(NOTHING_HELD, limit)

    def device_table(self, node: str) -> tuple[DeviceRow, ...]:
        """All devices that the node reaches, and who holds them."""
        seat = self._facts.seat(node)
        return () if isinstance(seat, Refusal) else list_devices(seat.view, seat.held(), self._holdings)

    def free_devices(self, node: str) -> int:
        """How many of them could be given out now, each for itself."""
        return sum(row.is_open for row in self.device_table(node))

    def supply(self, wants: Wants, node: str) -> tuple[Supply, ...]:
        """For each request of the claims: which devices of the node are its kind, and which of these are free."""
        seat = self._facts.seat(node)
        return () if isinstance(seat, Refusal) else list_supply(wants.plan, seat.view, seat.held())

    def devices_of(self, node: str) -> Sequence[PreparedDevice]:
        """The devices that the node can use, held or not."""
        seat = self._facts.seat(node)
        return () if isinstance(seat, Refusal) else tuple(each.device for each in seat.view.candidates)

    # What is held

    def take(
        self, wants: Wants, node: str, offer: Offer, claims: Sequence[ResourceClaim]
    ) -> dict[str, AllocationResult]:
        """Gives the claims what was offered on the node, and holds it. Claim uid -> its allocation.

        `claims` are those that `wants` was made of, or others with equal specs, in that order. Raises ValueError where
        the offer is not for the node as it is now.
        """
        seat = self._facts.seat(node)
        if isinstance(seat, Refusal):
            raise ValueError(f"the offer is void: {seat}")
        now = self.offer(wants, node)
        if isinstance(now, Refusal) or now.given != offer.given:
            raise ValueError(f"the offer is void: node {node} has changed since, ask for another")
        allocations = write_results(wants.plan, offer.given, seat.view, claims)
        made = {claim.metadata.uid: allocation for claim, allocation in zip(claims, allocations, strict=True)}
        for uid, allocation in made.items():
            self.hold(uid, allocation)
        return made

    def hold(self, uid: str, allocation: AllocationResult) -> None:
        """A claim holds this, and nothing else."""
        self._facts.note_pools(self._holdings.hold(uid, allocation))

    def release(self, uid: str) -> AllocationResult | None:
        """A claim holds nothing any more. What it held."""
        allocation, pools = self._holdings.release(uid)
        self._facts.note_pools(pools)
        return allocation

    def allocation_of(self, uid: str) -> AllocationResult | None:
        """What a claim holds."""
        return self._holdings.allocation_of(uid)

    def held_by(self, uid: str) -> tuple[DeviceId, ...]:
        """The devices that a claim keeps from others, whole or in shares."""
        return tuple(device_id(hold) for hold in self._holdings.holds_of(uid))

    def _profile(self, wants: Wants, node: str, seat: Seat) -> Profile:
        known = wants.at.get(node)
        if known is not None and known[0] is seat:
            return known[1]
        judgement = judge(wants.plan, seat.view)
        # An answer that may name devices or pools is for the one node.
        likeness = (seat.layout, judgement) if judgement.is_clear else (seat, judgement)
        profile = wants.profiles.get(likeness)
        if profile is None:
            problem = pose(wants.plan, seat.view, seat.layout, judgement)
            profile = wants.profiles[likeness] = Profile(wants.plan, seat.view, problem, self.mode, wants.patience)
            trim(wants.profiles, _MOST_PROFILES)
        wants.at[node] = seat, profile
        return profile

    def _plan(self, wants: Wants) -> None:
        plan = plan_claims(wants.claims, self._classes, self.features, exact=self.mode == "best")
        error = find_error(plan)
        refusal = refusal_of(Failed(error.fault, str(error), False, 0)) if error is not None else None
        wants.renew(plan, refusal, Patience(self.mode))

    def _renew(self, name: str) -> None:
        """A class is different."""
        for wants in tuple(self._wants.values()):
            if name in wants.class_names():
                self._plan(wants)
        self._facts.note_all()
