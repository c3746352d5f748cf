"""What counts as good, what is left out, and what the client must keep for its own figures to be believed."""

from __future__ import annotations

from fairlead.bench.config.part import NotNegative, Part, Positive, Share


class Objective(Part, frozen=True):
    """A request is good when it is whole and within each bound given; the objective holds when the share of good ones
    is at least `attainment`. Errors are never good. `ttft_ms` and `e2e_ms` are from when the request was due, so that a
    late client or a stalled server is not hidden (coordinated omission). `tpot_ms` bounds an answer's mean time per
    token after the first, `itl_ms` its single gaps: at most one in a hundred of them may be longer, so none of an
    answer of fewer."""

    ttft_ms: Positive | None = None
    itl_ms: Positive | None = None
    tpot_ms: Positive | None = None
    e2e_ms: Positive | None = None
    attainment: Share = 0.95


class Cut(Part, frozen=True):
    """What is left out of each stage's figures: requests due in its first or last seconds. They are sent and
    recorded."""

    warm_up_s: NotNegative = 0.0
    cool_down_s: NotNegative = 0.0


class ClientLimits(Part, frozen=True):
    """A stage whose client was worse than this is invalid, whatever its figures say.

    `lag_ms` bounds the 99th percentile of the time from due until the worker turned to the request, `lag_share` the
    same as a share of the median TTFT (the laxer of the two counts), `cpu_share` the busy share of the worst worker's
    core, `loop_lag_ms` the 99th percentile by which its event loop was late (and at most one hundredth of the stage may
    be spent in longer stalls), `rate_error` how far the achieved rate may be from the intended one, the concurrency
    of a closed loop from its users, and how much of their time these may wait for the client.

    Both limits in milliseconds are for servers whose latencies are long beside them: of shorter ones a quarter of the
    median is allowed, but a fifth of the limit in any case.
    """

    lag_ms: Positive = 10.0
    lag_share: Share = 0.02
    cpu_share: Share = 0.85
    loop_lag_ms: Positive = 10.0
    rate_error: Share = 0.02
