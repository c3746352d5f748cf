"""One kept HTTP/1.1 connection: sends a request in one piece, reads the answer as it comes, and stamps each piece.

The usual piece of a stream is one chunk with one event in it; that way through is short. Everything else goes the long
way, byte by byte where it must.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fairlead.bench.record import Outcome
from fairlead.bench.worker.answer_head import LARGEST_HEAD, AnswerHead, NotHttp, parse_head
from fairlead.bench.worker.events import Events
from fairlead.bench.worker.flight import Flight, outcome_of_status

if TYPE_CHECKING:
    from fairlead.bench.worker.pool import Pool

_now = time.monotonic  # noqa: TID251 (the hot path reads the clock itself)
LARGEST_SIZE_LINE = 1024
KEPT_OF_FAILURE = 4096
"""Bytes of a body that only says what went wrong."""


class Connection(asyncio.Protocol):
    """Belongs to a pool, which gives it flights and takes it back."""

    __slots__ = (
        "_body", "_chunk_left", "_events", "_flight", "_head", "_in_trailer", "_left", "_pool", "_read_event", "_rest",
        "_transport", "kept",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._flight: Flight | None = None
        self.kept = False  # it was idle, or has had a request: the server may be about to close it
        self._reset()

    def _reset(self) -> None:
        self._head: AnswerHead | None = None
        self._rest = b""
        self._chunk_left = -1  # of the chunk that is being read; -1: its size is next
        self._in_trailer = False
        self._left = -1  # of a body with a length
        self._events: Events | None = None
        self._body: list[bytes] = []

    # The pool's side

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def _is_done_writing(self) -> bool:
        """An answer that came before the whole request was sent leaves a connection that cannot be used again."""
        return self.usable and self._transport is not None and self._transport.get_write_buffer_size() == 0

    def send(self, flight: Flight) -> None:
        """Write the whole request; the flight is this connection's until it has ended."""
        assert self._transport is not None
        self._flight = flight
        flight.new_connection = not self.kept
        flight.sent_s = now_s = _now()
        if flight.capped:
            flight.held_s += now_s - flight.acted_s
            flight.capped = False  # sent once more, it has waited for the server
        self._transport.write(b"%b%d\r\n\r\n%b" % (flight.head, len(flight.body), flight.body))
        if self._transport.get_write_buffer_size() == 0:
            flight.written_s = now_s

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        # Told (resume_writing) when the last byte of a long request has gone to the kernel.
        self._transport.set_write_buffer_limits(high=0, low=0)  # type: ignore[union-attr]

    def pause_writing(self) -> None:
        return

    def resume_writing(self) -> None:
        if self._flight is not None:
            self._flight.written_s = _now()

    def data_received(self, data: bytes) -> None:
        now_s = _now()
        flight = self._flight
        if flight is None:
            self.close()  # said without being asked: what it belongs to cannot be known
            return
        flight.seen_s = now_s
        head = self._head
        try:
            if head is None:
                if flight.first_byte_s != flight.first_byte_s:
                    flight.first_byte_s = now_s
                self._read_head(flight, data, now_s)
            elif head.chunked:
                self._read_chunks(flight, data, now_s)
            else:
                self._read_length(flight, data, now_s)
        except (ValueError, RecursionError) as error:  # NotHttp, Unreadable, TooLong; JSON nested without end
            self._fail(flight, Outcome.MALFORMED, str(error), now_s)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        flight, now_s = self._flight, _now()
        self._pool.gone(self)
        if flight is None or flight.ended:
            return
        self._flight = None
        head = self._head
        if head is not None and not head.chunked and head.length is None and exc is None:
            try:
                self._finish(flight, now_s)  # a body that ends with its connection
            except (ValueError, RecursionError) as error:
                self._fail(flight, Outcome.MALFORMED, str(error), now_s)
        elif head is None and flight.first_byte_s != flight.first_byte_s and self._pool.again(flight, self.kept):
            return
        else:
            why = f": {exc}" if exc is not None else ""
            flight.end(now_s, Outcome.CUT, f"the connection was closed before the answer had ended{why}")

    # Reading

    def _read_head(self, flight: Flight, data: bytes, now_s: float) -> None:
        data = self._rest + data if self._rest else data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > LARGEST_HEAD:
                self._rest = data
                if len(data) > LARGEST_HEAD + 3 or b"\n\n" in data or (data[:7] != b"HTTP/1."[: len(data)]):
                    raise NotHttp(f"no end of the answer's headers; it begins with {data[:40]!r}")
                return
            head = parse_head(data[:end])
            data, self._rest = data[end + 4 :], b""
            if head.status >= 200:
                break
            if not data:  # 100 Continue and the like: the answer follows
                return
        body = data
        self._head = head
        flight.status, flight.retry_after_s = head.status, head.retry_after_s
        if head.event_stream and head.status < 300 and self._pool.readers.event is not None:
            if not head.encoding:
                self._events = Events()
            self._read_event = self._pool.readers.event
        if head.chunked:
            self._read_chunks(flight, body, now_s)
        elif head.length is None:
            self._take(flight, body, now_s)
        else:
            self._left = head.length
            self._read_length(flight, body, now_s)

    def _read_length(self, flight: Flight, data: bytes, now_s: float) -> None:
        assert self._head is not None
        if self._head.length is None:
            self._take(flight, data, now_s)
            return
        if len(data) > self._left:
            self._take(flight, data[: self._left], now_s)
            self._finish(flight, now_s, keep=False)
            return
        self._left -= len(data)
        if data:
            self._take(flight, data, now_s)
        if self._left == 0:
            self._finish(flight, now_s)

    def _read_chunks(self, flight: Flight, data: bytes, now_s: float) -> None:
        if self._chunk_left < 0 and not self._rest and not self._in_trailer:
            at = data.find(b"\r\n", 0, 16)
            if at > 0:
                try:
                    size = int(data[:at], 16)
                except ValueError:
                    size = -1
                plain = data[:at].isalnum() and data[1:2] not in b"xX"  # int() takes more than a chunk's size may be
                if size > 0 and plain and len(data) == at + 4 + size and data.endswith(b"\r\n"):
                    self._take(flight, data[at + 2 : -2], now_s)
                    return
        self._read_chunks_slowly(flight, self._rest + data if self._rest else data, now_s)

    def _read_chunks_slowly(self, flight: Flight, data: bytes, now_s: float) -> None:
        self._rest = b""
        at = 0
        while at < len(data):
            if self._in_trailer:
                self._read_trailer(flight, data[at:], now_s)
                return
            if self._chunk_left < 0:
                end = data.find(b"\r\n", at)
                if end < 0:
                    if len(data) - at > LARGEST_SIZE_LINE:
                        raise NotHttp(f"the size of a chunk does not end: {data[at : at + 40]!r}")
                    self._rest = data[at:]
                    return
                size = chunk_size(data[at:end])
                at = end + 2
                if size == 0:
                    self._in_trailer = True
                    continue
                self._chunk_left = size + 2
            piece = data[at : at + self._chunk_left]
            at += len(piece)
            left, in_body = self._chunk_left - len(piece), max(0, self._chunk_left - 2)
            if body := piece[:in_body]:
                self._take(flight, body, now_s)
            if not b"\r\n"[max(0, 2 - self._chunk_left) :].startswith(piece[in_body:]):
                raise NotHttp(f"a chunk is longer than its size says: {piece[in_body:]!r} follows it")
            self._chunk_left = left if left else -1

    def _read_trailer(self, flight: Flight, data: bytes, now_s: float) -> None:
        """After the chunk of length 0: trailers, which nobody needs, and an empty line."""
        if data.startswith(b"\r\n"):
            self._finish(flight, now_s, keep=len(data) == 2)
        elif (end := data.find(b"\r\n\r\n")) >= 0:
            self._finish(flight, now_s, keep=len(data) == end + 4)
        elif len(data) > LARGEST_HEAD:
            raise NotHttp("the trailers of the answer do not end")
        else:
            self._rest = data

    def _take(self, flight: Flight, data: bytes, now_s: float) -> None:
        """A piece of the body."""
        events = self._events
        if events is None:
            if data and (flight.status < 300 or sum(map(len, self._body)) < KEPT_OF_FAILURE):
                self._body.append(data)
            return
        self._read_events(flight, events.feed(data), now_s)

    def _read_events(self, flight: Flight, events: list[bytes], now_s: float) -> None:
        read, reading = self._read_event, flight.reading
        for event in events:
            if reading.done:
                return  # what is said after the end belongs to nothing
            tokens = read(event, reading)
            if tokens:
                flight.token(now_s, tokens)

    # Ending

    def _finish(self, flight: Flight, now_s: float, keep: bool = True) -> None:
        """The answer is complete as far as HTTP goes."""
        head = self._head
        assert head is not None
        outcome, detail = self._judged(flight, head, now_s)
        self._flight = None
        keep = keep and head.keeps and (head.chunked or head.length is not None) and self._is_done_writing
        self._reset()
        if keep:
            self.kept = True
            self._pool.free(self)
        else:
            self.close()
        flight.end(now_s, outcome, detail)

    def _judged(self, flight: Flight, head: AnswerHead, now_s: float) -> tuple[Outcome, str]:
        reading, readers = flight.reading, self._pool.readers
        body = b"".join(self._body)
        if head.status >= 300:
            return outcome_of_status(head.status), f"{head.status}: {body[:300].decode(errors='replace')}"
        if head.encoding:
            raise NotHttp(f"the answer is compressed ({head.encoding}), and identity was asked for")
        if self._events is None:
            tokens = readers.whole(body, reading)
            if tokens:
                flight.token(now_s, tokens)
        elif self._events.pending and not reading.done:
            try:  # a last event without its empty line is one where it can be read
                self._read_events(flight, self._events.feed(b"\n\n"), now_s)
            except ValueError:
                return Outcome.CUT, "the stream ended inside an event"
        if reading.error:
            return Outcome.ERROR_EVENT, reading.error
        if not (reading.done or reading.finish):
            return Outcome.CUT, "the stream ended without its end marker"
        if readers.has_text and not flight.chunk_times:
            return Outcome.EMPTY, "the answer has no text"
        return Outcome.WHOLE, ""

    def _fail(self, flight: Flight, outcome: Outcome, detail: str, now_s: float) -> None:
        self._flight = None
        self.close()
        flight.end(now_s, outcome, detail)

    def abandon(self, outcome: Outcome, detail: str, now_s: float) -> None:
        """End what is under way, from our side."""
        if self._flight is not None:
            self._fail(self._flight, outcome, detail, now_s)


def chunk_size(line: bytes) -> int:
    """Of its line, without extensions. Raises NotHttp."""
    digits = line.partition(b";")[0].strip()
    if not digits or not all(c in b"0123456789abcdefABCDEF" for c in digits) or len(digits) > 12:
        raise NotHttp(f"the size of a chunk is {line[:40]!r}, not a hexadecimal number")
    return int(digits, 16)
