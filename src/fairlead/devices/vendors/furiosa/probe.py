"""From the machine's files to facts about RNGD cards, and to what each card says of itself now.

A card that is listed and cannot be described (a truncated file, a broken link, gone between two reads) is left out with
a reason and never hides the others. Only a class folder that cannot be listed at all is a ProbeError.

Files below /sys/class/rngd_mgmt/rngd!npuNmgmt (furiosa-ai/device-api): busname, device_uuid, device_sn, fw_version,
version (of the kernel driver), device_type, platform_type, device_state ("1": alive), pe_occupancy (a line of 0 or 1
for each PE). rngd!npuNpeM/alloc_status is empty while nobody holds the PE. Temperature and power are the PCI function's
hwmon (the kernel's sysfs-interface document), as furiosa-smi reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host, PciLink
from fairlead.devices.vendors.furiosa.facts import PES_PER_CARD, PRODUCTS, Card, Cards, Skipped

CLASS = "/sys/class/rngd_mgmt"
DEVICES = "/dev/rngd"
PCI_VENDOR = "1ed2"

_MANAGEMENT = re.compile(r"rngd!npu(\d{1,4})mgmt")
_NODE = re.compile(r"npu(\d{1,4})(?:mgmt|pe\d+(?:-\d+)?|ch\d+r?|dmar|bar\d+)?")
_PLATFORMS = ("FuriosaAI", "VITIS")
_THERMAL_ALARM = re.compile(r"temp\d+_(?:max|crit|emergency)_alarm")
_POWER_ALARM = re.compile(r"(?:power|curr)\d+_(?:cap_|max_|crit_)?alarm")
_TEMPERATURE = re.compile(r"(temp\d+)_input")


@dataclass(frozen=True, slots=True)
class CardState:
    """What a card says now. `present`: the kernel driver lists it. None means: not told.

    `occupied` are PEs that some process holds. `hot` and `power_limited` say which sensor raised its alarm, empty where
    none did. `unreadable` is why the state could not be read, empty where it could.
    """

    present: bool = True
    alive: bool | None = None
    occupied: frozenset[int] | None = None
    hot: str = ""
    power_limited: str = ""
    link: PciLink | None = None
    unreadable: str = ""


def read_cards(host: Host) -> Cards:
    """Every card there is now. Raises ProbeError where the class or the device folder cannot be listed."""
    listed = {int(match[1]) for name in host.names(CLASS) if (match := _MANAGEMENT.fullmatch(name))}
    nodes = _nodes_by_card(host)
    cards: list[Card] = []
    skipped = [
        Skipped(f"npu{index}", f"has files in {DEVICES} and no entry in {CLASS}: the card dropped or is being bound")
        for index in sorted(nodes.keys() - listed)
    ]
    for index in sorted(listed):
        try:
            card = _read_card(host, index, tuple(nodes.get(index, ())))
        except ProbeError as error:
            skipped.append(Skipped(f"npu{index}", _why_unreadable(host, index, error)))
            continue
        twin = next((other for other in cards if other.pci.bus_id == card.pci.bus_id), None)
        if twin is not None:
            skipped.append(Skipped(card.name, f"says it is PCI function {card.pci.bus_id}, which {twin.name} is"))
            continue
        cards.append(card)
    return Cards(tuple(cards), tuple(skipped))


def read_state(host: Host, card: Card) -> CardState:
    """The card's own word on its state; never raises: what cannot be read is said in the answer."""
    folder = _management(card.index)
    try:
        if not host.exists(folder):
            return CardState(present=False)
        return CardState(
            alive=_is_alive(host, folder),
            occupied=_read_occupied(host, card),
            hot=_read_hot(host, card),
            power_limited=_first_raised(host, card, _POWER_ALARM),
            link=host.pci_link(card.pci.bus_id),
        )
    except ProbeError as error:
        if not host.exists(folder):
            return CardState(present=False)
        return CardState(unreadable=str(error))


def _management(index: int) -> str:
    return f"{CLASS}/rngd!npu{index}mgmt"


def _why_unreadable(host: Host, index: int, error: ProbeError) -> str:
    return str(error) if host.exists(_management(index)) else "disappeared while it was being read"


