"""What a fleet's description must keep beyond its types, checked with the path, the value and the remedy. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from fairlead.devices.vendors.simulated.document import Devices, Group, Tier
from fairlead.devices.vendors.simulated.layout import count_of
from fairlead.devices.vendors.simulated.models import MODELS, NvidiaModel, TpuModel
from fairlead.devices.vendors.simulated.strict import FleetError, near, show
from fairlead.devices.vendors.tpu.facts import HOST_BOUNDS, Shape

MAX_NODES = 1000
"""As many virtual nodes as an agent takes."""

MAX_DEVICES = 64
"""Of one entry; no server has more accelerators."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_TIER = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_TAINT = re.compile(r"[^=:\s]+(=[^:\s]*)?:(NoSchedule|PreferNoSchedule|NoExecute)")
_TEXT_DIVIDERS = re.compile(r"[;,|\s]")
_TORUS = re.compile(r"\d+(x\d+)+")


def check_tiers(network: tuple[Tier, ...]) -> None:
    below = 1
    for n, tier in enumerate(network):
        if len(tier.name) > 40 or not _TIER.fullmatch(tier.name):
            raise FleetError(f"network[{n}].name: expected a label value of up to 40 letters, got {show(tier.name)}")
        if tier.nodes < below or tier.nodes % below:
            raise FleetError(
                f"network[{n}].nodes: {tier.nodes} is no multiple of the {below} nodes below a switch of the tier "
                "before; tiers are listed from the nodes outwards"
            )
        below = tier.nodes


def check_group(group: Group, where: str) -> None:
    # A pod's and a claim's names are made from it, and the agent's node text divides by these characters.
    if len(group.name) > 50 or not _NAME.fullmatch(group.name):
        raise FleetError(f"{where}.name: expected up to 50 lowercase letters, digits and '-', got {show(group.name)}")
    for name, value, least, most in (
        ("count", group.count, 1, MAX_NODES),
        ("pods", group.pods, 1, 250),
        ("sockets", group.sockets, 1, 8),
        ("numaPerSocket", group.numa_per_socket, 1, 8),
        ("pcieSwitches", group.pcie_switches, 0, 32),
    ):
        if value is not None and not least <= value <= most:
            raise FleetError(f"{where}.{name}: expected {least} to {most}, got {value}")
    for n, taint in enumerate(group.taints):
        if not _TAINT.fullmatch(taint):
            raise FleetError(f"{where}.taints[{n}]: expected key[=value]:Effect, got {show(taint)}")
    for n, switch in enumerate(group.tiers):
        if len(switch) > 63 or not _TIER.fullmatch(switch):
            raise FleetError(f"{where}.tiers[{n}]: expected a label value of up to 63 letters, got {show(switch)}")
    for kind, pairs in (("labels", group.labels), ("annotations", group.annotations)):
        for key, text in pairs.items():
            if _TEXT_DIVIDERS.search(key + text):
                raise FleetError(
                    f"{where}.{kind}[{key}]: blanks and the characters ; , | cannot be used, got {show(text)}"
                )
    for n, devices in enumerate(group.devices):
        _check_devices(group, devices, f"{where}.devices[{n}]")


def _check_devices(group: Group, devices: Devices, where: str) -> None:
    model = MODELS.get(devices.model)
    if model is None:
        raise FleetError(f"{where}.model: no model {show(devices.model)}; {near(devices.model, list(MODELS))}")
    if devices.at and devices.count not in (None, len(devices.at)):
        raise FleetError(f"{where}.count: {devices.count}, but `at` has {len(devices.at)} addresses; leave count out")
    if not 1 <= count_of(devices) <= MAX_DEVICES or devices.count == 0:
        raise FleetError(f"{where}.count: expected 1 to {MAX_DEVICES}, got {devices.count}")
    for name in ("driver_version", "firmware", "partitions", "mig", "shares", "slice", "fabric"):
        if getattr(devices, name) is not None and name not in model.fields:
            camel = "driverVersion" if name == "driver_version" else name
            raise FleetError(f"{where}.{camel}: {model.maker} model {model.name} has no such field; leave it out")
    if isinstance(model, TpuModel):
        _check_slice(group, devices, model, where)
    if isinstance(model, NvidiaModel):
        _check_nvidia(group, devices, model, where)


def _check_nvidia(group: Group, devices: Devices, model: NvidiaModel, where: str) -> None:
    if devices.mig and not model.mig:
        raise FleetError(f"{where}.mig: {model.title} cannot be partitioned; leave it out")
    if isinstance(devices.shares, int) and not 1 <= devices.shares <= 1000:
        raise FleetError(f"{where}.shares: expected 1 to 1000, memory or unlimited, got {devices.shares}")
    if devices.fabric is None:
        return
    if not model.nvlinks:
        raise FleetError(f"{where}.fabric: {model.title} has no NVLink; leave it out")
    nodes = devices.fabric.nodes
    if nodes < 1 or (group.count or 1) % nodes:
        raise FleetError(f"{where}.fabric.nodes: {group.count or 1} nodes do not divide into domains of {nodes}")


def _check_slice(group: Group, devices: Devices, model: TpuModel, where: str) -> None:
    here, nodes = count_of(devices), group.count or 1
    if here not in HOST_BOUNDS:
        raise FleetError(f"{where}.count: a TPU host has {_either(HOST_BOUNDS)} chips, got {here}")
    shape, host = slice_shape(devices, model, where), HOST_BOUNDS[here]
    if any(chips % mine for chips, mine in zip(shape, host, strict=True)):
        box = "x".join(str(n) for n in host[: model.generation.axes])
        raise FleetError(
            f"{where}.slice.topology: {show(_topology(devices))} does not divide into hosts of {box} chips"
        )
    workers = math.prod(shape) // here
    if nodes % workers:
        raise FleetError(
            f"{where}.slice.topology: a slice of {math.prod(shape)} chips takes {workers} nodes of {here}, and the "
            f"group has {nodes}; make count a multiple of {workers}"
        )


def slice_shape(devices: Devices, model: TpuModel, where: str = "") -> Shape:
    """The box of the slice's chips; where the file names none, that of a host. Raises FleetError."""
    if devices.slice is None:
        return HOST_BOUNDS[count_of(devices)]
    axes, text = model.generation.axes, devices.slice.topology
    sizes = [int(part) for part in text.split("x")] if _TORUS.fullmatch(text) else []
    if len(sizes) != axes or 0 in sizes:
        example = "4x4" if axes == 2 else "2x2x4"
        raise FleetError(f"{where}.slice.topology: {model.title} has {axes} axes, as {example}; got {show(text)}")
    return (sizes[0], sizes[1], sizes[2] if axes == 3 else 1)


def _topology(devices: Devices) -> str:
    return devices.slice.topology if devices.slice is not None else ""


def _either(numbers: Iterable[int]) -> str:
    *most, last = (str(number) for number in numbers)
    return f"{', '.join(most)} or {last}"
