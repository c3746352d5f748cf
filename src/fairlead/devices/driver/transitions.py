"""What happened to a node's devices between two views, as people should be told of it. Pure."""

from __future__ import annotations

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
    """One thing to tell. `device` is "" for what concerns them all; `message` is a sentence that names the device."""

    device: str
    reason: Reason
    message: str

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
    for name, condition in after.conditions.items():
        known = before.conditions.get(name) if before else None
        found += _of_device(name, known, condition, driver, settings)
    return tuple(found)


def _of_device(
    name: str, before: DeviceCondition | None, after: DeviceCondition, driver: str, settings: DampingSettings
) -> Iterator[Transition]:
    was, now = before.health if before else None, after.health
    device = f"device {name} of {driver}"
    if _is_news(was, now):
        if now.state == "unhealthy" and now.reason == VANISHED:
            yield Transition(name, "DeviceVanished", f"{device} vanished: {now.message or 'it is no longer there'}")
        elif now.state == "unhealthy":
            told = f"{now.reason}: {now.message}" if now.message else now.reason or "no reason given"
            yield Transition(name, "DeviceUnhealthy", f"{device} is unhealthy ({_DEMANDS[now.effect]}): {told}")
        elif was is not None and was.state == "unhealthy" and now.state == "healthy":
            lasted = f"was {was.reason}" if was.reason else "was unhealthy"
            yield Transition(name, "DeviceRecovered", f"{device} is healthy again ({lasted})")
    if after.is_flapping(settings) and not (before and before.is_flapping(settings)):
        quiet_s = settings.recovery_after(after.flaps)
        yield Transition(
            name,
            "DeviceFlapping",
            f"{device} had {after.flaps} faults within {settings.flap_window_s:.0f} s; it counts as healthy again "
            f"after {quiet_s:.0f} s without one",
        )


def _is_news(was: Health | None, now: Health) -> bool:
    return was is None or (was.state, was.reason, was.effect) != (now.state, now.reason, now.effect)
