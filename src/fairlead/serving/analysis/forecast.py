"""How long a comparison has yet to go: what it will take to tell, at the rate and the spread that were seen. Pure.

A forecast and no promise: it is the mean for a version that is exactly as good (Wald's approximation of the expected
number of requests), and half of all comparisons take longer. What no number of requests averages out, engines that
differ or have unlike loads, is not in it; that is said apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fairlead.serving.analysis.evidence import Evidence
from fairlead.serving.analysis.sequential import expected_requests

_LATELY: Final = 8
"""Batches of which the share of the traffic is taken."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left until a version that is as good passes in a measure."""

    requests: int
    """Of the new version."""
    seconds: float | None
    """At the present rate; None where that is not known."""

    @property
    def sentence(self) -> str:
        time = f", {spoken(self.seconds)} at the present rate" if self.seconds is not None else ""
        return f"if it is as good, some {self.requests:,} more requests to it will tell{time}"


def forecast(
    evidence: Evidence, spread: float, design_effect: float, margin: float, missed: float, seen: int, now_s: float
) -> Forecast | None:
    """None before both versions had requests. `spread` and `margin` as in `expected_requests`; `missed` is the chance
    of the error that is to be excluded, `seen` the requests of the new version that were compared so far."""
    lately = evidence.batches[-_LATELY:]
    new, stable = sum(b.new.requests for b in lately), sum(b.stable.requests for b in lately)
    if not new or not stable:
        return None
    needed = expected_requests(
        spread, margin, wrong=missed, new_share=new / (new + stable), design_effect=design_effect
    )  # fmt: skip
    # One that should have been decided by now is near to a limit: a tenth more will show.
    left = math.ceil(max(needed - seen, needed / 10.0))
    since_s = now_s - evidence.asked_s if evidence.asked_s is not None else 0.0
    rate = evidence.step_requests / since_s if since_s > 0.0 else 0.0
    return Forecast(left, left / rate if rate > 0.0 else None)


def spoken(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"