def _nodes_by_card(host: Host) -> dict[int, list[str]]:
    """Card number -> names of its device nodes. Anything else in the folder is none of ours."""
    found: dict[int, list[str]] = {}
    for name in host.names(DEVICES):
        match = _NODE.fullmatch(name)
        if match and host.device_node(f"{DEVICES}/{name}") is not None:
            found.setdefault(int(match[1]), []).append(name)
    return found


def _read_card(host: Host, index: int, nodes: tuple[str, ...]) -> Card:
    folder = _management(index)
    platform = host.text(f"{folder}/platform_type", _PLATFORMS[0])
    if platform not in _PLATFORMS:
        raise ProbeError(f'{folder}/platform_type: expected {" or ".join(_PLATFORMS)}, found "{platform[:40]}"')
    pci = host.pci(_required(host, f"{folder}/busname"))
    if pci.vendor and pci.vendor != PCI_VENDOR:
        raise ProbeError(f"{folder}/busname: {pci.bus_id} is of PCI vendor {pci.vendor}, expected {PCI_VENDOR}")
    if not any(name.startswith(f"npu{index}pe") for name in nodes):
        raise ProbeError(f"{DEVICES}: no device file of a processing element of npu{index}")
    return Card(
        index=index,
        uuid=_required(host, f"{folder}/device_uuid"),
        serial=host.text(f"{folder}/device_sn", ""),
        pci=pci,
        nodes=nodes,
        product=_product(host.text(f"{folder}/device_type", "")),
        firmware=host.text(f"{folder}/fw_version", ""),
        driver=host.text(f"{folder}/version", ""),
    )


def _required(host: Host, path: str) -> str:
    text = host.text(path)
    if not text:
        raise ProbeError(f"{path}: is empty")
    return text


def _product(device_type: str) -> str:
    """The product name that a driver's text means; the plain one where it names no variant."""
    plain = device_type.lower().replace("_", "-").replace(" ", "-")
    return next((product for product in reversed(PRODUCTS) if plain.startswith(product)), PRODUCTS[0])


def _is_alive(host: Host, folder: str) -> bool | None:
    for name in ("device_state", "alive"):
        text = host.text(f"{folder}/{name}", "")
        if text:
            return text == "1"
    return None


def _read_occupied(host: Host, card: Card) -> frozenset[int] | None:
    path = f"{_management(card.index)}/pe_occupancy"
    lines = host.text(path, "").split()
    if lines:
        if len(lines) != PES_PER_CARD or any(line not in ("0", "1") for line in lines):
            raise ProbeError(f'{path}: expected {PES_PER_CARD} lines of 0 or 1, found "{" ".join(lines)[:40]}"')
        return frozenset(element for element, line in enumerate(lines) if line == "1")
    states = {
        element: host.text(f"{CLASS}/rngd!npu{card.index}pe{element}/alloc_status", "\0")
        for element in range(PES_PER_CARD)
    }
    if all(state == "\0" for state in states.values()):
        return None
    return frozenset(element for element, state in states.items() if state not in ("", "\0"))


def _hwmon(host: Host, card: Card) -> Iterable[tuple[str, str]]:
    """Folder and name of every sensor file of the card."""
    base = f"/sys/bus/pci/devices/{card.pci.bus_id}/hwmon"
    for monitor in host.names(base):
        for name in host.names(f"{base}/{monitor}"):
            yield f"{base}/{monitor}", name


def _first_raised(host: Host, card: Card, alarm: re.Pattern[str]) -> str:
    for folder, name in _hwmon(host, card):
        if alarm.fullmatch(name) and _sensor(host, f"{folder}/{name}") == 1:
            return name
    return ""


def _read_hot(host: Host, card: Card) -> str:
    raised = _first_raised(host, card, _THERMAL_ALARM)
    if raised:
        return raised
    for folder, name in _hwmon(host, card):
        match = _TEMPERATURE.fullmatch(name)
        if match is None:
            continue
        value, critical = _sensor(host, f"{folder}/{name}"), _sensor(host, f"{folder}/{match[1]}_crit")
        if value is not None and critical is not None and value >= critical > 0:
            return f"{match[1]} at {value / 1000:g} °C, critical from {critical / 1000:g} °C"
    return ""


def _sensor(host: Host, path: str) -> int | None:
    """A sensor's number (thousandths of a degree, microwatts); None where it gives none just now."""
    try:
        return int(host.text(path, ""))
    except (ProbeError, ValueError):
        return None
