"""What a driver knows of one node, as one value: what is published, and what the kubelet is told.

`compute_view` makes the next view from the last one and from what the vendor said now. Pure: the watch calls it, the
publisher, the reactions and the health stream read its result.

A device leaves the view with the probe that no longer finds it, unless a prepared claim holds it: then it stays,
tainted `<driver>/vanished`, until no claim does. One that comes back is treated like one that recovers: it is published
again when it has been there for the recovery time. A device that was never seen before is published at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fairlead.devices.driver.damping import VANISHED, DampingSettings, DeviceCondition, damp
from fairlead.devices.errors import ProbeError
from fairlead.devices.health import Health, unhealthy, unknown
from fairlead.devices.inventory import Device, Inventory, Link
from fairlead.kube.objects import DeviceTaint

NOT_REPORTED: Final = "NotReported"
"""Reason of a device whose health the vendor left out."""
PROBE_FAILED: Final = "ProbeFailed"

_NOT_IN_A_LABEL: Final = re.compile(r"[^-A-Za-z0-9_.]+")


@dataclass(frozen=True, slots=True)
class NodeView:
    """`inventory` is what was probed, less devices that only just came back, plus vanished ones that claims hold.

    `conditions` has every device of the inventory, and those that went within the flap window, so that their return is
    damped. `taints` has an entry for each device that has any. `problem` is why the last probe failed, "" when it did
    not: the last good inventory stays, its devices unknown. `is_probed` is False until a probe succeeded: an empty
    inventory then means nothing, and must not replace what an earlier process published.
    """

    inventory: Inventory = field(default_factory=Inventory)
    conditions: Mapping[str, DeviceCondition] = field(default_factory=dict)
    taints: Mapping[str, tuple[DeviceTaint, ...]] = field(default_factory=dict)
    problem: str = ""
    is_probed: bool = False

    def health(self, device: str) -> Health:
        """The damped state of a device; unknown for one that is not in the view."""
        condition = self.conditions.get(device)
        return condition.health if condition else unknown(NOT_REPORTED, f'no device "{device}" is known here')

    def is_news_to(self, other: NodeView | None) -> bool:
        """Whether anyone has to be told of this view after `other`. The passing of time alone is no news."""
        if other is None:
            return True
        return (
            (self.inventory, self.taints, self.problem, self.is_probed)
            != (other.inventory, other.taints, other.problem, other.is_probed)
            or {name: (c.health, c.flaps) for name, c in self.conditions.items()}
            != {name: (c.health, c.flaps) for name, c in other.conditions.items()}
        )  # fmt: skip

    def __str__(self) -> str:
        """One line a device, for logs and for `fairlead device`."""
        lines = [f"{len(self.inventory.devices)} devices" + (f"; probe failed: {self.problem}" if self.problem else "")]
        for device in self.inventory.devices:
            taints = " ".join(f"{t.key}={t.value}:{t.effect}" for t in self.taints.get(device.name, ()))
            lines.append(f"  {device.name}: {self.conditions[device.name]}" + (f"  [{taints}]" if taints else ""))
        published = {device.name for device in self.inventory.devices}
        for name in sorted(self.conditions.keys() - published):
            lines.append(f"  {name}: not published: {self.conditions[name]}")
        return "\n".join(lines)


def view_before_probes(held: Iterable[Device], now_s: float) -> NodeView:
    """What a process knows before its first look: devices that claims of a process before it hold. One that the probe
    does not find then is one that vanished."""
    devices = tuple({device.name: device for device in held}.values())
    said = unknown(NOT_REPORTED, "not looked at yet")
    return NodeView(Inventory(devices), {device.name: DeviceCondition(said, said, now_s) for device in devices})


def compute_view(
    previous: NodeView | None,
    probed: Inventory | ProbeError,
    health: Mapping[str, Health],
    held: frozenset[str],
    now_s: float,
    settings: DampingSettings,
    *,
    driver: str,
) -> NodeView:
    """The view after a look at the hardware.

    `health` is by device name; a partition that it leaves out has the health of its whole device. `held` names devices
    of prepared claims. `now_s` is monotonic. `driver` names the taints.
    """
    before = previous or NodeView()
    if isinstance(probed, ProbeError):
        return _view_of_failed_probe(before, probed, held, now_s, settings, driver)
    found = {device.name: device for device in probed.devices}
    conditions = {
        name: damp(before.conditions.get(name), _raw(device, health), now_s, settings) for name, device in found.items()
    }
    gone = _gone_conditions(before, found, now_s, settings)
    stranded = [d for d in before.inventory.devices if d.name not in found and d.name in held]
    settled = [d for d in probed.devices if d.name in held or not _is_vanished(conditions[d.name].health)]
    inventory = _joined(probed, settled, stranded, before.inventory)
    return NodeView(
        inventory=inventory,
        conditions=conditions | gone,
        taints=_taints(driver, inventory.devices, conditions | gone),
        is_probed=True,
    )


def _view_of_failed_probe(
    before: NodeView, error: ProbeError, held: frozenset[str], now_s: float, settings: DampingSettings, driver: str
) -> NodeView:
    said = unknown(PROBE_FAILED, str(error))
    conditions = {
        name: damp(condition, condition.raw if _is_vanished(condition.raw) else said, now_s, settings)
        for name, condition in before.conditions.items()
    }
    devices = [d for d in before.inventory.devices if d.name in held or not _is_vanished(conditions[d.name].raw)]
    inventory = _joined(before.inventory, devices, (), before.inventory)
    return NodeView(
        inventory=inventory,
        conditions=conditions,
        taints=_taints(driver, inventory.devices, conditions),
        problem=str(error),
        is_probed=before.is_probed,
    )


def _raw(device: Device, health: Mapping[str, Health]) -> Health:
    said = health.get(device.name) or (health.get(device.parent) if device.parent else None)
    return said or unknown(NOT_REPORTED, f'the vendor said nothing about device "{device.name}"')


def _is_vanished(health: Health) -> bool:
    return health.state == "unhealthy" and health.reason == VANISHED


def _gone_conditions(
    before: NodeView, found: Mapping[str, Device], now_s: float, settings: DampingSettings
) -> dict[str, DeviceCondition]:
    """Conditions of devices that are not there: for those published until now, and for as long as they matter."""
    published = {device.name for device in before.inventory.devices}
    gone: dict[str, DeviceCondition] = {}
    for name, condition in before.conditions.items():
        if name in found:
            continue
        said = unhealthy(VANISHED, f'device "{name}" is no longer found by the probe')
        after = damp(condition, said, now_s, settings)
        if name in published or after.turns:
            gone[name] = after
    return gone


def _joined(probed: Inventory, settled: Iterable[Device], stranded: Iterable[Device], last: Inventory) -> Inventory:
    """The inventory of some devices, with the counters and links that they need."""
    devices = (*settled, *stranded)
    if devices == probed.devices:
        return probed
    names = {device.name for device in devices}
    counters = {set_name: dict(counters) for set_name, counters in probed.counters.items()}
    for device in stranded:
        for set_name, consumed in device.consumes.items():
            own = counters.setdefault(set_name, {})
            for counter in consumed:
                own.setdefault(counter, last.counters.get(set_name, {}).get(counter, consumed[counter]))
    links = [link for link in (*probed.links, *last.links) if {link.a, link.b} <= names]
    return Inventory(devices, counters, tuple(_distinct(links)))


def _distinct(links: Iterable[Link]) -> Iterable[Link]:
    seen: set[frozenset[str]] = set()
    for link in links:
        pair = frozenset((link.a, link.b))
        if pair not in seen:
            seen.add(pair)
            yield link


def _taints(
    driver: str, devices: Iterable[Device], conditions: Mapping[str, DeviceCondition]
) -> dict[str, tuple[DeviceTaint, ...]]:
    taints: dict[str, tuple[DeviceTaint, ...]] = {}
    for device in devices:
        health = conditions[device.name].health
        if _is_vanished(health):
            taints[device.name] = (DeviceTaint(key=f"{driver}/vanished", effect="NoExecute"),)
        elif health.state == "unhealthy":
            taint = DeviceTaint(key=f"{driver}/unhealthy", value=label_value(health.reason), effect=health.effect)
            taints[device.name] = (taint,)
    return taints


def label_value(text: str) -> str:
    """`text` as a label's value may be: letters, digits and `-_.`, 63 at most, begun and ended by a letter or digit."""
    return _NOT_IN_A_LABEL.sub("-", text)[:63].strip("-_.")
