"""Connections that are slow, half open, ambiguous, many or reset: they cost little and hold nobody up."""

from __future__ import annotations

import asyncio
import contextlib
import json

import h2.config
import h2.connection
import h2.errors
import pytest

from gateway.faults import CHAT, CHAT_PATH, ask, eventually, many, nothing_in_flight, pool, resident_mb, start, stream
from gateway.hostile_engine import HostileEngine
from patience import PATIENCE_S

HEAD = f"POST {CHAT_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
BODY = json.dumps({**CHAT, "max_tokens": 1}).encode()
HALF_OPEN = 800


async def _raw(stack, text: bytes, timeout_s: float = 10.0) -> bytes:
    """All that comes back until the connection ends or nothing comes any more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    got = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(timeout_s):
            writer.write(text)
            await writer.drain()
            while part := await asyncio.wait_for(reader.read(65536), 0.7 if got else timeout_s):
                got += part
    writer.close()
    return got


_LENGTH = f"Content-Length: {len(BODY)}\r\n".encode()
_INNER = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
_AMBIGUOUS = {
    "both framings": HEAD + _LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "both framings, other order": HEAD + b"Transfer-Encoding: chunked\r\n" + _LENGTH + b"\r\n0\r\n\r\n" + _INNER,
    "unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _INNER,
    "two codings": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + _INNER,
    "folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n" + _LENGTH + b"\r\n0\r\n\r\n" + _INNER,
    "space before colon": HEAD + b"Transfer-Encoding : chunked\r\n" + _LENGTH + b"\r\n0\r\n\r\n" + _INNER,
    "two lengths": HEAD + _LENGTH + b"Content-Length: 0\r\n\r\n" + BODY + _INNER,
    "list of lengths": HEAD + b"Content-Length: 0, %d\r\n\r\n" % len(BODY) + BODY + _INNER,
    "signed length": HEAD + b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY,
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "huge length": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "hexadecimal length": HEAD + b"Content-Length: 0x10\r\n\r\n" + BODY,
    "bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY,
    "huge chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n" + BODY,
    "bare line feeds": HEAD.replace(b"\r\n", b"\n") + b"Transfer-Encoding: chunked\n\n0\n\n" + _INNER,
    "NUL in a header": HEAD + b"X-A: a\x00b\r\n" + _LENGTH + b"\r\n" + BODY,
    "no colon": HEAD + b"nonsense\r\n" + _LENGTH + b"\r\n" + BODY,
    "200 headers": HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(200)) + _LENGTH + b"\r\n" + BODY,
    "head of 300 kB": HEAD + b"x-a: " + b"y" * 300_000 + b"\r\n" + _LENGTH + b"\r\n" + BODY,
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "CONNECT": b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
    "TRACE": b"TRACE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    "upgrade": HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + _LENGTH + b"\r\n" + BODY,
    "h2c upgrade": HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    + _LENGTH + b"\r\n" + BODY,
    "dots": HEAD.replace(CHAT_PATH.encode(), b"/v1/models/../../sleep") + _LENGTH + b"\r\n" + BODY,
    "escaped dots": HEAD.replace(CHAT_PATH.encode(), b"/v1/%2e%2e/sleep") + _LENGTH + b"\r\n" + BODY,
    "absolute": HEAD.replace(CHAT_PATH.encode(), b"http://127.0.0.1:1/sleep") + _LENGTH + b"\r\n" + BODY,
    "fragment": HEAD.replace(CHAT_PATH.encode(), CHAT_PATH.encode() + b"#/sleep") + _LENGTH + b"\r\n" + BODY,
}  # fmt: skip


async def test_no_ambiguous_request_reaches_an_engine_as_two_or_elsewhere(stack):
    async with HostileEngine() as engine:
        await start(stack, pool(engine.address))
        answers = await asyncio.gather(*(_raw(stack, text) for text in _AMBIGUOUS.values()))
        for name, answer in zip(_AMBIGUOUS, answers, strict=True):
            assert answer.count(b"HTTP/1.1 ") <= 1, (name, answer)
        assert len(engine.asked) < len(_AMBIGUOUS)
        for asked in engine.asked:
            # What gets through is one whole request as Envoy has understood it.
            assert asked.line == f"POST {CHAT_PATH} HTTP/1.1"
            assert asked.body == BODY, asked
            assert ("transfer-encoding: chunked\r\n" in asked.head) != ("content-length:" in asked.head), asked
            assert not [name for name in ("upgrade:", "http2-settings:") if name in asked.head]
        async with many() as session:
            assert (await ask(session, stack))[0] == 200
    await nothing_in_flight(stack)


@pytest.mark.parametrize(
    "beginning",
    [b"POST /v1/ch", HEAD + b"Content-Length: 1000\r\n\r\n{", HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"],
    ids=["head", "body", "chunk"],
)
async def test_half_open_connections_hold_nobody_up(stack, beginning):
    await stack.start(1, "--ttft-ms", "1", "--itl-ms", "0")
    before_mb = resident_mb(stack.picker), resident_mb(stack.envoy)
    writers = []
    for _ in range(HALF_OPEN):
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(beginning)
        writers.append(writer)
    async with many() as session:
        for _ in range(3):
            answers = await asyncio.gather(*(ask(session, stack, max_tokens=1) for _ in range(20)))
            assert {status for status, _ in answers} == {200}
            for writer in writers:
                writer.write(b"x")
        assert resident_mb(stack.picker) - before_mb[0] < 60
        assert resident_mb(stack.envoy) - before_mb[1] < 150
        for writer in writers:
            writer.transport.abort()
        assert (await ask(session, stack, max_tokens=1))[0] == 200
    await nothing_in_flight(stack)


async def test_a_head_that_does_not_end_is_given_up(stack):
    await stack.start(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(b"POST /v1/ch")
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert answer.startswith(b"HTTP/1.1 408") or answer == b""
    writer.close()


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_100_mb_are_refused_without_being_kept(stack, framing):
    await stack.start(1, "--ttft-ms", "1", "--itl-ms", "0")
    before_mb = resident_mb(stack.picker), resident_mb(stack.envoy)
    part = b"x" * 1_000_000
    peak_mb = [0.0, 0.0]

    async def send() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        try:
            length = (
                b"Content-Length: 100000000\r\n\r\n" if framing == "length" else b"Transfer-Encoding: chunked\r\n\r\n"
            )
            writer.write(HEAD + length)
            with contextlib.suppress(OSError):
                for _ in range(100):
                    writer.write(part if framing == "length" else b"%x\r\n%s\r\n" % (len(part), part))
                    await writer.drain()
            with contextlib.suppress(OSError):
                return await asyncio.wait_for(reader.read(2000), PATIENCE_S)
            return b""
        finally:
            writer.close()

    tasks = [asyncio.create_task(send()) for _ in range(3)]
    while not all(task.done() for task in tasks):
        for n, process in enumerate((stack.picker, stack.envoy)):
            peak_mb[n] = max(peak_mb[n], resident_mb(process) - before_mb[n])
        await asyncio.sleep(0.05)
    answers = [task.result() for task in tasks]
    # The connection may be reset under the writer before it reads the answer.
    assert all(answer == b"" or b" 413 " in answer.split(b"\r\n")[0] for answer in answers), answers
    # Three bodies up to the limit of 64 MiB each, and what is under way.
    assert peak_mb[0] < 400 and peak_mb[1] < 150, peak_mb
    async with many() as session:
        assert (await ask(session, stack, max_tokens=1))[0] == 200


async def test_clients_that_do_not_read_hold_nobody_up(stack):
    await stack.start(2, "--ttft-ms", "1", "--itl-ms", "0", "--max-num-seqs", "200")
    before_mb = resident_mb(stack.envoy)
    body = json.dumps({**CHAT, "stream": True, "max_tokens": 20_000, "ignore_eos": True}).encode()
    writers = []
    for _ in range(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port, limit=1000)
        writer.transport.pause_reading()
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        writers.append((reader, writer))
    await asyncio.sleep(2)
    async with many() as session:
        for _ in range(5):
            assert (await stream(session, stack, max_tokens=5, ignore_eos=True))[2]
    assert resident_mb(stack.envoy) - before_mb < 200
    for _, writer in writers:
        writer.transport.abort()
    await nothing_in_flight(stack, 20)


class _Http2:
    """A client on one connection, to do what others do not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()

    def send(
        self, headers: list[tuple[str, str]], body: bytes = b"", trailers: list[tuple[str, str]] | None = None
    ) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        base = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", CHAT_PATH)]
        self.h2.send_headers(stream_id, base + headers)
        if body:
            self.h2.send_data(stream_id, body, end_stream=trailers is None)
        if trailers is not None:
            self.h2.send_headers(stream_id, trailers, end_stream=True)
        return stream_id

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def status(self, stream_id: int) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    if getattr(event, "stream_id", None) == stream_id and hasattr(event, "headers"):
                        return dict(event.headers)[b":status"].decode()
                    if getattr(event, "stream_id", None) == stream_id and type(event).__name__ == "StreamReset":
                        return "reset"
                await self.flush()
        return "closed"


