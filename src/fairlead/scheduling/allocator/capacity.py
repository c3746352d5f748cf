"""Consumable capacity: what a share of a device takes, and whether it still fits.

The rules are those of KEP-5075: a request policy rounds a request up to a valid value or step, an absent request takes
the policy's default or else the whole capacity, and shares may not add up to more than the device has.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fairlead.kube.objects.devices import CapacityRequestPolicy, CapacityRequestPolicyRange, DeviceCapacity
from fairlead.kube.quantity import ZERO, Format, Quantity, parse_quantity

Amounts = Mapping[str, Quantity]
"""Quantities by capacity name, the names as the device writes them."""

NOTHING: Final[Amounts] = {}


class Misfit(enum.Enum):
    """Why a capacity request does not fit a device."""

    UNKNOWN = "unknown capacity"
    POLICY = "request policy"
    EXCEEDED = "capacity exceeded"


@dataclass(frozen=True, slots=True)
class Capacity:
    """One named capacity of a device, its quantities read once."""

    name: str
    value: Quantity
    default: Quantity | None = None
    valid_values: tuple[Quantity, ...] = ()
    minimum: Quantity | None = None
    maximum: Quantity | None = None
    step: int = 0
    """Whole units; 0 where the policy has no step."""
    has_policy: bool = False
    has_range: bool = False

    def consume(self, requested: Quantity | None) -> Quantity:
        """What a share takes of it: the request rounded up to what the policy allows."""
        if requested is None:
            return self.value if self.default is None else self.default
        if not self.has_policy:
            return requested
        if self.has_range and self.minimum is not None:
            return self._stepped(requested, self.minimum)
        for valid in self.valid_values:
            if requested <= valid:
                return valid
        return requested

    def violates_policy(self, consumed: Quantity) -> bool:
        """Whether the policy forbids a share of this size. The default itself is always allowed."""
        if not self.has_policy or (self.default is not None and consumed == self.default):
            return False
        if self.has_range:
            if self.maximum is not None and consumed > self.maximum:
                return True
            start = self.minimum.value if self.minimum is not None else 0
            return bool(self.step) and (consumed.value - start) % self.step != 0
        return bool(self.valid_values) and consumed not in self.valid_values

    def _stepped(self, requested: Quantity, minimum: Quantity) -> Quantity:
        if requested < minimum:
            return minimum
        if not self.step:
            return requested
        start = minimum.value
        steps = -((requested.value - start) // -self.step)
        return Quantity(start + self.step * steps, Format.BINARY_SI)


def read_capacities(capacities: Mapping[str, DeviceCapacity]) -> tuple[Capacity, ...]:
    """The capacities of a device in the order of their names. Raises ValueError for a text that is no quantity."""
    if any(capacity.request_policy is not None for capacity in capacities.values()):
        return tuple(_read(name, capacities[name]) for name in sorted(capacities))
    return _read_plain(tuple(sorted([(name, capacity.value) for name, capacity in capacities.items()])))


@lru_cache(maxsize=4096)
def _read_plain(values: tuple[tuple[str, str], ...]) -> tuple[Capacity, ...]:
    """Thousands of devices have the same capacities: they share one object."""
    return tuple(_read(name, DeviceCapacity(value=value)) for name, value in values)


def misfit(
    capacities: Sequence[Capacity], requested: Amounts, in_use: Amounts, allocating: Amounts = NOTHING
) -> Misfit | None:
    """Why one more share of size `requested` does not fit beside those in use and those just being allocated."""
    if requested and any(name not in {capacity.name for capacity in capacities} for name in requested):
        return Misfit.UNKNOWN
    for capacity in capacities:
        share = capacity.consume(requested.get(capacity.name))
        if capacity.violates_policy(share):
            return Misfit.POLICY
        try:
            total = share + in_use.get(capacity.name, ZERO) + allocating.get(capacity.name, ZERO)
        except ArithmeticError:
            # A short text can denote a number that no sum can hold.
            return Misfit.EXCEEDED
        if total > capacity.value:
            return Misfit.EXCEEDED
    return None


def consumed_by(capacities: Sequence[Capacity], requested: Amounts) -> dict[str, Quantity]:
    """What a share takes of every capacity of the device."""
    return {capacity.name: capacity.consume(requested.get(capacity.name)) for capacity in capacities}


def _read(name: str, capacity: DeviceCapacity) -> Capacity:
    policy = capacity.request_policy or CapacityRequestPolicy()
    valid = policy.valid_range or CapacityRequestPolicyRange()
    step = _optional(valid.step)
    return Capacity(
        name,
        _optional(capacity.value) or ZERO,
        default=_optional(policy.default),
        valid_values=tuple(map(parse_quantity, policy.valid_values)),
        minimum=_optional(valid.min),
        maximum=_optional(valid.max),
        step=max(0, step.value) if step is not None else 0,
        has_policy=capacity.request_policy is not None,
        has_range=policy.valid_range is not None,
    )


def _optional(text: str) -> Quantity | None:
    return parse_quantity(text) if text else None
