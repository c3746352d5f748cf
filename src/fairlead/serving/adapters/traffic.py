"""What requests want of each adapter, from the pickers' reports and questions: how many are under way, since when none
is, and whether some wait for it. Numbers are smoothed, so that one burst of reports moves nothing. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from fairlead.api.traffic_report import TrafficReport
from fairlead.clock import parse_time

SMOOTHING_S: Final = 20.0
"""Time in which a change of the requests in flight has come through by two thirds."""
FADED: Final = 0.05
"""Requests in flight below which there are none."""
ASKED_FOR_S: Final = 6.0
"""A picker says every two seconds that requests wait; one that has said nothing for so long has none any more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One adapter's requests. Wall-clock seconds."""

    in_flight: float = 0.0
    at_s: float = 0.0
    requests: int = 0
    """Sum over reports, only to notice change."""
    used_s: float = 0.0
    """When its last request was noticed, or the first look at it."""
    asked_s: float | None = None
    """Since when requests wait for it; None: none do."""


def observe(
    before: Mapping[str, Seen], names: Iterable[str], reports: Iterable[TrafficReport], asked: Mapping[str, float],
    now_s: float,
) -> dict[str, Seen]:  # fmt: skip
    """What is known of these names now. `asked`: adapter -> when a picker last said that requests wait for it."""
    under_way: dict[str, int] = {}
    requests: dict[str, int] = {}
    for report in reports:
        for group in report.groups:
            under_way[group.model] = under_way.get(group.model, 0) + group.in_flight
            requests[group.model] = requests.get(group.model, 0) + group.requests
    found = {}
    for name in names:
        old = before.get(name)
        new = Seen(at_s=now_s, used_s=now_s, requests=requests.get(name, 0)) if old is None else old
        told = float(under_way.get(name, 0))
        keep = math.exp(-max(0.0, now_s - new.at_s) / SMOOTHING_S) if old is not None else 0.0
        smooth = told + (new.in_flight - told) * keep
        is_asked = now_s - asked.get(name, -math.inf) < ASKED_FOR_S
        is_used = told > 0 or is_asked or requests.get(name, 0) != new.requests
        found[name] = replace(
            new,
            in_flight=smooth if smooth >= FADED or told else 0.0,
            at_s=now_s,
            requests=requests.get(name, 0),
            used_s=now_s if is_used else new.used_s,
            asked_s=(new.asked_s if new.asked_s is not None else now_s) if is_asked else None,
        )
    return found


def read_asked(text: str) -> dict[str, float]:
    """The pool's annotation of adapters that requests wait for: adapter -> wall-clock time. Nonsense is nothing."""
    try:
        said = msgspec.json.decode(text or "{}", type=dict[str, str])
        return {name: parse_time(at) for name, at in said.items()}
    except (msgspec.MsgspecError, ValueError):
        return {}
