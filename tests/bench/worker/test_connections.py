"""A worker against real servers with real faults: what it records, how often it connects, when it sends again."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from pathlib import Path

import pytest

from bench.worker.servers import GOOD, job, served, worker
from fairlead.bench.record import Outcome
from fairlead.bench.wire import EndStage, Finish, Jobs, Users


async def good(number: int, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(GOOD)
    return True


async def silent(number: int, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await reader.read()  # until the client closes
    return False


async def closing(number: int, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    return False


async def test_requests_go_over_kept_connections_in_time() -> None:
    async with served(good) as server, worker(server.port) as told:
        records = await told.records_of(*[job(n, n * 0.002) for n in range(200)])
        assert {r.outcome for r in records} == {Outcome.WHOLE} and server.requests == 200
        assert server.connections < 100
        assert sum(r.new_connection for r in records) <= server.connections
        assert all(
            r.due_s <= r.sent_s <= r.first_byte_s <= r.first_token_s <= r.last_token_s <= r.end_s for r in records
        )
        assert all(r.output_chunks == 2 and r.written_s >= r.sent_s and r.worker_lag_s >= 0 for r in records)


async def test_no_more_connections_than_are_allowed() -> None:
    async with served(good) as server, worker(server.port, max_connections=3) as told:
        records = await told.records_of(*[job(n, 0.0) for n in range(300)])
        assert {r.outcome for r in records} == {Outcome.WHOLE} and server.most <= 3


async def test_a_kept_connection_that_is_closed_as_it_is_used_is_tried_once_more() -> None:
    async def once(number: int, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if number == 1:
            return False
        return await good(number, body, reader, writer)

    async with served(once) as server, worker(server.port, max_connections=1) as told:
        records = await told.records_of(job(0, 0.0), job(1, 0.0))
        assert [r.outcome for r in records] == [Outcome.WHOLE, Outcome.WHOLE]
        assert [r.retried for r in records] == [False, True] and server.requests == 3
        assert records[1].new_connection and records[1].sent_s >= records[0].end_s


async def test_a_server_that_closes_every_request_is_asked_twice_at_most() -> None:
    async with served(closing) as server, worker(server.port) as told:
        records = await told.records_of(*[job(n, 0.0) for n in range(20)])
        assert {r.outcome for r in records} == {Outcome.CUT} and server.requests <= 40


async def test_a_server_that_hangs_up_before_it_is_asked_ends_every_request() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listening, worker(listening.sockets[0].getsockname()[1]) as told:
        records = await told.records_of(*[job(n, 0.0) for n in range(50)])
        assert {r.outcome for r in records} <= {Outcome.CUT, Outcome.REFUSED_CONNECTION}


async def test_nobody_listens() -> None:
    async with served(good) as server:
        port = server.port
    async with worker(port) as told:
        records = await told.records_of(*[job(n, 0.0) for n in range(50)])
        assert {r.outcome for r in records} == {Outcome.REFUSED_CONNECTION}
        assert "Connection refused" in records[0].detail and f"127.0.0.1:{port}" in records[0].detail


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        ({"timeout_s": 0.2}, Outcome.TIMEOUT),
        ({"idle_timeout_s": 0.2}, Outcome.IDLE_TIMEOUT),
        ({"timeout_s": 0.2, "max_connections": 1}, Outcome.TIMEOUT),
    ],
)
async def test_a_silent_server_ends_by_the_limit_that_is_reached(limits: dict[str, float], outcome: Outcome) -> None:
    async with served(silent) as server, worker(server.port, **limits) as told:
        records = await told.records_of(*[job(n, 0.0) for n in range(5)])
        assert {r.outcome for r in records} == {outcome}


async def test_a_server_that_never_reads_a_long_request() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.transport.abort()

    gone = asyncio.Event()
    listening = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
    async with listening, worker(listening.sockets[0].getsockname()[1], idle_timeout_s=0.3) as told:
        (record,) = await told.records_of(job(0, 0.0, b"x" * 40_000_000))
        assert record.outcome == Outcome.IDLE_TIMEOUT
        assert record.written_s != record.written_s  # it never all went out
        gone.set()


async def test_a_hundred_megabytes_up_and_down() -> None:
    size = 100_000_000

    async def long(number: int, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        text = b'{"choices":[{"text":"' + b"y" * size + b'","finish_reason":"length"}],"usage":{"completion_tokens":9}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text))
        writer.write(text)
        await writer.drain()
        return True

    async with served(long) as server, worker(server.port) as told:
        (record,) = await told.records_of(job(0, 0.0, b"x" * size))
        assert (record.outcome, record.server_output_tokens) == (Outcome.WHOLE, 9)
        assert len(server.bodies[0]) == size
        assert record.sent_s <= record.written_s <= record.first_byte_s <= record.end_s


async def test_a_session_sends_the_answers_before_with_each_turn() -> None:
    async with served(good) as server, worker(server.port, keep_text=True) as told:
        turns = (b"one", [b'two "', b'"'], [b'three "', b'" "', b'"'])
        records = await told.records_of(job(7, 0.0, *turns))
        assert [r.turn for r in records] == [0, 1, 2]
        assert server.bodies == [b"one", b'two "ab"', b'three "ab" "ab"']
        assert all(later.due_s >= before.end_s for before, later in itertools.pairwise(records))


async def test_a_session_ends_with_a_turn_that_failed() -> None:
    async with served(closing) as server, worker(server.port, keep_text=True) as told:
        told.say(Jobs([job(0, 0.0, b"one", [b"two", b""])]))
        told.say(Finish(20.0))
        await told.hear(lambda told: told.finished is not None)
        assert [(r.turn, r.outcome) for r in told.records] == [(0, Outcome.CUT)]


async def test_users_have_one_request_each_under_way() -> None:
    async def slow(number: int, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.01)
        return await good(number, body, reader, writer)

    async with served(slow) as server, worker(server.port) as told:
        told.say(Users(0, 4, 0.0, 600.0, 0.0, 0.0, False, 1))
        records = await told.records_of(*[job(n, -1.0) for n in range(60)])
        edges = sorted([(r.sent_s, 1) for r in records] + [(r.end_s, -1) for r in records])
        under_way = most = 0
        for _, change in edges:
            under_way += change
            most = max(most, under_way)
        assert most == 4
        told.say(EndStage(0), Jobs([job(60, -1.0)]), Finish(5.0))
        await told.hear(lambda told: told.finished is not None)
        assert server.requests == 60 and told.pulses[-1].queued == 0


async def test_what_is_under_way_is_aborted_and_what_waits_is_dropped() -> None:
    async with served(silent) as server, worker(server.port) as told:
        told.say(Jobs([job(0, 0.0), job(1, 0.0), job(2, 3600.0)]))
        await told.hear(lambda told: bool(told.pulses) and told.pulses[-1].sent == 2)
        told.say(EndStage(0, abort=True))
        await told.hear(lambda told: len(told.records) == 2)
        assert {r.outcome for r in told.records} == {Outcome.ABORTED}
        told.say(Finish(3600.0))  # nothing is left to wait for
        await told.hear(lambda told: told.finished is not None)
        assert server.requests <= 2


async def test_jobs_that_come_out_of_order_are_sent_when_they_are_due() -> None:
    async with served(good) as server, worker(server.port) as told:
        told.say(Jobs([job(0, 3600.0)]))
        records = await told.records_of(job(1, 0.2), job(2, 0.1))
        told.say(EndStage(0))
        assert [r.outcome for r in records] == [Outcome.WHOLE, Outcome.WHOLE]
        assert server.requests == 2 and records[1].sent_s < records[0].sent_s


async def test_the_worker_ends_with_its_coordinator() -> None:
    async with served(silent) as server:
        ours = worker(server.port)
        told = await ours.__aenter__()
        told.say(Jobs([job(0, 0.0), job(1, 3600.0)]))
        await told.hear(lambda told: bool(told.pulses) and told.pulses[-1].sent == 1)
        told.hang_up()  # as the kernel does for a coordinator that was killed
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, RuntimeError)):
            await ours.__aexit__(None, None, None)


async def test_a_plain_server_is_no_tls_server() -> None:
    async with served(good) as server, worker(server.port, tls=True, connect_timeout_s=0.5) as told:
        (record,) = await told.records_of(job(0, 0.0))
        assert record.outcome in (Outcome.TLS, Outcome.REFUSED_CONNECTION, Outcome.CONNECT_TIMEOUT)


async def test_a_certificate_is_checked_and_may_be_trusted(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with served(good, context) as server:
        async with worker(server.port, tls=True) as told:
            (record,) = await told.records_of(job(0, 0.0))
            assert record.outcome == Outcome.TLS and "does not pass" in record.detail
        for trust in ({"ca_file": str(tmp_path / "cert.pem")}, {"insecure": True}):
            async with worker(server.port, tls=True, **trust) as told:
                records = await told.records_of(job(0, 0.0), job(1, 0.0))
                assert {r.outcome for r in records} == {Outcome.WHOLE}
