"""RNGD cards and their parts as a driver's devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.devices.cdi.spec import NO_EDITS, ContainerEdits
from fairlead.devices.errors import ClaimError, ProbeError
from fairlead.devices.health import Health
from fairlead.devices.host import Host
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import ClaimReference, Grant, Preparation, Vendor
from fairlead.devices.vendors.furiosa.classes import device_classes
from fairlead.devices.vendors.furiosa.edits import claim_edits, device_edits
from fairlead.devices.vendors.furiosa.facts import WHOLE_CARD, Card, Cards, PeRange
from fairlead.devices.vendors.furiosa.health import compute_health
from fairlead.devices.vendors.furiosa.inventory import available_parts, build, device_name, parts_by_name
from fairlead.devices.vendors.furiosa.probe import CardState, read_cards, read_state
from fairlead.devices.vendors.parameters import read_parameters

DRIVER = "npu.furiosa.ai"
CDI_KIND = "furiosa.ai/npu"

_LOG = logging.getLogger("fairlead.devices.furiosa")


class FuriosaParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a claim or class may say of its devices. `environment`: whether its containers get FURIOSA_DEVICES. A
    container that uses several claims must do without, as one variable can only name the devices of one."""

    environment: bool = True


class FuriosaVendor(Vendor):
    """`facts` and `state` stand for the machine where it is simulated; by default they are read below `host`. Facts
    without a state are of cards that are well."""

    name = "furiosa"

    def __init__(
        self,
        host: Host | None = None,
        *,
        partitions: bool = True,
        facts: Callable[[], Cards] | None = None,
        state: Callable[[Card], CardState] | None = None,
    ) -> None:
        self.driver = DRIVER
        self.cdi_kind = CDI_KIND
        machine = host or Host()
        self._read_cards = facts or (lambda: read_cards(machine))
        if state is None and facts is not None:
            state = _well
        self._read_state = state or (lambda card: read_state(machine, card))
        self._partitions = partitions
        # name -> card: every one ever seen, so that a claim can be given back after its card dropped.
        self._seen: dict[str, Card] = {}
        self._present: tuple[str, ...] = ()
        self._reported: Mapping[str, str] = {}
        # claim uid -> names of its devices.
        self._held: dict[str, frozenset[str]] = {}
        self._knows_former_claims = False
        # (card, PE): seen free by this process; what is busy from the start may belong to a claim it was not told of.
        self._seen_free: set[tuple[str, int]] = set()

    def probe(self) -> Inventory:
        """Cards that can be described. One that is listed and cannot be read just now stays as it was last seen (its
        state is unknown until it can); ProbeError where cards are listed and nothing is known of any."""
        facts = self._read_cards()
        reasons = {skipped.name: skipped.reason for skipped in facts.skipped}
        self._report(reasons)
        kept = [self._seen[name] for name in reasons if name in self._present and self._is_listed(self._seen[name])]
        cards = sorted((*facts.cards, *kept), key=lambda card: card.index)
        if not cards and reasons:
            name, reason = next(iter(reasons.items()))
            raise ProbeError(f"none of {len(reasons)} RNGD cards can be described; {name}: {reason}")
        self._seen |= {card.name: card for card in cards}
        self._present = tuple(card.name for card in cards)
        return build(Cards(tuple(cards)), partitions=self._partitions)

    def edits(self, device: Device) -> ContainerEdits:
        card, part = self._find(device.name)
        return device_edits(card, part)

    def extra_cdi_devices(self) -> Mapping[str, ContainerEdits]:
        """ "all", as Furiosa's own CDI file has it: every card that is there."""
        nodes = [node for name in self._present for node in device_edits(self._seen[name], WHOLE_CARD).device_nodes]
        return {"all": ContainerEdits(device_nodes=nodes)} if nodes else {}

    def health(self) -> Mapping[str, Health]:
        found: dict[str, Health] = {}
        for name in self._present:
            card = self._seen[name]
            state = self._read_state(card)
            strangers = self._strangers(card, state)
            for part in self._parts(card):
                found[device_name(card, part)] = compute_health(card, part, state, strangers)
        return found

    def resume(self, claims: Mapping[str, Sequence[str]]) -> None:
        self._held = {uid: frozenset(names) for uid, names in claims.items()}
        self._knows_former_claims = True

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        named: list[tuple[Card, PeRange]] = []
        for grant in grants:
            parameters = read_parameters(claim, grant, FuriosaParameters)
            found = self._find(grant.device.name)
            if parameters.environment:
                named.append(found)
        self._held[claim.uid] = frozenset(grant.device.name for grant in grants if not grant.admin_access)
        return Preparation(edits=claim_edits(named) if named else NO_EDITS)

    def release(self, claim: ClaimReference, devices: Sequence[str]) -> None:
        left = self._held.pop(claim.uid, frozenset()) - set(devices)
        if left:
            self._held[claim.uid] = left

    def device_classes(self) -> Sequence[Mapping[str, Any]]:
        return device_classes(self.driver, partitions=self._partitions)

    def _find(self, name: str) -> tuple[Card, PeRange]:
        card_name, _, _ = name.partition("pe")
        card = self._seen.get(card_name)
        part = None if card is None else parts_by_name(card).get(name)
        if card is None or part is None or (part != WHOLE_CARD and not self._partitions):
            raise ClaimError(
                f'driver "{self.driver}" has no device "{name}" on this node; it may have dropped', retry=False
            )
        return card, part

    def _parts(self, card: Card) -> tuple[PeRange, ...]:
        return (WHOLE_CARD, *available_parts(card)) if self._partitions else (WHOLE_CARD,)

    def _is_listed(self, card: Card) -> bool:
        return self._read_state(card).present

    def _strangers(self, card: Card, state: CardState) -> frozenset[int]:
        """PEs in use that no claim holds."""
        if state.occupied is None:
            return frozenset()
        everything = range(WHOLE_CARD.start, WHOLE_CARD.stop)
        self._seen_free |= {(card.name, element) for element in everything if element not in state.occupied}
        ours = {
            element
            for part in self._parts(card)
            if any(device_name(card, part) in names for names in self._held.values())
            for element in range(part.start, part.stop)
        }
        return frozenset(
            element
            for element in state.occupied
            if element not in ours and (self._knows_former_claims or (card.name, element) in self._seen_free)
        )

    def _report(self, reasons: Mapping[str, str]) -> None:
        """Say once for what reason a card is left out, not with every look."""
        for name, reason in reasons.items():
            if self._reported.get(name) != reason:
                _LOG.warning("RNGD card %s is left out: %s", name, reason)
        self._reported = dict(reasons)


def _well(_: Card) -> CardState:
    return CardState(alive=True)


def create(host: Host, node: str, *, partitions: bool = True) -> Sequence[Vendor]:
    """The vendor of this machine, or of the tree below `host`. `partitions`: whether parts of cards are offered."""
    return (FuriosaVendor(host, partitions=partitions),)
