"""Failures that are ordered through the API, and what they make of a device at a moment. Pure.

They are kept in the Node's annotation `simulated.fairlead.dev/failures`, a JSON object: device -> failure. A device is
named "DRIVER/NAME" or, for the drivers of the node alike, "NAME"; "*" are all. A whole card's failure is that of its
partitions. Modes:

    taint     the device is unhealthy
    throttle  unhealthy, but only to be kept from new claims
    vanish    it is not there any more
    flap      in turn unhealthy and healthy, `periodSeconds` each, unhealthy first
    slow      claims that get it are prepared after `delaySeconds`
    unknown   its health cannot be told
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec

from fairlead.clock import parse_time
from fairlead.devices.errors import DeviceError
from fairlead.devices.health import HEALTHY, Effect, Health, unhealthy, unknown
from fairlead.devices.inventory import Device

ANNOTATION = "simulated.fairlead.dev/failures"
ALL = "*"

Mode = Literal["taint", "throttle", "vanish", "flap", "slow", "unknown"]
MODES: tuple[Mode, ...] = get_args(Mode)

DEFAULT_PERIOD_S = 3.0
DEFAULT_DELAY_S = 5.0
MIN_PERIOD_S = 0.1
_REASONS: Mapping[Mode, str] = {
    "taint": "SimulatedFailure", "throttle": "SimulatedThrottling", "flap": "SimulatedFlapping",
    "unknown": "SimulatedSilence",
}  # fmt: skip


class FailuresError(DeviceError):
    """The annotation cannot be understood; the message names the device and the field."""


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """One ordered failure. Times are RFC 3339; without `until` it stays until it is healed. `effect` is what an
    unhealthy device demands; left out it follows from the mode."""

    mode: Mode
    since: str
    until: str | None = None
    reason: str | None = None
    message: str | None = None
    effect: Effect | None = None
    period_seconds: float | None = None
    delay_seconds: float | None = None

    @property
    def period_s(self) -> float:
        return max(MIN_PERIOD_S, DEFAULT_PERIOD_S if self.period_seconds is None else self.period_seconds)


Failures = Mapping[str, Failure]
"""Device ("DRIVER/NAME", "NAME" or "*") -> failure."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a failure makes of one device."""

    health: Health = HEALTHY
    is_there: bool = True
    prepare_delay_s: float = 0.0


SOUND = DeviceState()


@dataclass(frozen=True, slots=True)
class NodeState:
    """The states of a driver's devices that differ from sound, by name; `changes_at_s` is the next moment (wall time)
    at which they will be others, None where they stay."""

    devices: Mapping[str, DeviceState] = field(default_factory=dict)
    changes_at_s: float | None = None

    def of(self, device: str) -> DeviceState:
        return self.devices.get(device, SOUND)


def parse_failures(text: str) -> Failures:
    """What an annotation says; an empty text says nothing. Raises FailuresError."""
    if not text.strip():
        return {}
    try:
        failures = msgspec.json.decode(text, type=dict[str, Failure])
    except msgspec.DecodeError as error:
        raise FailuresError(f"annotation {ANNOTATION}: {str(error).replace('`', '')}") from error
    for device, failure in failures.items():
        _check(device, failure)
    return failures


def format_failures(failures: Failures) -> str:
    return msgspec.json.encode(dict(sorted(failures.items()))).decode()


def active(failures: Failures, now_s: float) -> Failures:
    """Without those that are over."""
    return {d: f for d, f in failures.items() if f.until is None or parse_time(f.until) > now_s}


def compute_state(failures: Failures, driver: str, devices: Iterable[Device], now_s: float) -> NodeState:
    """What the failures make of a driver's devices at a moment of wall time."""
    states: dict[str, DeviceState] = {}
    changes: list[float] = []
    for device in devices if failures else ():
        failure = _of(failures, driver, device)
        if failure is None:
            continue
        state, until_s = _state(failure, now_s)
        if state != SOUND:
            states[device.name] = state
        if until_s is not None:
            changes.append(until_s)
    return NodeState(states, min(changes, default=None))


def _of(failures: Failures, driver: str, device: Device) -> Failure | None:
    """The failure that is a device's: the nearest name wins."""
    for name in (device.name, device.parent, ALL):
        if name:
            found = failures.get(f"{driver}/{name}") or failures.get(name)
            if found is not None:
                return found
    return None


def _state(failure: Failure, now_s: float) -> tuple[DeviceState, float | None]:
    since_s = parse_time(failure.since)
    ends_s = parse_time(failure.until) if failure.until is not None else None
    if now_s < since_s:
        return SOUND, since_s
    if ends_s is not None and now_s >= ends_s:
        return SOUND, None
    match failure.mode:
        case "vanish":
            return DeviceState(is_there=False), ends_s
        case "slow":
            delay_s = DEFAULT_DELAY_S if failure.delay_seconds is None else failure.delay_seconds
            return DeviceState(prepare_delay_s=delay_s), ends_s
        case "unknown":
            return DeviceState(unknown(_REASONS["unknown"], failure.message or "health is not reported")), ends_s
        case "flap":
            half = math.floor((now_s - since_s) / failure.period_s)
            edge_s = since_s + (half + 1) * failure.period_s
            state = DeviceState(_unhealthy(failure)) if half % 2 == 0 else SOUND
            return state, edge_s if ends_s is None else min(edge_s, ends_s)
        case _:
            return DeviceState(_unhealthy(failure)), ends_s


def _unhealthy(failure: Failure) -> Health:
    effect: Effect = failure.effect or ("NoSchedule" if failure.mode == "throttle" else "NoExecute")
    message = failure.message or f"failure ordered by annotation {ANNOTATION} (mode {failure.mode})"
    return unhealthy(failure.reason or _REASONS[failure.mode], message, effect)


def _check(device: str, failure: Failure) -> None:
    where = f"annotation {ANNOTATION}: {device}"
    for name, text in (("since", failure.since), ("until", failure.until)):
        try:
            if text is not None:
                parse_time(text)
        except ValueError:
            raise FailuresError(f'{where}.{name}: expected a time such as 2026-01-31T12:00:00Z, got "{text}"') from None
    for name, number in (("periodSeconds", failure.period_seconds), ("delaySeconds", failure.delay_seconds)):
        if number is not None and not 0 <= number <= 86_400:
            raise FailuresError(f"{where}.{name}: expected 0 to 86400 seconds, got {number}")