async def test_thousands_of_streams_that_are_reset_at_once_leave_nothing(stack):
    await stack.start(1, "--ttft-ms", "50", "--itl-ms", "1")
    for _ in range(4):
        client = _Http2(*await asyncio.open_connection("127.0.0.1", stack.port))
        with contextlib.suppress(OSError):
            for _ in range(10):
                for _ in range(50):
                    stream_id = client.send([("content-length", str(len(BODY)))], BODY)
                    client.h2.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
                await client.flush()
        client.writer.close()
    async with many() as session:
        assert (await ask(session, stack, max_tokens=1))[0] == 200
    await nothing_in_flight(stack, 15)

    async def engine_is_idle() -> bool:
        async with many() as session, session.get(f"http://{stack.engines[0][1]}/metrics") as response:
            text = await response.text()
        return "vllm:num_requests_running" in text and all(
            float(line.split()[-1]) == 0 for line in text.splitlines() if line.startswith("vllm:num_requests_running{")
        )

    await eventually(engine_is_idle)


async def test_http2_headers_and_trailers_choose_no_endpoint(stack):
    async with HostileEngine() as engine, HostileEngine() as trap:
        await start(stack, pool(engine.address))
        steering = [("x-gateway-destination-endpoint", trap.address), ("x-fairlead-fallback-endpoint-1", trap.address)]
        cases = [
            (steering, None),
            ([], steering),
            ([("te", "trailers")], [*steering, ("x-fairlead-pick", "x-1"), ("content-length", "3")]),
            ([("transfer-encoding", "chunked")], None),
            ([("connection", "x-fairlead-pick")], None),
            ([("content-length", "3")], None),
            ([(":path", "/sleep")], None),
        ]
        for headers, trailers in cases:
            client = _Http2(*await asyncio.open_connection("127.0.0.1", stack.port))
            stream_id = client.send(headers, BODY, trailers)
            await client.flush()
            status = await client.status(stream_id)
            assert status in ("200", "400", "reset", "closed"), (headers, trailers, status)
            client.writer.close()
        for asked in engine.asked:
            assert trap.address not in asked.head
            assert asked.body == BODY
        assert trap.asked == []
        async with many() as session:
            assert (await ask(session, stack))[0] == 200
    await nothing_in_flight(stack)
