"""What `fairlead up --devices X` asks for: a fleet of simulated nodes, or this machine's own devices of a vendor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from fairlead.devices.errors import DeviceError
from fairlead.devices.host import Host
from fairlead.devices.vendor import Vendor
from fairlead.devices.vendors.registry import create
from fairlead.devices.vendors.simulated.fleet import Fleet, builtin_fleets, fleet_text, parse_fleet
from fairlead.devices.vendors.simulated.node_text import nodes_text
from fairlead.devices.vendors.simulated.strict import FleetError
from fairlead.devices.vendors.simulated.vendor import create_fleet
from fairlead.embedded.supervisor.component import Devices
from fairlead.embedded.supervisor.launch import READY_TIMEOUT_S, CannotStart

VENDORS = ("nvidia", "furiosa", "tpu")
"""Whose devices of this machine can be offered."""

NODE = "node-0"
"""Name of the one node that has the machine's own devices."""

_READY_PER_NODE_S = 0.3


def normalize(asked: str) -> str:
    """The same text wherever the command is given: the path of a file in full."""
    is_file = asked not in VENDORS and asked not in builtin_fleets() and Path(asked).is_file()
    return str(Path(asked).absolute()) if is_file else asked


def check(asked: str, *, nodes_given: bool) -> float:
    """Seconds that the start may take. Raises CannotStart where the devices cannot be had."""
    if nodes_given:
        raise CannotStart("--nodes and --devices exclude each other: a fleet has its own nodes; leave one out")
    if asked in VENDORS:
        _own(asked)
        return READY_TIMEOUT_S
    return READY_TIMEOUT_S + _READY_PER_NODE_S * len(_fleet(asked).nodes)


def prepare(data: Path, asked: str) -> tuple[str, Devices]:
    """The nodes' description for the agent, and the driver. Files that both read are kept in the data folder, so that
    an edit of the fleet's file does not reach one without the other. Raises CannotStart."""
    if asked in VENDORS:
        pools = _pools([(vendor.driver, NODE) for vendor in _own(asked)])
        options = ("--vendor", asked, "--node-name", NODE, "--apply-classes", *own_options(data, asked))
        return f"name={NODE}", Devices(asked, options, pools)
    fleet = _fleet(asked)
    folder = data / "devices"
    copy, nodes = folder / f"{fleet.name}.yaml", folder / "nodes.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copy.write_text(fleet_text(asked))
        nodes.write_text(nodes_text(fleet))
    except OSError as error:
        raise CannotStart(f"{folder} cannot be written: {error.strerror}") from error
    pools = _pools([(vendor.driver, vendor.node) for vendor in create_fleet(fleet)])
    options = ("--vendor", "simulated", "--fleet", str(copy), "--apply-classes")
    return f"@{nodes}", Devices(asked, (*options, "--health-period", f"{_health_period_s(fleet):g}"), pools)


def own_options(data: Path, vendor: str) -> tuple[str, ...]:
    """Options of the driver for this machine's own devices, whose containers are processes."""
    if vendor != "nvidia":
        return ()
    # No device cgroup keeps a process from the other GPUs: the variable has to. /run is root's alone.
    return ("--option", "nvidia.cuda_visible=true", "--option", f"nvidia.state_folder={data / 'nvidia'}")


def _health_period_s(fleet: Fleet) -> float:
    """Ordered failures are told as they come; looking every half second at a thousand nodes would only heat."""
    return max(0.5, len(fleet.nodes) / 100)


def _fleet(asked: str) -> Fleet:
    try:
        return parse_fleet(fleet_text(asked), Path(asked).stem, source=asked)
    except FleetError as error:
        raise CannotStart(f"--devices {error}") from error


def _own(vendor: str) -> Sequence[Vendor]:
    """The vendors of this machine that have devices. Raises CannotStart where none has."""
    try:
        found = [one for one in create(vendor, Host(), NODE) if one.probe().devices]
    except DeviceError as error:
        raise CannotStart(f"--devices {vendor}: {error}") from error
    if not found:
        raise CannotStart(f"--devices {vendor}: this machine has none; `fairlead device fleets` lists simulated ones")
    return found


def _pools(pairs: Sequence[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Driver -> nodes."""
    nodes: dict[str, set[str]] = defaultdict(set)
    for driver, node in pairs:
        nodes[driver].add(node)
    return {driver: frozenset(names) for driver, names in nodes.items()}
