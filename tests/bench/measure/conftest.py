"""Records made to measure."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fairlead.bench.record import Outcome, Record

NAN = float("nan")


def make_record(
    due_s: float = 0.0,
    *,
    ttft_s: float = 0.1,
    gaps_s: tuple[float, ...] = (0.01, 0.01, 0.01),
    lag_s: float = 0.0,
    wait_s: float = 0.0,
    tokens: tuple[int, ...] = (),
    outcome: Outcome = Outcome.WHOLE,
    **other: Any,
) -> Record:
    """A whole answer of a token an event, unless told otherwise; it ends with its last token."""
    sent_s = due_s + lag_s + wait_s
    times = [ttft_s]
    for gap_s in gaps_s:
        times.append(times[-1] + gap_s)
    counted = sum(tokens) if tokens else len(times)
    record = Record(
        0, 0, 0, 0, -1, 0, int(outcome), 200, due_s, sent_s, sent_s, sent_s + ttft_s, sent_s + ttft_s,
        sent_s + times[-1], sent_s + times[-1], 8, counted, len(times), 8, counted, -1, False, NAN, lag_s, "length",
        "", array("f", times).tobytes(), array("H", tokens).tobytes(),
    )  # fmt: skip
    return msgspec.structs.replace(record, **other)


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    return make_record
