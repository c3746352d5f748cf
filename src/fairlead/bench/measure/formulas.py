"""What is measured of a request, one formula a function, over columns. Seconds; NaN where a request has no such value.

Latencies are of whole answers alone: a failure has none. Each figure's name in a report is the function's.
"""

from __future__ import annotations

import numpy as np

from fairlead.bench.record import Outcome
from fairlead.bench.records.columns import Bools, Columns, Floats, Ints

FORMULAS = {
    "ttft": "first event with text − sent; streamed answers (MLPerf Inference: TTFT)",
    "ttft_from_due": "first event with text − due, so that a late client or a stalled server is not left out "
    "(coordinated omission: G. Tene, How NOT to Measure Latency, 2013)",
    "tpot": "(e2e − TTFT) / (n − 1), n output tokens, n ≥ 2; exclusive of the first token (vLLM, MLPerf)",
    "ntpot": "e2e / n (normalised time per output token; inference-perf)",
    "itl": "time between successive arrivals of text, pooled over all answers; events read at once are one arrival, "
    "and a gap counts once however many tokens end it",
    "e2e": "end of the answer − sent",
    "e2e_from_due": "end of the answer − due",
    "e2e_at_least": "as e2e, and of requests that did not end the time that they had had: a lower bound for all",
    "schedule_delay": "sent − due: hold + client_lag + connection_wait",
    "hold": "from due until the load let the request go (max_in_flight or max_connections reached, or a trace's turn "
    "whose session has no answer yet); of those that were held",
    "client_lag": "when the worker turned to the request − when it might be sent: the load generator's own fault",
    "client_error": "client_lag + by how much its first token or its end was stamped late: what is wrong with a "
    "request's times through the client's fault",
    "connection_wait": "sent − when the worker turned to it: until a connection was open",
    "send": "last byte handed to the kernel − sent",
    "cached_tokens": "of the prompt, by the server's usage",
    "in_flight": "requests sent and not ended, mean of each slice of time",
}
"""Figure -> formula and source, for reports to print beside the numbers."""


def is_whole(columns: Columns) -> Bools:
    return np.equal(columns.outcome, Outcome.WHOLE)


def ttft(columns: Columns) -> Floats:
    return columns.first_token_s - columns.sent_s


def ttft_from_due(columns: Columns) -> Floats:
    return columns.first_token_s - columns.due_s


def e2e(columns: Columns) -> Floats:
    return columns.end_s - columns.sent_s


def e2e_from_due(columns: Columns) -> Floats:
    return columns.end_s - columns.due_s


def tpot(columns: Columns) -> Floats:
    """NaN of fewer than two tokens: nothing comes after the first."""
    tokens = output_tokens(columns)
    after_first = np.where(tokens > 1, tokens - 1, 1)
    return np.where(tokens > 1, (e2e(columns) - ttft(columns)) / after_first, np.nan)


def ntpot(columns: Columns) -> Floats:
    tokens = output_tokens(columns)
    return np.where(tokens > 0, e2e(columns) / np.maximum(tokens, 1), np.nan)


def schedule_delay(columns: Columns) -> Floats:
    return columns.sent_s - columns.due_s


def hold(columns: Columns) -> Floats:
    """NaN of those that were not held."""
    return np.where(columns.held_s > 0, columns.held_s, np.nan)


def client_error(columns: Columns) -> Floats:
    return columns.worker_lag_s + np.nan_to_num(columns.late_s)


def connection_wait(columns: Columns) -> Floats:
    waited_s = columns.sent_s - columns.due_s - np.nan_to_num(columns.held_s) - columns.worker_lag_s
    return np.maximum(waited_s, 0.0)


def send(columns: Columns) -> Floats:
    return columns.written_s - columns.sent_s


def counted_tokens(columns: Columns) -> Ints:
    """Tokens of each answer as its events carried them; -1 where an event did not say how many it had."""
    totals = _sums(columns.chunk_tokens.astype(np.int64), columns.chunk_offsets)
    unknown = _sums((columns.chunk_tokens == 0).astype(np.int64), columns.chunk_offsets)
    return np.where(unknown > 0, -1, totals)


def output_tokens(columns: Columns) -> Ints:
    """The server's count where it gives one, else what its events carried, else how many there were."""
    counted = counted_tokens(columns)
    by_events = np.where(counted >= 0, counted, columns.output_chunks)
    return np.where(columns.server_output_tokens >= 0, columns.server_output_tokens, by_events)


class Gaps:
    """Between arrivals. `seconds` of all answers one after the other, `owner` the row each belongs to, `merged` how
    many events were read together with the one before them."""

    __slots__ = ("merged", "owner", "seconds")

    def __init__(self, seconds: Floats, owner: Ints, merged: int) -> None:
        self.seconds, self.owner, self.merged = seconds, owner, merged


def itl(columns: Columns) -> Gaps:
    """Events with one time stamp came with one read of the socket: a gap of nought between them would be made up."""
    times = columns.chunk_times.astype(np.float64)
    if len(times) < 2:
        return Gaps(np.zeros(0), np.zeros(0, dtype=np.int64), 0)
    owner = np.repeat(np.arange(len(columns)), np.diff(columns.chunk_offsets))
    same_answer = owner[1:] == owner[:-1]
    seconds = np.diff(times)
    apart = seconds != 0.0
    kept = same_answer & apart
    return Gaps(seconds[kept], owner[1:][kept], int((same_answer & ~apart).sum()))


def _sums(values: Ints, offsets: Ints) -> Ints:
    sums = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(sums[offsets[1:]] - sums[offsets[:-1]], dtype=np.int64)
