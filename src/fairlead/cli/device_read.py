"""Slices, claims and Events of nodes' devices, read from the API, and names looked up in them with hints."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.cli.device_view import Holder, Shown, holders, shown_devices
from fairlead.cli.failure import Failed
from fairlead.devices.vendors.simulated.failures import ALL, ANNOTATION, Failures, FailuresError, parse_failures
from fairlead.devices.vendors.simulated.vendor import SIMULATED
from fairlead.kube.client import Client
from fairlead.kube.kinds import EVENTS, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.objects import Event, Node


@dataclass(frozen=True, slots=True)
class Found:
    """What there is. `held`: (driver, pool, device) -> claims. `node` is set where one was asked for."""

    devices: Sequence[Shown]
    held: Mapping[tuple[str, str, str], Sequence[Holder]]
    node: Node | None = None
    events: Sequence[Event] = field(default_factory=tuple)
    _by_parts: Counter[tuple[str, str, str]] = field(init=False, default_factory=Counter)
    """Whole device -> how many claims hold parts of it."""

    def __post_init__(self) -> None:
        for one in self.devices:
            if one.part_of:
                self._by_parts[one.driver, one.pool, one.part_of] += len(self.held.get(one.key, ()))

    def held_text(self, one: Shown) -> str:
        """The claims that hold it or parts of it, in short; "-" for none."""
        own = [str(holder) for holder in self.held.get(one.key, ())]
        parts = self._by_parts[one.key]
        if parts:
            own.append(f"{parts} claim{'s' if parts > 1 else ''} of its parts")
        return ", ".join(own) or "-"

    def device(self, node: str, name: str, driver: str) -> Shown:
        """The one device of that name. Raises Failed with what it may have been."""
        driver, name = _split(driver, name)
        here = [one for one in self.devices if not driver or one.driver == driver]
        named = [one for one in here if one.name == name]
        if not named:
            raise Failed(f'node {node} has no device "{name}"; {_near(name, [one.name for one in here])}')
        if len(named) > 1:
            drivers = ", ".join(one.driver for one in named)
            raise Failed(f'node {node} has "{name}" of several drivers ({drivers}); choose one with --driver')
        return named[0]

    def failing_name(self, node: str, name: str, driver: str) -> str:
        """How a device is named in an ordered failure. Raises Failed for one that is not there or not simulated."""
        if name == ALL:
            if not any(one.attribute(SIMULATED) == "True" for one in self.devices):
                raise Failed(f"node {node} has no simulated devices; failures can be ordered of those only")
            return f"{driver}/{ALL}" if driver else ALL
        if self._is_ordered(driver, name):
            # It may have vanished from the slices by that very order.
            return "/".join(part for part in _split(driver, name) if part)
        one = self.device(node, name, driver)
        if one.attribute(SIMULATED) != "True":
            raise Failed(
                f"{one.driver}/{one.name} on {node} is real; failures can be ordered of simulated devices only"
            )
        return f"{one.driver}/{one.name}"

    def ordered(self, one: Shown) -> str:
        """The failure that is ordered of a device, as the annotation has it; empty for none."""
        failures = self._failures()
        for name in (one.name, one.part_of, ALL):
            found = failures.get(f"{one.driver}/{name}") or failures.get(name) if name else None
            if found is not None:
                return f"{found.mode} since {found.since}" + (f" until {found.until}" if found.until else "")
        return ""

    def _is_ordered(self, driver: str, name: str) -> bool:
        return "/".join(part for part in _split(driver, name) if part) in self._failures()

    def _failures(self) -> Failures:
        text = self.node.metadata.annotations.get(ANNOTATION, "") if self.node is not None else ""
        try:
            return parse_failures(text)
        except FailuresError:
            return {}


def _split(driver: str, name: str) -> tuple[str, str]:
    """A device may be given as DRIVER/NAME, as `list` of failures and annotations write it."""
    before, slash, after = name.partition("/")
    return (before, after) if slash else (driver, name)


async def read_devices(kubeconfig: Path | None, node: str | None, driver: str, *, with_events: bool = False) -> Found:
    """Devices of one node or of all, of one driver or of all. Raises Failed for a name that is not there, ApiError."""
    async with Client.load(kubeconfig) as client:
        found_node = await find_node(client, node) if node is not None else None
        selectors = [f"spec.nodeName={node}"] if node is not None else []
        slices = (await client.list(RESOURCE_SLICES, field_selector=",".join(selectors) or None)).items
        claims = (await client.list(RESOURCE_CLAIMS)).items
        events: Sequence[Event] = ()
        if with_events and node is not None:
            about = f"involvedObject.kind=Node,involvedObject.name={node}"
            events = (await client.list(EVENTS, field_selector=about)).items
    devices = shown_devices(slices)
    if driver:
        known = sorted({one.driver for one in devices})
        if driver not in known and known:
            raise Failed(f'no driver "{driver}" publishes devices here; {_near(driver, known)}')
        devices = [one for one in devices if one.driver == driver]
    return Found(devices, holders(claims), found_node, events)


async def find_node(client: Client, name: str) -> Node:
    """Raises Failed with the names that are near."""
    nodes = {node.metadata.name: node for node in (await client.list(NODES)).items}
    if name not in nodes:
        raise Failed(f'there is no node "{name}"; {_near(name, sorted(nodes))}')
    return nodes[name]


def _near(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if not known:
        return "there are none"
    shown = list(dict.fromkeys(known))
    return f"there are {', '.join(shown[:12])}{' …' if len(shown) > 12 else ''}"
