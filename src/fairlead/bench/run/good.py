"""Whether a request kept the objective."""

from __future__ import annotations

from fairlead.bench.config import Objective
from fairlead.bench.record import Outcome, Record


def is_good(record: Record, objective: Objective) -> bool:
    """Whole, and within each bound that is given; times from when it was due."""
    if record.outcome != Outcome.WHOLE:
        return False
    tokens = record.server_output_tokens if record.server_output_tokens > 0 else record.output_chunks
    decode_s = record.last_token_s - record.first_token_s
    each_s = decode_s / (tokens - 1) if tokens > 1 else 0.0
    return (
        _within(record.first_token_s - record.due_s, objective.ttft_ms)
        and _within(each_s, objective.itl_ms)
        and _within(each_s, objective.tpot_ms)
        and _within(record.end_s - record.due_s, objective.e2e_ms)
    )


def is_known(record: Record, objective: Objective) -> bool:
    """Whether a request that we ended ourselves would have been bad anyway: a bound was past already."""
    first_s = record.first_token_s if record.first_token_s == record.first_token_s else record.end_s
    return not (
        _within(first_s - record.due_s, objective.ttft_ms) and _within(record.end_s - record.due_s, objective.e2e_ms)
    )


def _within(seconds: float, bound_ms: float | None) -> bool:
    return bound_ms is None or seconds * 1e3 <= bound_ms
