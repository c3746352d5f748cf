"""The page client against servers that do what they should and servers that do not, byte by byte over sockets."""

import asyncio
import random

import pytest

from fairlead.engines import page_client
from fairlead.engines.page_client import PageConnection, PageError, request_for
from patience import PATIENCE_S

PAGE = b"# HELP x\nvllm:num_requests_running 2\n" * 50


async def ask(answer, times=1, timeout_s=2.0):
    """Outcomes of pages asked of a server; `answer(writer)` writes one answer after each request."""
    requests = []

    async def serve(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                requests.append(head)
                await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    port = server.sockets[0].getsockname()[1]
    outcomes, connection = [], None
    try:
        for _ in range(times):
            if connection is None or not connection.free:
                _, connection = await loop.create_connection(lambda: PageConnection(loop), "127.0.0.1", port)
            done = loop.create_future()
            connection.ask(request_for("h", "/metrics", close=False), timeout_s, done.set_result)
            outcomes.append(await asyncio.wait_for(done, PATIENCE_S))
    finally:
        if connection is not None:
            connection.close()
        server.close()
    return outcomes, requests, connection


def writes(data):
    async def answer(writer):
        writer.write(data)

    return answer


def head(*lines, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def chunked(body, sizes):
    parts, at = [], 0
    for size in sizes:
        part = body[at : at + size]
        at += size
        if part:
            parts.append(b"%x;ext=1\r\n%s\r\n" % (len(part), part))
    if body[at:]:
        parts.append(b"%X\r\n%s\r\n" % (len(body[at:]), body[at:]))
    return b"".join(parts)


WITH_LENGTH = head("content-type: text/plain; version=0.0.4", f"content-length: {len(PAGE)}") + PAGE
IN_CHUNKS = head("Content-Type: text/plain", "Transfer-Encoding: chunked") + chunked(PAGE, [1, 10, 300])


@pytest.mark.parametrize(
    "answer",
    [
        WITH_LENGTH,
        head(status="100 Continue") + WITH_LENGTH,
        IN_CHUNKS + b"0\r\n\r\n",
        IN_CHUNKS + b"0\r\ntrailer: x\r\n\r\n",
    ],
)
@pytest.mark.parametrize("pieces", [1, 2, 7, 60])
async def test_pages_in_any_pieces_on_one_connection(answer, pieces):
    cuts = sorted(random.Random(pieces).sample(range(1, len(answer)), pieces - 1))

    async def write(writer):
        for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True):
            writer.write(answer[start:end])
            await writer.drain()
            await asyncio.sleep(0)

    outcomes, requests, _ = await ask(write, times=3)
    assert outcomes == [PAGE] * 3
    assert len(requests) == 3
    assert requests[0].startswith(b"GET /metrics HTTP/1.1\r\nHost: h\r\n")


async def test_a_page_that_ends_with_its_connection():
    async def answer(writer):
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + PAGE)
        writer.close()

    assert (await ask(answer))[0] == [PAGE]


async def test_a_server_that_wants_to_close_is_not_asked_again_on_that_connection():
    outcomes, _, connection = await ask(writes(head("connection: close", f"content-length: {len(PAGE)}") + PAGE))
    assert outcomes == [PAGE]
    assert not connection.free


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (head("content-length: 0", status="404 Not Found"), "HTTP 404"),
        (head("location: http://elsewhere/", status="302 Found"), "HTTP 302"),
        (head("content-type: text/html", "content-length: 5") + b"<html", "text/html"),
        (head("content-encoding: gzip", "content-length: 5") + b"\x1f\x8b123", "compressed"),
        (head("content-length: 1000000000"), "1000000000"),
        (head("content-length: -5"), "-5"),
        (head("transfer-encoding: chunked") + b"zz\r\n", "zz"),
        (head("transfer-encoding: chunked") + b"ffffffff\r\n", "more than"),
        (head("transfer-encoding: chunked") + b"1" * 300, "too long"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no HTTP answer"),
        (b"\x15\x03\x01\x00\x02\x02\x16" + b"x" * 20_000, "head is larger"),
        (b"HTTP/1.1 200 OK\r\n" + b"x-filler: 1\r\n" * 2000, "head is larger"),
    ],
)
async def test_answers_that_are_no_page(answer, said):
    (outcome,), _, connection = await ask(writes(answer))
    assert isinstance(outcome, PageError)
    assert said in outcome.message
    assert not connection.free


@pytest.mark.parametrize("form", ["", "transfer-encoding: chunked"])
async def test_endless_pages_are_given_up_at_the_limit(form, monkeypatch):
    sent = 0

    async def endless(writer):
        nonlocal sent
        writer.write(head("content-type: text/plain", *([form] if form else [])))
        line = b"x 1\n" * 4096
        while not writer.is_closing():
            writer.write(b"%x\r\n%s\r\n" % (len(line), line) if form else line)
            sent += len(line)
            await writer.drain()

    (outcome,), _, _ = await ask(endless)
    assert "more than" in outcome.message
    assert sent < 4 * page_client.MAX_PAGE_BYTES


async def test_a_slow_drip_is_given_up_in_time():
    async def drip(writer):
        writer.write(head("content-length: 100000"))
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    (outcome,), _, _ = await ask(drip, timeout_s=0.2)
    assert "no whole page within 0.2 s" in outcome.message


async def test_connections_that_end_early():
    async def hang_up(writer):
        writer.write(head("content-length: 100") + b"x")
        writer.close()

    async def say_nothing(writer):
        writer.close()

    (outcome,), _, _ = await ask(hang_up)
    assert ("lost" in outcome.message, outcome.lost) == (True, False)
    (outcome,), _, _ = await ask(say_nothing)
    assert outcome.lost


async def test_garbage_of_all_kinds_ends_in_one_outcome():
    rng = random.Random(7)
    for _ in range(150):
        base = bytearray(rng.choice([WITH_LENGTH, IN_CHUNKS + b"0\r\n\r\n"]))
        for _ in range(rng.randrange(1, 6)):
            base[rng.randrange(len(base))] = rng.randrange(256)
        cut = bytes(base[: rng.randrange(1, len(base))]) if rng.random() < 0.5 else bytes(base)

        async def answer(writer, data=cut):
            writer.write(data)
            writer.close()

        (outcome,), _, _ = await ask(answer)
        assert isinstance(outcome, bytes | PageError)
