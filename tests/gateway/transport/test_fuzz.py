"""How bytes are cut does not matter; whatever bytes come, the connection ends cleanly and every call once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.gateway.transport import Limits
from fairlead.gateway.transport import frames as h2
from gateway.transport.wire import BROKEN, ECHO, FLOOD, LISTEN, ONCE, Wire, message

SMALL = Limits(
    stream_window_bytes=65_535,
    connection_window_bytes=100_000,
    max_message_bytes=50_000,
    max_held_bytes=200_000,
    max_concurrent_streams=10,
    max_frame_bytes=16_384,
)


def in_loop(test: Callable[[], Any]) -> None:
    """Run a synchronous test with a loop, and then what it has left to the loop."""

    async def run() -> None:
        test()
        await asyncio.sleep(0)

    asyncio.run(run())


def a_conversation(wire: Wire, choices: random.Random, steps: int) -> bytes:
    """A client's valid bytes: calls, messages cut into frames anywhere, padding, trailers and control frames."""
    out = [h2.PREFACE, h2.settings({h2.MAX_FRAME_SIZE: choices.choice([16_384, 40_000])})]
    next_id = 1
    open_ids: dict[int, str] = {}
    for _ in range(steps):
        step = choices.randrange(8)
        if step <= 1 and len(open_ids) < 8:
            path = choices.choice([ECHO, ONCE, LISTEN, FLOOD, BROKEN, "/no.Such/Method"])
            block = wire.block(path, ("x-n", str(choices.randrange(5))))
            at = choices.randrange(len(block) + 1)
            out.append(h2.frame(h2.HEADERS, 0, next_id, block[:at]))
            out.append(h2.frame(h2.CONTINUATION, h2.END_HEADERS, next_id, block[at:]))
            open_ids[next_id] = path
            next_id += 2
        elif step <= 4 and open_ids:
            stream_id = choices.choice(list(open_ids))
            sizes = [choices.choice([0, 1, 4, 300, 9000]) for _ in range(choices.randrange(1, 4))]
            texts = [b"%d" % size if open_ids[stream_id] == FLOOD else choices.randbytes(size) for size in sizes]
            payload = b"".join(map(message, texts))
            while payload:
                size = choices.choice([1, 3, 6, 1000, 16_000])
                padding = choices.choice([0, 0, 7])
                part, payload = payload[:size], payload[size:]
                body = bytes((padding,)) + part + b"\0" * padding if padding else part
                out.append(h2.frame(h2.DATA, h2.PADDED if padding else 0, stream_id, body))
        elif step == 5 and open_ids:
            stream_id = choices.choice(list(open_ids))
            del open_ids[stream_id]
            out.append(
                choices.choice(
                    [
                        h2.frame(h2.DATA, h2.END_STREAM, stream_id),
                        h2.rst_stream(stream_id, h2.CANCEL),
                        h2.window_update(stream_id, 5) + h2.frame(h2.DATA, h2.END_STREAM, stream_id),
                    ]
                )
            )
        else:
            out.append(
                choices.choice(
                    [
                        h2.ping(choices.randbytes(8)),
                        h2.window_update(0, choices.randrange(1, 10_000)),
                        h2.frame(h2.PRIORITY, 0, 99, b"\0" * 5),
                        h2.frame(0xEE, 0xFF, choices.randrange(100), b"unknown"),
                        h2.settings({h2.INITIAL_WINDOW_SIZE: choices.choice([10, 70_000])}),
                    ]
                )
            )
    return b"".join(out)


def seen(wire: Wire) -> list[tuple[dict[str, str], list[bytes], list[str]]]:
    return [(dict(call.metadata), call.messages, call.ends) for call in wire.service.calls]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_how_the_bytes_are_cut_does_not_matter(seed: int, steps: int) -> None:
    def test() -> None:
        choices = random.Random(seed)
        whole, cut = Wire(SMALL, settled=False), Wire(SMALL, settled=False)
        sent = a_conversation(whole, choices, steps)
        written = whole.feed(sent)
        written_cut = []
        while sent:
            size = choices.choice([1, 2, 8, 9, 10, 25, 1000, 40_000])
            written_cut += cut.feed(sent[:size])
            sent = sent[size:]
        assert not [frame.code for frame in written if frame.kind == h2.GOAWAY]
        assert seen(whole) == seen(cut)
        assert written == written_cut

    in_loop(test)


def check_the_end(wire: Wire) -> None:
    """After the connection's end each call has ended exactly once, and nothing is held."""
    wire.connection.connection_lost(None)
    for call in wire.service.calls:
        ended_by_service = not call.ends.count("closed")
        assert call.ends.count("closed") <= 1
        assert not ended_by_service or call.stream.ended  # type: ignore[attr-defined]
    assert wire.server.held.held == 0
    assert not wire.connection.streams
    assert not wire.connection.outbox.waiting
    assert not wire.connection.outbox.stalled


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 40), flips=st.integers(1, 6))
def test_mutated_conversations_end_cleanly(seed: int, steps: int, flips: int) -> None:
    def test() -> None:
        choices = random.Random(seed)
        wire = Wire(SMALL, settled=False)
        sent = bytearray(a_conversation(wire, choices, steps))
        for _ in range(flips):
            at = choices.randrange(len(sent))
            match choices.randrange(3):
                case 0:
                    sent[at] = choices.randrange(256)
                case 1:
                    del sent[at : at + choices.randrange(1, 12)]
                case _:
                    sent[at:at] = choices.randbytes(choices.randrange(1, 12))
            if not sent:
                return
        written = []
        while sent and not wire.transport.closing:
            size = choices.choice([9, 1000, 40_000])
            written += wire.feed(bytes(sent[:size]))
            del sent[:size]
        ends = [frame.code for frame in written if frame.kind == h2.GOAWAY]
        assert len(ends) == wire.transport.closing
        assert h2.INTERNAL_ERROR not in ends
        check_the_end(wire)

    in_loop(test)


@settings(max_examples=300, deadline=None)
@given(garbage=st.binary(min_size=1, max_size=400), as_frame=st.booleans(), kind=st.integers(0, 10))
def test_garbage_ends_cleanly(garbage: bytes, as_frame: bool, kind: int) -> None:
    def test() -> None:
        wire = Wire(SMALL)
        wire.feed(wire.request(1) + wire.request(3, LISTEN))
        sent = h2.frame(kind, garbage[0], garbage[-1] % 6, garbage) if as_frame else garbage
        written = wire.feed(sent)
        ends = [frame.code for frame in written if frame.kind == h2.GOAWAY]
        assert len(ends) == wire.transport.closing
        assert h2.INTERNAL_ERROR not in ends
        check_the_end(wire)

    in_loop(test)


@settings(max_examples=300, deadline=None)
@given(garbage=st.binary(min_size=1, max_size=200))
def test_garbage_header_blocks_end_cleanly(garbage: bytes) -> None:
    def test() -> None:
        wire = Wire(SMALL)
        written = wire.feed(wire.request(1) + h2.frame(h2.HEADERS, h2.END_HEADERS, 3, garbage))
        assert h2.INTERNAL_ERROR not in [frame.code for frame in written if frame.kind == h2.GOAWAY]
        check_the_end(wire)

    in_loop(test)
