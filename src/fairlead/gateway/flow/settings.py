"""What can be set of a pool's flow control. Checked when it is made: a bad value is named before any request comes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_TTL_S = 60.0
NO_ENDPOINTS_TTL_S = 120.0
"""A large model takes one to two minutes from the first pod to the first token when its image and weights are local."""

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


class Fairness(StrEnum):
    """Whose turn it is within a band."""

    WEIGHTED_TOKENS = "weighted-tokens"
    """The tenant that got the fewest tokens for its weight."""
    ROUND_ROBIN = "round-robin"
    """One request each in turn."""
    GLOBAL_STRICT = "global-strict"
    """Tenants are not told apart: the order within a queue is that of the whole band."""


class Order(StrEnum):
    """Which request of a tenant goes first."""

    FCFS = "fcfs"
    """The one that came first."""
    EDF = "edf"
    """The one with the earliest deadline: its time-to-first-token objective, or without one the end of its patience."""
    EDF_ATTAINABLE = "edf-attainable"
    """As `edf` among those whose objective can still be kept; those that have missed it go after them, as they came.
    When there is too much to do, `edf` makes every request a little late; this keeps the objectives of some."""
    SLO_DEADLINE = "slo-deadline"
    """Those with an objective by their deadline, then all others as they came."""


class HoldbackDomain(StrEnum):
    RANK = "rank"
    """Bands are evenly spaced, whatever their numbers."""
    VALUE = "value"
    """Bands are spaced like their numbers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait. 0 requests: nothing waits, what cannot be sent is refused at once."""

    requests: int = 5_000
    size_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        for name in ("requests", "size_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"limit {name}={getattr(self, name)} of a queue: must be 0 or more")


@dataclass(frozen=True, slots=True)
class Holdback:
    """Bands below the highest stop being sent before the pool is saturated, evenly down to `min_ceiling`."""

    min_ceiling: float
    max_ceiling: float = 1.0
    domain: HoldbackDomain = HoldbackDomain.RANK

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_ceiling <= self.max_ceiling <= 1.0 or self.max_ceiling == 0.0:
            raise ValueError(
                f"holdback from {self.min_ceiling} to {self.max_ceiling}: want 0 <= min_ceiling <= max_ceiling <= 1 "
                "and max_ceiling above 0"
            )


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """Flow control of one pool."""

    fairness: Fairness = Fairness.WEIGHTED_TOKENS
    order: Order = Order.EDF
    ttl_s: float = DEFAULT_TTL_S
    """How long a request waits for an engine to have room; its client may ask for less."""
    no_endpoints_ttl_s: float = NO_ENDPOINTS_TTL_S
    """How long a request waits for the first endpoint; `ttl_s` begins when there is one."""
    band_limits: Limits = Limits()
    """Of each priority that `bands` does not name."""
    bands: Mapping[int, Limits] = field(default_factory=dict, hash=False)
    """priority -> its own limits."""
    whole_limits: Limits = Limits(20_000, 2_000_000_000)
    """Of all priorities together."""
    no_endpoints_limits: Limits = Limits(1_000, 256_000_000)
    """Of all priorities together while the pool has no endpoint."""
    holdback: Holdback | None = None
    sheddable_ceiling: float = 0.9
    """Saturation from which on priorities below 0 wait, while there are requests that must not be shed."""
    weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    """fairness id -> share relative to the others; 1 where it is not named."""
    sheddable_limits: Limits | None = None
    """Of each priority below 0 that `bands` does not name; None = `band_limits`."""
    band_fairness: Mapping[int, Fairness] = field(default_factory=dict, hash=False)
    """priority -> its own fairness; `fairness` where it is not named."""
    band_order: Mapping[int, Order] = field(default_factory=dict, hash=False)
    """priority -> its own order; `order` where it is not named."""

    def __post_init__(self) -> None:
        for name in ("ttl_s", "no_endpoints_ttl_s"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}={value}: must be a finite number of seconds above 0")
        if not 0.0 < self.sheddable_ceiling <= 1.0:
            raise ValueError(f"sheddable_ceiling={self.sheddable_ceiling}: must be above 0 and at most 1")
        for tenant, weight in self.weights.items():
            if not (weight > 0 and math.isfinite(weight)):
                raise ValueError(f"weight {weight} of tenant {tenant!r}: must be a finite number above 0")
        for priority in (*self.bands, *self.band_fairness, *self.band_order):
            if not INT32_MIN <= priority <= INT32_MAX:
                raise ValueError(f"priority {priority}: must fit 32 bits, from {INT32_MIN} to {INT32_MAX}")

    def limits_of(self, priority: int) -> Limits:
        default = self.band_limits
        if priority < 0 and self.sheddable_limits is not None:
            default = self.sheddable_limits
        return self.bands.get(priority, default)

    def fairness_of(self, priority: int) -> Fairness:
        return self.band_fairness.get(priority, self.fairness)

    def order_of(self, priority: int) -> Order:
        return self.band_order.get(priority, self.order)
