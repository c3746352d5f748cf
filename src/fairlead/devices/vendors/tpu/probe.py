"""From the machine's files to facts about TPU chips, and to what each chip says of itself now.

Chips are PCI functions of Google's vendor id with a known device id (the vendor id alone also means network cards). A
function's file is /dev/accelN where the accel class has it, else /dev/vfio/GROUP by its IOMMU group. A chip that cannot
be described is left out with a reason and never hides the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host, PciFunction
from fairlead.devices.vendors.tpu.facts import (
    TPU7X,
    V2,
    V3,
    V4,
    V5E,
    V5P,
    V6E,
    VENDOR,
    Chip,
    Generation,
    Skipped,
    TpuHost,
)
from fairlead.devices.vendors.tpu.slice import ENV_FILES, read_slice

PCI = "/sys/bus/pci/devices"
ACCEL = "/sys/class/accel"
GENERATION_BY_DEVICE: Mapping[str, Generation] = {
    "0027": V3,
    "005e": V4,
    "0062": V5P,
    "0063": V5E,
    "006f": V6E,
    "0076": TPU7X,
}
"""PCI device id -> generation, as in Google's tpu-info and in JAX's hardware_utils. v2 and v3 share one id, and differ
by subsystem."""
_V2_SUBSYSTEM = "004e"
_ACCEL = re.compile(r"accel\d+")


@dataclass(frozen=True, slots=True)
class ChipState:
    """What a chip's files say now. `present`: the PCI function is there; `has_node`: so is its device file. `status` is
    the accel driver's word ("ALIVE", "LAMED", "DEAD"), empty where it says none. `driver` is the kernel driver that the
    function is bound to, empty for none. `unreadable` is why the state could not be read."""

    present: bool = True
    has_node: bool = True
    status: str = ""
    driver: str = ""
    unreadable: str = ""


def read_host(host: Host, environment: Mapping[str, str], env_files: tuple[str, ...] = ENV_FILES) -> TpuHost:
    """Chips of the host and the slice they are part of. `environment` are variables as the platform sets them for the
    driver; they win over the platform's files. Raises ProbeError where chips of two generations stand side by side."""
    accel_nodes = _accel_nodes(host)
    found: list[tuple[PciFunction, Generation, str]] = []
    skipped: list[Skipped] = []
    for bus_id in host.names(PCI):
        try:
            generation = _generation(host, bus_id)
            if generation is not None:
                found.append((host.pci(bus_id), generation, _node(host, bus_id, accel_nodes)))
        except ProbeError as error:
            if _is_google(host, bus_id):
                skipped.append(Skipped(bus_id, str(error)))
    generations = {generation.name: generation for _, generation, _ in found}
    if len(generations) > 1:
        raise ProbeError(f"{PCI}: chips of generations {', '.join(sorted(generations))}: a host has those of one")
    chips = _chips(found)
    generation = next(iter(generations.values()), None)
    read, problems = read_slice(host, environment, env_files, generation, len(chips))
    return TpuHost(generation, chips, read, tuple(skipped), problems)


def read_state(host: Host, chip: Chip) -> ChipState:
    """The chip's state; never raises."""
    path = f"{PCI}/{chip.pci.bus_id}"
    if not host.exists(path):
        return ChipState(present=False, has_node=False)
    try:
        driver = host.link(f"{path}/driver").rsplit("/", 1)[1] if host.exists(f"{path}/driver") else ""
        nodes = (chip.node, *chip.more_nodes)
        return ChipState(
            has_node=all(host.device_node(node) is not None for node in nodes),
            status="" if chip.is_vfio else host.text(f"{ACCEL}/{chip.name}/status", "").upper(),
            driver=driver,
        )
    except ProbeError as error:
        return ChipState(unreadable=str(error))


def _is_google(host: Host, bus_id: str) -> bool:
    try:
        return host.text(f"{PCI}/{bus_id}/vendor", "") == f"0x{VENDOR}"
    except ProbeError:
        return False


def _generation(host: Host, bus_id: str) -> Generation | None:
    """The generation of a PCI function; None for what is no TPU."""
    if not _is_google(host, bus_id):
        return None
    device = host.text(f"{PCI}/{bus_id}/device").removeprefix("0x")
    if not device:
        raise ProbeError(f"{PCI}/{bus_id}/device: is empty")
    generation = GENERATION_BY_DEVICE.get(device)
    if generation is V3 and host.text(f"{PCI}/{bus_id}/subsystem_device", "").removeprefix("0x") == _V2_SUBSYSTEM:
        return V2
    return generation


def _accel_nodes(host: Host) -> dict[str, str]:
    """Bus id -> device file, for functions that the accel class has."""
    found: dict[str, str] = {}
    for name in host.names(ACCEL):
        if not _ACCEL.fullmatch(name) or host.device_node(f"/dev/{name}") is None:
            continue
        try:
            found[host.link(f"{ACCEL}/{name}/device").rsplit("/", 1)[1]] = f"/dev/{name}"
        except ProbeError:
            continue
    return found


def _node(host: Host, bus_id: str, accel_nodes: Mapping[str, str]) -> str:
    node = accel_nodes.get(bus_id)
    if node is not None:
        return node
    group = f"{PCI}/{bus_id}/iommu_group"
    if not host.exists(group):
        raise ProbeError(f"{bus_id}: neither {ACCEL} nor an IOMMU group has it: no driver is bound to the chip")
    node = f"/dev/vfio/{host.link(group).rsplit('/', 1)[1]}"
    if host.device_node(node) is None:
        raise ProbeError(f"{bus_id}: there is no device file {node}; bind the chip to vfio-pci")
    return node


def _chips(found: list[tuple[PciFunction, Generation, str]]) -> tuple[Chip, ...]:
    """Chips in the order of bus ids; the further functions of one PCI device belong to its first one's chip."""
    chips: dict[str, Chip] = {}
    for pci, _, node in sorted(found, key=lambda entry: entry[0].bus_id):
        slot = pci.bus_id.rsplit(".", 1)[0]
        if slot not in chips:
            chips[slot] = Chip(len(chips), node, pci)
        elif node != chips[slot].node:
            chips[slot] = replace(chips[slot], more_nodes=(*chips[slot].more_nodes, node))
    return tuple(chips.values())
