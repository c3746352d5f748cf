"""What an attempt to allocate ends with, in words and in data."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling.allocator.devices import DeviceId
from fairlead.scheduling.allocator.errors import Fault


class Reason(enum.IntEnum):
    """Why a device was passed over, in the order in which a search asks."""

    IN_USE = 0
    TAKEN = 1
    BINDING_CONDITIONS = 2
    SELECTOR = 3
    NODE = 4
    CAPACITY = 5
    PARTITIONED = 6
    COUNTERS = 7
    TAINT = 8
    CONSTRAINT = 9

    @property
    def text(self) -> str:
        return _TEXTS[self]


_TEXTS: Mapping[Reason, str] = {
    Reason.IN_USE: "in use",
    Reason.TAKEN: "taken by other requests of the same pod",
    Reason.BINDING_CONDITIONS: "with binding conditions, which are disabled",
    Reason.SELECTOR: "not chosen by the selectors",
    Reason.NODE: "not for this node",
    Reason.CAPACITY: "without enough capacity",
    Reason.PARTITIONED: "partitioned, which is disabled",
    Reason.COUNTERS: "with too little left of a shared counter",
    Reason.TAINT: "tainted",
    Reason.CONSTRAINT: "breaking a constraint",
}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Where the search got stuck with one request, on its farthest way."""

    claim: str
    request: str
    wanted: int
    """Devices it needs; 0 for a request for all devices that found none."""
    found: int
    """Devices it had when it found no more."""
    passed_over: Mapping[Reason, int]
    """How many devices were passed over, by the first thing that spoke against them."""
    detail: str = ""
    """The constraint or taint that spoke against the last device so passed over."""
    exceeds_limit: bool = False
    """Whether the claim's allocation would hold more devices than it can."""

    @property
    def reason(self) -> Reason | None:
        """The first check after which no device was left; None where no device was there at all."""
        return max(self.passed_over) if self.passed_over else None

    def __str__(self) -> str:
        head = f"claim {self.claim}, request {self.request}: "
        if self.exceeds_limit:
            return f"{head}{self.wanted} devices would be more than a claim can hold"
        counts = ", ".join(f"{count} {reason.text}" for reason, count in sorted(self.passed_over.items()))
        tail = f" ({self.detail})" if self.detail else ""
        if not self.wanted:
            return f"{head}asks for all devices and there are none{f': {counts}{tail}' if counts else ''}"
        return f"{head}found {self.found} of {self.wanted} devices; {counts or 'no others on this node'}{tail}"


@dataclass(frozen=True, slots=True)
class Pick:
    """One device given to one request."""

    claim: int
    request: str
    device: DeviceId


@dataclass(frozen=True, slots=True)
class Allocated:
    """All claims fit."""

    allocations: tuple[AllocationResult, ...]
    """One per claim, in their order."""
    picks: tuple[Pick, ...]
    steps: int


@dataclass(frozen=True, slots=True)
class DoesNotFit:
    """Every way was tried, or is known not to lead on."""

    obstacles: tuple[Obstacle, ...]
    steps: int

    def __str__(self) -> str:
        return "; ".join(map(str, self.obstacles)) or "no devices fit"


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt ended without a verdict."""

    fault: Fault
    message: str
    on_this_node: bool
    """Whether other nodes may still do."""
    steps: int

    def __str__(self) -> str:
        return self.message


Decision = Allocated | DoesNotFit | Failed
