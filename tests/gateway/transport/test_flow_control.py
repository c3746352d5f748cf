"""The server never sends beyond a window, gives credit as it consumes, and sends everything once it may."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.gateway.transport import Limits
from fairlead.gateway.transport import frames as h2
from gateway.transport.test_fuzz import check_the_end, in_loop
from gateway.transport.wire import ECHO, FLOOD, LISTEN, Frame, Wire, data, message


class Client:
    """Keeps the windows that the server has to respect."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.window = 65_535
        self.initial = 65_535
        self.max_frame = 16_384
        self.spent: dict[int, int] = {}
        self.received: dict[int, bytearray] = {}
        self.over: set[int] = set()

    def take(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.kind == h2.DATA:
                size = len(frame.payload)
                assert size <= self.max_frame
                self.window -= size
                self.spent[frame.stream_id] += size
                assert self.window >= 0, "beyond the connection's window"
                assert self.spent[frame.stream_id] <= self.initial, "beyond the stream's window"
                assert frame.stream_id not in self.over
                self.received[frame.stream_id] += frame.payload
            elif frame.kind == h2.HEADERS and frame.flags & h2.END_STREAM:
                self.over.add(frame.stream_id)

    def ask(self, stream_id: int, size: int) -> None:
        self.spent[stream_id] = 0
        self.received[stream_id] = bytearray()
        self.take(self.wire.feed(self.wire.request(stream_id, FLOOD) + data(stream_id, message(b"%d" % size))))

    def set(self, name: int, value: int) -> None:
        if name == h2.INITIAL_WINDOW_SIZE:
            self.initial = value
        else:
            self.max_frame = value
        self.take(self.wire.feed(h2.settings({name: value})))

    def allow(self, stream_id: int, size: int) -> None:
        if stream_id:
            self.spent[stream_id] -= size
        else:
            self.window += size
        self.take(self.wire.feed(h2.window_update(stream_id, size)))


def answer(size: int) -> bytes:
    parts = [bytes((at // 50_000 % 251,)) * min(50_000, size - at) for at in range(0, size, 50_000)]
    return b"".join(map(message, parts))


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 400_000)),
    st.tuples(st.just("allow"), st.integers(1, 200_000)),
    st.tuples(st.just("allow stream"), st.integers(1, 200_000)),
    st.tuples(st.just("initial"), st.sampled_from([0, 1, 100, 65_535, 300_000])),
    st.tuples(st.just("max frame"), st.sampled_from([16_384, 20_000, 100_000])),
    st.tuples(st.just("block"), st.just(0)),
    st.tuples(st.just("unblock"), st.just(0)),
    st.tuples(st.just("reset"), st.just(0)),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=40), which=st.randoms(use_true_random=False))
def test_never_beyond_a_window_and_everything_in_the_end(steps: list[tuple[str, int]], which) -> None:  # type: ignore[no-untyped-def]
    def test() -> None:
        wire = Wire(Limits(write_buffer_bytes=100_000))
        client = Client(wire)
        sizes: dict[int, int] = {}
        next_id = 1
        for step, value in steps:
            some = which.choice(list(sizes)) if sizes else 0
            if step == "ask":
                sizes[next_id] = value
                client.ask(next_id, value)
                next_id += 2
            elif step == "allow":
                client.allow(0, value)
            elif step == "allow stream" and some and some not in client.over:
                client.allow(some, value)
            elif step == "initial":
                client.set(h2.INITIAL_WINDOW_SIZE, value)
            elif step == "max frame":
                client.set(h2.MAX_FRAME_SIZE, value)
            elif step == "block":
                wire.transport.blocked = True
            elif step == "unblock":
                wire.transport.unblock()
                client.take(wire.take())
            elif step == "reset" and some:
                client.take(wire.feed(h2.rst_stream(some, h2.CANCEL)))
                del sizes[some]
        wire.transport.unblock()
        client.take(wire.take())
        client.allow(0, 2**29)
        client.set(h2.INITIAL_WINDOW_SIZE, 2**29)
        assert client.over >= set(sizes)
        for stream_id, size in sizes.items():
            assert bytes(client.received[stream_id]) == answer(size)
        assert wire.server.held.held == 0
        check_the_end(wire)

    in_loop(test)


async def test_credit_comes_in_bulk() -> None:
    wire = Wire(Limits(stream_window_bytes=100_000, connection_window_bytes=400_000))
    credit = {0: 0, 1: 0}
    frames = 0
    wire.feed(wire.request(1, LISTEN))
    sent = message(b"\0" * 999_995)
    for at in range(0, len(sent), 10_000):
        for frame in wire.feed(data(1, sent[at : at + 10_000])):
            assert frame.kind == h2.WINDOW_UPDATE
            credit[frame.stream_id] += struct.unpack(">I", frame.payload)[0]
            frames += 1
    assert 950_000 <= credit[1] <= 1_000_000
    assert 800_000 <= credit[0] <= 1_000_000
    assert frames <= 1_000_000 / 50_000 + 1_000_000 / 200_000 + 2
    assert [len(m) for m in wire.service.calls[0].messages] == [999_995]


async def test_padding_counts_for_the_windows() -> None:
    wire = Wire(Limits(stream_window_bytes=65_535, connection_window_bytes=65_535))
    wire.feed(wire.request(1, LISTEN))
    written = []
    for _ in range(200):
        written += wire.feed(h2.frame(h2.DATA, h2.PADDED, 1, b"\xff" + b"\0" * 255))
    for stream_id in (0, 1):
        credit = [struct.unpack(">I", frame.payload)[0] for frame in written if frame.stream_id == stream_id]
        assert sum(credit) > 200 * 256 - 33_000


async def test_a_client_that_does_not_read_its_answers_gets_no_credit() -> None:
    wire = Wire(Limits(stream_window_bytes=100_000, max_unsent_bytes=80_000))
    wire.feed(wire.request(1, ECHO))
    stream_credit = 0
    for _ in range(20):
        for frame in wire.feed(data(1, message(b"\0" * 9_995))):
            if frame.kind == h2.WINDOW_UPDATE and frame.stream_id == 1:
                stream_credit += struct.unpack(">I", frame.payload)[0]
    # 65,535 bytes have left, and what waits stays below the limit and one window.
    assert stream_credit < 65_535 + 80_000
    assert wire.connection.streams[1].queue.size <= 80_000 + 100_000
    # Reading brings the credit.
    written = wire.feed(h2.window_update(1, 1_000_000) + h2.window_update(0, 60_000))
    assert wire.connection.streams[1].queue.size
    assert any(frame.kind == h2.WINDOW_UPDATE and frame.stream_id == 1 for frame in written)


async def test_a_small_answer_does_not_wait_for_a_large_one() -> None:
    wire = Wire()
    wire.feed(h2.settings({h2.INITIAL_WINDOW_SIZE: 2**30}))
    wire.feed(wire.request(1, FLOOD) + data(1, message(b"10000000")))
    wire.feed(wire.request(3, FLOOD) + data(3, message(b"1000")))
    written = wire.feed(h2.window_update(0, 200_000))
    assert (3, h2.END_STREAM) in [
        (frame.stream_id, frame.flags & h2.END_STREAM) for frame in written if frame.kind == h2.HEADERS
    ]
