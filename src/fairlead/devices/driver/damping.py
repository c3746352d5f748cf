"""Bad news at once, good news when it lasts: what a device's changing health becomes for everyone else.

Vendors report raw states, which may flicker: a link that comes and goes, a counter read at a bad moment. Taints, Events
and the kubelet's health stream follow the damped state instead, by these rules:

- a fault counts at once, and so does one that demands more than the fault before it;
- a fault ends once the device was healthy, without a break, for the recovery time; a milder or other fault replaces the
  present one after the same time, so that reasons that alternate do not alternate a taint;
- each new fault within the flap window doubles the recovery time, up to a limit;
- not knowing is neither: it hides a good state at once, and never ends a bad one.

The k-th recovery within a window W takes `recovery_s * 2**(k-1)` at least, and all of them fit into W: so a device that
turns good and bad, in whatever rhythm, recovers at most `log2(W / recovery_s + 1)` times in it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from fairlead.devices.health import HEALTHY, Health

VANISHED: Final = "Vanished"
"""Reason of a device that was there and is not: worse than any fault of one that is."""
_SEVERITY: Final = {"None": 1, "NoSchedule": 2, "NoExecute": 3}
_TURNS_KEPT: Final = 16
"""Beyond these the recovery time is at its limit for any sensible settings."""


@dataclass(frozen=True, slots=True)
class DampingSettings:
    """`recovery_s` is how long a device must be healthy before it counts as healthy again; it doubles with each flap
    within `flap_window_s`, up to `max_recovery_s`. `flapping_from` flaps make a device a flapping one. Zero
    `recovery_s` turns damping off."""

    recovery_s: float = 10.0
    max_recovery_s: float = 300.0
    flap_window_s: float = 600.0
    flapping_from: int = 3

    def __post_init__(self) -> None:
        for name in ("recovery_s", "max_recovery_s", "flap_window_s"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"damping: {name} is {value}, must be a number of seconds, zero or more")
        if self.max_recovery_s < self.recovery_s:
            raise ValueError(
                f"damping: max_recovery_s is {self.max_recovery_s:g}, must not be below recovery_s "
                f"({self.recovery_s:g})"
            )
        if self.flapping_from < 1:
            raise ValueError(f"damping: flapping_from is {self.flapping_from}, must be at least 1")

    def recovery_after(self, flaps: int) -> float:
        """Seconds that a device with so many flaps in the window must be well. One fault is no flap yet."""
        return min(self.max_recovery_s, self.recovery_s * 2.0 ** min(max(flaps - 1, 0), 64))


@dataclass(frozen=True, slots=True)
class DeviceCondition:
    """The damped state of one device. Times are seconds of the monotonic clock that `damp` was given.

    `health` is what everyone is told and holds since `since_s`. `raw` is the vendor's last word. `turns` are the times
    at which the vendor reported a new fault, within the flap window. `calm_since_s` is since when the vendor, without a
    break, has reported something better than `health`; None while it does not.
    """

    health: Health
    raw: Health
    since_s: float
    turns: tuple[float, ...] = ()
    calm_since_s: float | None = None

    @property
    def flaps(self) -> int:
        """How many new faults the flap window saw."""
        return len(self.turns)

    def is_flapping(self, settings: DampingSettings) -> bool:
        return self.flaps >= settings.flapping_from

    def __str__(self) -> str:
        """As a person reads it: "unhealthy (XidError, NoExecute) since 12.5 s; vendor says healthy; 2 flaps"."""
        said = _described(self.health)
        told = "" if self.raw == self.health else f"; vendor says {_described(self.raw)}"
        flaps = f"; {self.flaps} flap{'s' if self.flaps != 1 else ''}" if self.flaps > 1 else ""
        return f"{said} since {self.since_s:.1f} s{told}{flaps}"


def damp(previous: DeviceCondition | None, raw: Health, now_s: float, settings: DampingSettings) -> DeviceCondition:
    """The condition after the vendor said `raw`. A device without history takes what is said."""
    if previous is None:
        return DeviceCondition(raw, raw, now_s, (now_s,) if raw.state == "unhealthy" else ())
    turns = _turns(previous, raw, now_s, settings)
    if previous.health.state != "unhealthy" or _is_worse(raw, previous.health):
        since_s = previous.since_s if _is_same(raw, previous.health) else now_s
        return DeviceCondition(raw, raw, since_s, turns)
    if _is_same(raw, previous.health):
        return DeviceCondition(raw, raw, previous.since_s, turns)
    return _toward_better(replace(previous, turns=turns), raw, now_s, settings)


def _toward_better(condition: DeviceCondition, raw: Health, now_s: float, settings: DampingSettings) -> DeviceCondition:
    """A bad state that the vendor no longer reports: kept until something better lasts."""
    if raw.state == "unknown":
        return replace(condition, raw=raw, calm_since_s=None)
    has_lasted = condition.calm_since_s is not None and _is_same(raw, condition.raw)
    calm_since_s = condition.calm_since_s if has_lasted and condition.calm_since_s is not None else now_s
    if now_s - calm_since_s >= settings.recovery_after(condition.flaps):
        return DeviceCondition(raw, raw, now_s, condition.turns)
    return replace(condition, raw=raw, calm_since_s=calm_since_s)


def _turns(previous: DeviceCondition, raw: Health, now_s: float, settings: DampingSettings) -> tuple[float, ...]:
    kept = tuple(turn for turn in previous.turns if now_s - turn < settings.flap_window_s)
    if raw.state == "unhealthy" and not _is_same(raw, previous.raw):
        kept = (*kept, now_s)
    return kept[-_TURNS_KEPT:]


def _is_same(a: Health, b: Health) -> bool:
    """Whether two states are the same news; the sentence for people may differ."""
    return (a.state, a.reason) == (b.state, b.reason) and (a.state != "unhealthy" or a.effect == b.effect)


def _is_worse(raw: Health, than: Health) -> bool:
    return raw.state == "unhealthy" and _severity(raw) > _severity(than)


def _severity(fault: Health) -> int:
    return 4 if fault.reason == VANISHED else _SEVERITY[fault.effect]


def _described(health: Health) -> str:
    if health.state == "unhealthy":
        return f"unhealthy ({health.reason or 'no reason'}, {health.effect})"
    return f"{health.state} ({health.reason})" if health.reason and health != HEALTHY else health.state
