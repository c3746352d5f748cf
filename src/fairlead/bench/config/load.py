"""When it is asked: open loops at a rate, closed loops of users, a trace's own times, and searches for a capacity.

Each stage is measured and judged by itself.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from fairlead.bench.config.part import Count, NotNegative, Part, Positive, Share

Spread = Annotated[float, msgspec.Meta(gt=0, le=30)]
"""A coefficient of variation; beyond it a process is one burst."""


class OpenStage(Part, frozen=True):
    """A stretch of `seconds` at `rate_per_s` (sessions, where content has several turns), or rising evenly to
    `to_rate_per_s`; or as long as `requests` take."""

    rate_per_s: Positive
    to_rate_per_s: Positive | None = None
    seconds: Positive | None = None
    requests: Count | None = None
    name: str = ""


class OpenLoop(Part, frozen=True, tag_field="kind", tag="open"):
    """Requests come when they are due, whatever has become of those before. `cv`: of the gaps of `gamma`.

    `max_in_flight` is a guard for the server: of requests that are due beyond so many under way the rest wait in the
    client, in order. That wait is told (`hold`) and is in all times from due; while it lasts the load is not open."""

    stages: tuple[OpenStage, ...]
    process: Literal["constant", "poisson", "gamma"] = "poisson"
    cv: Spread = 1.0
    max_in_flight: Count | None = None


class ClosedStage(Part, frozen=True):
    """`users` who each send, wait for the answer, think, and send again; `ramp_s` until all of them have begun."""

    users: Count
    seconds: Positive | None = None
    requests: Count | None = None
    ramp_s: NotNegative = 0.0
    name: str = ""


class ClosedLoop(Part, frozen=True, tag_field="kind", tag="closed"):
    """Concurrent users. `think_s`: mean of their pauses, exponential or fixed. `backoff_s`: the longest that a user
    pauses after a failure (half of it the least), twice as long after each further one in a row, 5 s at most;
    `retry_after`: at least as long as a 429 or 503 asks for. Refusals are counted all the same."""

    stages: tuple[ClosedStage, ...]
    think_s: NotNegative = 0.0
    think: Literal["exponential", "fixed"] = "exponential"
    backoff_s: NotNegative = 0.1
    retry_after: bool = False


class TracedTimes(Part, frozen=True, tag_field="kind", tag="trace"):
    """When the trace says, `speed` times as fast; a stage for each `stage_s` (None: one)."""

    speed: Positive = 1.0
    stage_s: Positive | None = None


class Search(Part, frozen=True, tag_field="kind", tag="search"):
    """The highest rate (sessions per second), or number of users, that keeps the objective: upwards until it fails or
    the server is saturated, then bisection until the bracket is within `precision`. A step counts as kept, or as
    failed, when the confidence interval of its attainment is on one side; until then it goes on, up to `max_step_s`."""

    of: Literal["rate", "users"] = "rate"
    low: Positive = 1.0
    high: Positive | None = None
    precision: Share = 0.05
    confidence: Share = 0.95
    step_s: Positive = 30.0
    max_step_s: Positive = 120.0
    settle_s: NotNegative = 5.0
    process: Literal["constant", "poisson", "gamma"] = "poisson"
    cv: Spread = 1.0
    max_steps: Count = 20


Load: TypeAlias = OpenLoop | ClosedLoop | TracedTimes | Search
