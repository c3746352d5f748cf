"""From what a card says of itself to the state of each of its devices. Pure."""

from __future__ import annotations

from fairlead.devices.health import HEALTHY, Health, unhealthy, unknown
from fairlead.devices.vendors.furiosa.facts import Card, PeRange
from fairlead.devices.vendors.furiosa.probe import CardState


def compute_health(card: Card, part: PeRange, state: CardState, strangers: frozenset[int]) -> Health:
    """`strangers` are PEs that a process holds though no claim does. Worst first: one device has one state.

    A card that died or dropped ends its pods; one that is busy, hot, short of power or short of PCIe lanes still works
    for those who have it and only gets no new ones.
    """
    fatal = _fatal(card, state)
    if fatal is not None:
        return fatal
    foreign = sorted(strangers & set(range(part.start, part.stop)))
    if foreign:
        elements = ", ".join(str(element) for element in foreign)
        return unhealthy(
            "OccupiedOutside",
            f"{card.name}: a process that no claim covers holds PE {elements}; see furiosa-smi ps",
            "NoSchedule",
        )
    return _slowed(card, state) or HEALTHY


def _fatal(card: Card, state: CardState) -> Health | None:
    if not state.present:
        return unhealthy("Vanished", f"{card.name}: the kernel driver no longer lists the card ({card.pci.bus_id})")
    if state.unreadable:
        return unknown("Unreadable", f"{card.name}: {state.unreadable}")
    if state.alive is False:
        return unhealthy("NotAlive", f"{card.name}: the card does not answer its driver ({card.pci.bus_id})")
    if state.alive is None:
        return unknown("NoLiveness", f"{card.name}: the kernel driver does not say whether the card is alive")
    return None


def _slowed(card: Card, state: CardState) -> Health | None:
    if state.hot:
        return unhealthy("ThermalThrottle", f"{card.name}: too hot: {state.hot}", "NoSchedule")
    if state.power_limited:
        return unhealthy(
            "PowerThrottle", f"{card.name}: held back by its power limit: {state.power_limited}", "NoSchedule"
        )
    if state.link is not None and state.link.width < state.link.max_width:
        # The rate is not judged: an idle link may be slow to save power, while lanes that are gone stay gone.
        return unhealthy("PcieLinkDegraded", f"{card.name}: PCIe link has {state.link}", "NoSchedule")
    return None
