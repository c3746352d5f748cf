"""Messages come out as they went in, and what is too long is said before it is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.worker.servers import job
from fairlead.bench import wire
from fairlead.bench.record import Record
from fairlead.bench.wire import LENGTH_BYTES, Jobs, Records, down_decoder, frame, up_decoder


@given(st.lists(st.binary(), min_size=1, max_size=5), st.floats(-1.0, 1e9))
def test_jobs_come_out_as_they_went_in(bodies: list[bytes], due_s: float) -> None:
    sent = Jobs([job(7, due_s, *bodies), job(8, due_s, list(bodies))])
    data = frame(sent)
    assert int.from_bytes(data[:LENGTH_BYTES], "big") == len(data) - LENGTH_BYTES
    assert down_decoder.decode(data[LENGTH_BYTES:]) == sent


def test_records_keep_what_is_not_known() -> None:
    nan = float("nan")
    record = Record(
        1, 0, 0, 0, -1, 0, 1, 0, 0.5, nan, nan, nan, nan, nan, 0.7, 5, 0, 0, -1, -1, -1, True, nan, 0.0, "", "x", b"",
        b"",
    )  # fmt: skip
    (back,) = up_decoder.decode(frame(Records([record]))[LENGTH_BYTES:]).records  # type: ignore[union-attr]
    assert back.sent_s != back.sent_s and (back.due_s, back.server_output_tokens, back.detail) == (0.5, -1, "x")


def test_a_message_that_nobody_could_read_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LARGEST_BYTES", 1000)
    with pytest.raises(ValueError, match="send fewer at a time"):
        frame(Jobs([job(0, 0.0, b"x" * 1000)]))
