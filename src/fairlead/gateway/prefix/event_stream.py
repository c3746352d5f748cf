"""The order of one rank's cache events: what to do with each message, by its number.

A gap is filled by a replay where the publisher has one. What cannot be filled may hide removals, so that the rank's
blocks are forgotten rather than believed. A number that does not grow means that the engine started anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fairlead.engines.kv_event_stream import KvMessage
from fairlead.engines.kv_events import KvEventBatch, KvEventError, decode_batch

MAX_HELD_MESSAGES = 10_000
"""Live messages that wait for the end of a replay."""


class EventSink(Protocol):
    """Who keeps the index: `PreciseIndex`, or `CombinedIndex` over it."""

    def ingest(self, address: str, batch: KvEventBatch, rank: int | None = None) -> None:
        """What one message says."""
        ...

    def joined(self, address: str, rank: int = 0, *, complete: bool) -> None:
        """Whether everything since the engine's start has come."""
        ...

    def clear(self, address: str, rank: int = 0) -> None:
        """Messages were lost: what the rank holds is not known any more."""
        ...

    def restarted(self, address: str, rank: int = 0) -> None:
        """The engine is a new one, or gone: it holds nothing."""
        ...

    def forget(self, address: str) -> None:
        """The endpoint is no more."""
        ...


@dataclass(slots=True)
class StreamCounts:
    """Counters of a stream, or of all."""

    messages: int = 0
    replayed: int = 0
    lost: int = 0
    """Messages that were published and could not be got."""
    restarts: int = 0
    disconnects: int = 0
    malformed: int = 0


class EventStream:
    """One rank of one endpoint. `ask` starts a replay from a number, where there is one; its messages come by
    `replayed` and its end, whatever the reason, by `replay_ended`."""

    def __init__(
        self,
        sink: EventSink,
        counts: StreamCounts,
        address: str,
        rank: int,
        ask: Callable[[int], None] | None = None,
    ) -> None:
        self._sink = sink
        self._counts = counts
        self._address = address
        self._rank = rank
        self._ask = ask
        self._expected = 0
        self._last_live = -1
        self._held: deque[KvMessage] | None = None  # live messages, while a replay runs

    def connected(self) -> None:
        """A connection stands: what was published before it is asked for."""
        if self._ask is not None and self._expected == 0 and self._held is None:
            self._held = deque(maxlen=MAX_HELD_MESSAGES)
            self._ask(0)

    def disconnected(self) -> None:
        """The publisher closed the connection, which one that lives does not do."""
        self._counts.disconnects += 1
        self._start_anew()

    def live(self, message: KvMessage) -> None:
        """A message off the SUB socket."""
        self._counts.messages += 1
        sequence = message.sequence
        if sequence <= self._last_live:
            self._counts.restarts += 1
            self._start_anew()
        self._last_live = sequence
        if self._held is not None:
            self._held.append(message)
        elif sequence > self._expected and self._ask is not None:
            self._held = deque((message,), maxlen=MAX_HELD_MESSAGES)
            self._ask(self._expected)
        else:
            self._take(message)

    def replayed(self, message: KvMessage) -> None:
        """A message off the replay socket."""
        if message.sequence >= self._expected:
            self._counts.replayed += 1
            self._take(message)

    def replay_ended(self, *, finished: bool) -> None:
        """All messages that the publisher still had have come, or (not `finished`) it does not answer."""
        held, self._held = self._held, None
        if finished and self._expected == 0 and not held:
            # It answers, and has published nothing yet.
            self._sink.joined(self._address, self._rank, complete=True)
        for message in held or ():
            self._take(message)

    def _take(self, message: KvMessage) -> None:
        """The next message; one before it was seen already, between it and the last one some may be lost."""
        sequence = message.sequence
        if sequence < self._expected:
            return
        if sequence > self._expected:
            self._counts.lost += sequence - self._expected
            self._sink.clear(self._address, self._rank)
            self._sink.joined(self._address, self._rank, complete=False)
        elif sequence == 0:
            self._sink.joined(self._address, self._rank, complete=True)
        self._expected = sequence + 1
        try:
            batch = decode_batch(message.payload)
        except KvEventError:
            self._counts.malformed += 1
            self._sink.joined(self._address, self._rank, complete=False)
            return
        self._sink.ingest(self._address, batch, self._rank)
        if batch.unknown_types:
            self._sink.joined(self._address, self._rank, complete=False)

    def _start_anew(self) -> None:
        self._sink.restarted(self._address, self._rank)
        self._expected, self._last_live = 0, -1
        if self._held is not None:
            self._held.clear()
