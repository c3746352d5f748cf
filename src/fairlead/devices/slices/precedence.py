"""Which of two processes that publish one pool has the say: the one that started later (a rolling update's new one).

Each leaves its mark on the slices it writes. The older process stands back from slices of a newer one, but not for
ever: where what it wants has changed and the newer one wrote nothing for a while, the newer one is taken for gone.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fairlead.clock import format_micro_time, parse_time
from fairlead.devices.slices.plan import PUBLISHER
from fairlead.kube.objects import ResourceSlice

STAND_BACK_S: Final = 60.0
"""How long an older process waits for a newer one to publish a change that both must have seen."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A process that publishes: when it started (wall clock of its node, seconds) and a text that is its own."""

    started_s: float
    instance: str

    def __str__(self) -> str:
        return f"{format_micro_time(self.started_s)} {self.instance}"

    @staticmethod
    def parse(text: str) -> Mark | None:
        time, _, instance = text.partition(" ")
        try:
            return Mark(parse_time(time), instance)
        except ValueError:
            return None


def newer_publisher(slices: Iterable[ResourceSlice], own: Mark) -> Mark | None:
    """The newest process that wrote any of the slices, where it started later than this one."""
    marks = (Mark.parse(s.metadata.annotations.get(PUBLISHER, "")) for s in slices)
    others = [mark for mark in marks if mark is not None and mark > own and mark.instance != own.instance]
    return max(others, default=None)


def should_stand_back(newer: Mark | None, wanted_since_s: float, others_wrote_s: float, now_s: float) -> bool:
    """Whether to leave the pool to `newer`. `wanted_since_s` is when what this process wants last changed,
    `others_wrote_s` when another last wrote to the pool; all on one monotonic clock."""
    if newer is None:
        return False
    return others_wrote_s >= wanted_since_s or now_s - wanted_since_s < STAND_BACK_S
