"""What happened to a node's devices between two views, as people should be told of it. Pure.

A card that fails takes its partitions with it. The node hears that once, of the card; who holds a partition hears of
the partition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from fairlead.devices.driver.damping import VANISHED, DampingSettings, DeviceCondition
from fairlead.devices.driver.state import NodeView
from fairlead.devices.health import Health

Reason = Literal["DeviceUnhealthy", "DeviceRecovered", "DeviceVanished", "DeviceFlapping", "DeviceProbeFailed"]
_DEMANDS: Final = {
    "NoExecute": "pods that hold it are to end",
    "NoSchedule": "new pods are kept away from it",
    "None": "it stays in use",
}


@dataclass(frozen=True, slots=True)
class Transition:
    """One thing to tell. `device` is "" for what concerns them all; `message` is a sentence that names the device.
    `told_with` names the whole device whose news a partition shares, "" where it has news of its own."""

    device: str
    reason: Reason
    message: str
    told_with: str = ""

    @property
    def is_good(self) -> bool:
        return self.reason == "DeviceRecovered"


def compute_transitions(
    before: NodeView | None, after: NodeView, *, driver: str, settings: DampingSettings
) -> tuple[Transition, ...]:
    """What `after` has that `before` had not. Without `before`, the faults there are."""
    found: list[Transition] = []
    if after.problem and after.problem != (before.problem if before else ""):
        message = f"the devices of {driver} cannot be probed and are unknown: {after.problem}"
        found.append(Transition("", "DeviceProbeFailed", message))
    whole_of = _sharing(before, after)
    parts = Counter(whole_of.values())
    for name, condition in after.conditions.items():
        known = before.conditions.get(name) if before else None
        with_parts = f", and its {parts[name]} partition{'s' * (parts[name] > 1)}," if name in parts else ""
        device = f"device {name} of {driver}{with_parts}"
        for reason, message in _of_device(device, known, condition, settings):
            found.append(Transition(name, reason, message, whole_of.get(name, "")))
    return tuple(found)


def _sharing(before: NodeView | None, after: NodeView) -> dict[str, str]:
    """Partition -> whole device, where the same happened to both."""
    views = (before, after) if before else (after,)
    # One that vanished is in the view before only.
    parents = {device.name: device.parent for view in views for device in view.inventory.devices if device.parent}
    return {
        name: whole
        for name, whole in parents.items()
        if name in after.conditions
        and whole in after.conditions
        and all(_state(view, name) == _state(view, whole) for view in views)
    }


def _state(view: NodeView, name: str) -> tuple[str, str, str, int] | None:
    condition = view.conditions.get(name)
    if condition is None:
        return None
    return condition.health.state, condition.health.reason, condition.health.effect, condition.flaps


def _of_device(
    device: str, before: DeviceCondition | None, after: DeviceCondition, settings: DampingSettings
) -> Iterator[tuple[Reason, str]]:
    was, now = before.health if before else None, after.health
    if _is_news(was, now):
        if now.state == "unhealthy" and now.reason == VANISHED:
            yield "DeviceVanished", f"{device} vanished: {now.message or 'it is no longer there'}"
        elif now.state == "unhealthy":
            told = f"{now.reason}: {now.message}" if now.message else now.reason or "no reason given"
            yield "DeviceUnhealthy", f"{device} is unhealthy ({_DEMANDS[now.effect]}): {told}"
        elif was is not None and was.state == "unhealthy" and now.state == "healthy":
            lasted = f"was {was.reason}" if was.reason else "was unhealthy"
            yield "DeviceRecovered", f"{device} is healthy again ({lasted})"
    if after.is_flapping(settings) and not (before and before.is_flapping(settings)):
        quiet_s = settings.recovery_after(after.flaps)
        yield (
            "DeviceFlapping",
            f"{device} had {after.flaps} faults within {settings.flap_window_s:.0f} s; it counts as healthy again "
            f"after {quiet_s:.0f} s without one",
        )


def _is_news(was: Health | None, now: Health) -> bool:
    return was is None or (was.state, was.reason, was.effect) != (now.state, now.reason, now.effect)
