"""Servers that misbehave: a run ends within its bounds, and says of every request what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bench.hostile import END, GOOD, HEAD, chunk, event, hostile, status, usage
from bench.run.runs import benchmark, steady
from fairlead.bench.run import run
from fairlead.bench.summary import RunSummary

Answer = tuple[bytes, bool] | None

TARGET = {"timeout_s": 3.0, "idle_timeout_s": 1.5, "connect_timeout_s": 2.0}
ALWAYS: dict[str, tuple[Answer, str]] = {
    "hangs": (None, "IDLE_TIMEOUT"),
    "hangs in the middle": ((HEAD + event(), False), "IDLE_TIMEOUT"),
    "cuts the stream": ((HEAD + event() + event(), True), "CUT"),
    "cuts inside an event": ((HEAD + chunk(b'data: {"choices": [{"delta"') + b"0\r\n\r\n", False), "CUT"),
    "ends without a marker": ((HEAD + event() + b"0\r\n\r\n", False), "CUT"),
    "sends events that are not JSON": ((HEAD + chunk(b"data: {oh no\n\n") + END, False), "MALFORMED"),
    "sends chunks of no size": ((HEAD + b"zz\r\nwhat\r\n", False), "MALFORMED"),
    "does not speak HTTP": ((b"SSH-2.0-OpenSSH_9.6\r\n\r\n\r\n", True), "MALFORMED"),
    "fails inside the stream": (
        (HEAD + event() + chunk(b'data: {"error": {"message": "out of memory"}}\n\n') + END, False), "ERROR_EVENT",
    ),
    "says nothing in a whole answer": ((HEAD + usage(0) + END, False), "EMPTY"),
    "is full": ((status("429 Too Many Requests", "{}", "Retry-After: 7"), False), "RATE_LIMITED"),
    "is away": ((status("503 Service Unavailable", "{}", "Retry-After: 3"), True), "UNAVAILABLE"),
    "is broken": ((status("500 Internal Server Error", '{"error": "no"}'), False), "HTTP_5XX"),
    "knows no such path": ((status("404 Not Found", '{"detail": "Not Found"}'), False), "HTTP_4XX"),
    "wants a key": ((status("401 Unauthorized", '{"error": "no key"}'), False), "UNAUTHORIZED"),
}  # fmt: skip


async def ran(answer: Callable[[int], Answer], rate_per_s: float = 15.0, seconds: float = 1.0) -> RunSummary:
    with hostile(answer) as server:
        config = benchmark(server.url, steady(rate_per_s, seconds), target=TARGET)
        return await asyncio.wait_for(run(config), 60)


@pytest.mark.parametrize("how", ALWAYS)
async def test_a_server_that_always_does_it(how: str) -> None:
    answer, outcome = ALWAYS[how]
    summary = await ran(lambda _: answer)
    assert (summary.ended, summary.valid) == ("failed", False)
    (stage,) = summary.stages
    assert stage.metrics.requests == 15
    assert stage.metrics.whole == 0
    assert stage.metrics.failures == {outcome: 15}
    assert "not one request was whole" in summary.why_ended


@pytest.mark.parametrize("how", ALWAYS)
async def test_a_server_that_does_it_now_and_then(how: str) -> None:
    answer, outcome = ALWAYS[how]
    summary = await ran(lambda number: answer if number % 3 == 1 else (GOOD, False))
    metrics = summary.stages[0].metrics
    assert summary.ended == "complete"
    assert set(metrics.failures) == {outcome}
    assert metrics.whole + metrics.failures[outcome] == metrics.requests == 15
    assert metrics.whole >= 8


async def test_connections_that_are_closed_after_each_answer_cost_no_request() -> None:
    summary = await ran(lambda _: (GOOD, True))
    assert summary.stages[0].metrics.whole == 15, summary.stages[0].metrics.failures


async def test_tokens_that_come_twice_are_counted_as_a_mismatch() -> None:
    twice = HEAD + (event() * 2) + (event() * 2) + event(finish="length") + usage(3) + END
    summary = await ran(lambda _: (twice, False))
    metrics = summary.stages[0].metrics
    assert metrics.whole == 15
    assert metrics.output_tokens is None or metrics.output_tokens.maximum == 3


async def test_nobody_listens() -> None:
    config = benchmark("http://127.0.0.1:1", steady(15, 1), target=TARGET)
    summary = await asyncio.wait_for(run(config), 60)
    assert summary.ended == "failed"
    assert summary.stages[0].metrics.failures == {"REFUSED_CONNECTION": 15}
    assert "Connection refused" in summary.why_ended


async def test_a_server_without_tls_is_told_as_that() -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        config = benchmark(server.url.replace("http", "https"), steady(15, 1), target=TARGET)
        summary = await asyncio.wait_for(run(config), 60)
    assert summary.ended == "failed"
    assert set(summary.stages[0].metrics.failures) <= {"TLS", "CONNECT_TIMEOUT"}
