"""Answers are read the same in whatever pieces they come, and no bytes at all make a request hang."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.worker.answers import Answer, answers, pieces
from fairlead.bench.record import Outcome
from fairlead.bench.session import Job, PreparedTurn
from fairlead.bench.wire import Peer
from fairlead.bench.worker.beat import Beat
from fairlead.bench.worker.connection import Connection
from fairlead.bench.worker.flight import Flight
from fairlead.bench.worker.pool import Pool


class Written(asyncio.Transport):
    """The connection's other side, as far as its bytes go."""

    def __init__(self) -> None:
        super().__init__()
        self.data, self.closed = b"", False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


def peer(reader: str = "completions", port: int = 1, **changed: object) -> Peer:
    values = {
        "host": "127.0.0.1", "port": port, "tls": False, "server_name": "", "ca_file": "", "client_certificate": "",
        "client_key": "", "insecure": False, "reader": reader, "reader_options": {}, "stream": True, "timeout_s": 30.0,
        "connect_timeout_s": 10.0, "idle_timeout_s": 30.0, "max_connections": 1000,
    }  # fmt: skip
    return Peer(**(values | changed))  # type: ignore[arg-type]


LOOP = asyncio.new_event_loop()  # of the pool, which opens nothing here


ON_TIME = Beat(None, None)  # type: ignore[arg-type]  # never begun: nothing is late


def read(parts: list[bytes], reader: str = "completions") -> tuple[Flight, bool]:
    """What has become of a request whose answer comes in these parts, after which the server closes; and whether the
    connection would have been kept."""
    pool = Pool(peer(reader), LOOP)
    connection, transport = Connection(pool), Written()
    connection.connection_made(transport)
    job = Job(0, 0, 0.0, 0, -1, b"POST / HTTP/1.1\r\nContent-Length: ", [PreparedTurn([b"{}"], 1, 1, 0.0)])
    flight = Flight(job, 0, time.monotonic(), b"{}", True, lambda _: None, ON_TIME)
    connection.send(flight)
    assert transport.data.endswith(b"Content-Length: 2\r\n\r\n{}")
    for part in parts:
        if transport.closed:
            break
        connection.data_received(part)
    kept = flight.ended and not transport.closed
    connection.connection_lost(None)
    assert flight.ended
    return flight, kept


@given(answers(), st.lists(st.integers(0, 2000), max_size=20))
def test_a_valid_answer_is_whole_in_whatever_pieces_it_comes(answer: Answer, cuts: list[int]) -> None:
    flight, kept = read(pieces(answer.data, cuts))
    assert (flight.outcome, flight.detail) == (Outcome.WHOLE, "")
    assert flight.reading.kept() == "".join(answer.texts)
    assert len(flight.chunk_times) == len(answer.texts)
    closes = answer.closes or b"Connection: close" in answer.data or b"HTTP/1.0" in answer.data
    assert kept is not closes


@given(answers())
def test_a_valid_answer_is_whole_byte_by_byte(answer: Answer) -> None:
    flight, _ = read([bytes([byte]) for byte in answer.data])
    assert (flight.outcome, flight.reading.kept()) == (Outcome.WHOLE, "".join(answer.texts))


@given(answers(), st.data())
def test_a_spoiled_answer_ends_in_the_same_way_in_whatever_pieces_it_comes(answer: Answer, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(answer.data)))
    spoiled = answer.data[:at] + data.draw(st.binary(max_size=4)) + answer.data[at + data.draw(st.integers(0, 4)) :]
    spoiled = spoiled[: data.draw(st.integers(0, len(spoiled)))] if data.draw(st.booleans()) else spoiled
    cuts = data.draw(st.lists(st.integers(0, 2000), max_size=20))
    once, several = read([spoiled])[0], read(pieces(spoiled, cuts))[0]
    assert (once.outcome, once.status) == (several.outcome, several.status)
    assert once.reading.kept() == several.reading.kept()


@given(st.binary(max_size=300))
@example(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n")
def test_what_is_no_answer_is_never_whole(data: bytes) -> None:
    assert read([data])[0].outcome in (Outcome.MALFORMED, Outcome.CUT)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
DONE = b'data: {"choices":[{"text":"a"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("data", "outcome", "says"),
    [
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", Outcome.MALFORMED, "Content-Length"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", Outcome.MALFORMED, "said twice"),
        (HEAD + b"Content-Length: -1\r\n\r\n", Outcome.MALFORMED, "Content-Length"),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", Outcome.MALFORMED, "Transfer-Encoding"),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab", Outcome.MALFORMED, "compressed (gzip)"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n", Outcome.MALFORMED, "hexadecimal"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello, you\r\n", Outcome.MALFORMED, "longer than its size"),
        (HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", Outcome.MALFORMED, "no end of the answer's headers"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Outcome.MALFORMED, "101"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, Outcome.CUT, "closed"),
        (b"HTTP/2 200 OK\r\n\r\n", Outcome.MALFORMED, "HTTP/2"),
        (HEAD + b"\r\ndata: " + b"[" * 100_000 + b"\n\n", Outcome.MALFORMED, ""),
        (HEAD + b"\r\ndata: {not json\n\n", Outcome.MALFORMED, "not"),
        (b"HTTP/1.1 200 OK\r\n\r\n{not json", Outcome.MALFORMED, "not"),  # told by the end of the connection alone
        (HEAD + b'\r\ndata: {"choices":[{"text":"a"}]}\n\n', Outcome.CUT, "end marker"),
        (HEAD + b'\r\ndata: {"choices":[{"te', Outcome.CUT, "inside an event"),
        (HEAD + b"\r\n" + DONE[:-1], Outcome.WHOLE, ""),  # no empty line after the last event
        (HEAD + b"\r\ndata: [DONE]\n\n", Outcome.EMPTY, "no text"),
        (HEAD + b'\r\ndata: {"error":{"message":"out of memory"}}\n\n', Outcome.ERROR_EVENT, "out of memory"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Outcome.HTTP_4XX, "304"),
        (b"HTTP/1.1 401 X\r\nContent-Length: 2\r\n\r\nno", Outcome.UNAUTHORIZED, "401: no"),
        (b"HTTP/1.1 500 X\r\nContent-Type: text/event-stream\r\n\r\noops", Outcome.HTTP_5XX, "500: oops"),
    ],
)  # fmt: skip
def test_every_mistake_of_a_server_has_its_outcome(data: bytes, outcome: Outcome, says: str) -> None:
    flight, kept = read([data])
    assert flight.outcome is outcome and says in flight.detail
    assert kept is (flight.status in (304, 401))


def test_what_comes_after_the_end_marker_is_no_token() -> None:
    body = DONE + DONE
    flight, _ = read([HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body])
    assert (flight.outcome, len(flight.chunk_times), flight.reading.kept()) == (Outcome.WHOLE, 1, "a")


def test_retry_after_is_kept_with_the_refusal() -> None:
    flight, kept = read([b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"])
    assert (flight.outcome, flight.retry_after_s, kept) == (Outcome.RATE_LIMITED, 7.0, True)


def test_of_a_long_failure_only_the_beginning_is_kept() -> None:
    flight, _ = read([b"HTTP/1.1 500 X\r\n\r\n", *[b"x" * 65_536] * 200])
    assert flight.outcome is Outcome.HTTP_5XX and len(flight.detail) < 400
