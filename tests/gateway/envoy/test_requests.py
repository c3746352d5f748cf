"""Requests of all shapes through Fairlead's own Envoy: sizes, trailers, HTTP/2, TLS, h2c engines, waiting ones."""

import asyncio
import contextlib
import json
import ssl
from dataclasses import dataclass, field

import aiohttp
import h2.config
import h2.connection
import h2.events
import pytest
from aiohttp import web

from fairlead.gateway.envoy import EnvoyOptions, ListenerTls
from fairlead.gateway.extproc import MAX_BODY_BYTES
from gateway.envoy.front import request_for, until
from gateway.envoy.test_config import certificate
from patience import PATIENCE_S


@dataclass
class Echo:
    """An engine that says what it got."""

    heads: list[dict] = field(default_factory=list)

    async def start(self, front) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        front.turns.addresses.append(f"127.0.0.1:{self.runner.addresses[0][1]}")

    async def _answer(self, request):
        body = await request.read()
        self.heads.append(dict(request.headers))
        return web.json_response({"size": len(body), "end": body[-20:].decode()})


@pytest.fixture
async def echo(front):
    engine = Echo()
    await engine.start(front)
    yield engine
    await engine.runner.cleanup()


def _sized(size: int) -> bytes:
    text = json.dumps({"model": "tiny", "x": ""}).encode()
    return text[:-2] + b"y" * (size - len(text)) + b'"}'


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [100, 61_999, 62_001, 220_000, 65_536, 65_537, 3_000_000, 60_000_000])
async def test_bodies_of_any_size_arrive_whole(front, echo, size, chunked):
    await front.start(engines=0)
    body = _sized(size)

    async def parts():
        for at in range(0, size, 1_000_000):
            yield body[at : at + 1_000_000]

    async with (
        aiohttp.ClientSession() as session,
        session.post(front.url + "/v1/completions", data=parts() if chunked else body) as response,
    ):
        assert response.status == 200, await response.text()
        assert (await response.json()) == {"size": size, "end": body[-20:].decode()}
    assert front.turns.bodies == [size]
    (head,) = echo.heads
    # Envoy sends as chunks what has streamed through a processor.
    assert ("Content-Length" in head) != ("Transfer-Encoding" in head)
    assert head.get("Content-Length", str(size)) == str(size)


@pytest.mark.parametrize("size", [100, 600_000])
async def test_a_body_that_the_picker_changes_arrives_changed(front, echo, size):
    front.turns.body = b'{"model": "other", "more": 1}'
    await front.start(engines=0)
    async with (
        aiohttp.ClientSession() as session,
        session.post(front.url + "/v1/completions", data=_sized(size)) as response,
    ):
        assert (await response.json())["size"] == len(front.turns.body)
    assert echo.heads[0].get("Content-Length", "29") == str(len(front.turns.body))


async def test_a_body_beyond_the_limit_is_refused_in_the_form_of_its_api(front, echo):
    await front.start(engines=0)
    for path, kind in (("/v1/completions", None), ("/v1/messages", "error")):

        async def parts():
            for _ in range(MAX_BODY_BYTES // 1_000_000 + 10):
                yield b" " * 1_000_000

        async with aiohttp.ClientSession() as session:
            with contextlib.suppress(aiohttp.ClientOSError):  # The answer may come while the client still writes.
                async with session.post(front.url + path, data=parts()) as response:
                    assert response.status == 413
                    assert (await response.json()).get("type") == kind
    assert echo.heads == []
    assert front.servers[0]._memory.used_bytes == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_envoys_own_errors_have_the_form_of_the_api(front, path):
    front.turns.addresses.append("127.0.0.1:1")
    await front.start(engines=0)
    status, answer = await front.ask(path)
    assert status == 503
    error = answer["error"]
    if path == "/v1/messages":
        assert (answer["type"], error["type"]) == ("error", "overloaded_error")
    else:
        assert error["code"] == "endpoint_unreachable"
    async with (
        aiohttp.ClientSession() as session,
        session.post(front.url + path + "%2f", json={}) as response,
    ):
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"


INTERNAL = [
    "x-gateway-destination-endpoint", "x-gateway-destination-endpoint-subset", "x-fairlead-fallback-endpoint-1",
    "x-fairlead-pick", "x-fairlead-engine-protocol", "x-fairlead-anything", "x-prefiller-host-port",
    "x-encoder-hosts-ports", "x-data-parallel-host-port", "test-epp-endpoint-selection",
    "x_gateway_destination_endpoint",
]  # fmt: skip


async def test_internal_headers_of_clients_never_arrive(front, echo):
    await front.start(engines=0)
    headers = {name: "127.0.0.1:1" for name in INTERNAL} | {"x-kept": "yes", "authorization": "Bearer k"}
    assert (await front.ask(headers=headers))[0] == 200
    got = {name.lower(): value for name, value in echo.heads[0].items()}
    assert got["x-kept"] == "yes"
    assert got["authorization"] == "Bearer k"
    assert "127.0.0.1:1" not in got.values()


async def test_a_held_request_is_answered_later_and_one_whose_client_left_is_abandoned(front, echo):
    front.turns.held = True
    await front.start(engines=0)
    for size in (100, 600_000):
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.post(front.url + "/v1/completions", data=_sized(size)))
            await until(lambda: front.turns.waiting)
            held = front.turns.waiting.pop()
            held.decide(front.turns.outcome(held.head))
            assert (await (await asking).json())["size"] == size
            asking = asyncio.create_task(session.post(front.url + "/v1/completions", data=_sized(size)))
            await until(lambda: front.turns.waiting)
            held = front.turns.waiting.pop()
            asking.cancel()
            await until(lambda held=held: held.abandoned)
    assert front.servers[0]._memory.used_bytes == 0


async def test_trailers_of_a_chunked_body_do_no_harm(front, echo):
    await front.start(engines=0)
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    body = _sized(100)
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n")
    writer.write(b"%x\r\n%b\r\n0\r\na: b\r\n\r\n" % (len(body), body))
    assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).startswith(b"HTTP/1.1 200")
    writer.close()


@dataclass
class Http2:
    """A small HTTP/2 client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: h2.connection.H2Connection

    @classmethod
    async def connect(cls, port: int, context: ssl.SSLContext | None = None):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        one = cls(reader, writer, h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8")))
        one.connection.initiate_connection()
        return one

    async def post(self, bodies: list[bytes], trailers=None, *, sized=False) -> dict[int, tuple[str, bytes]]:
        """Answers to requests that are open at the same time: stream -> status and body."""
        streams = []
        for body in bodies:
            stream = self.connection.get_next_available_stream_id()
            streams.append(stream)
            head = {":method": "POST", ":path": "/v1/completions", ":scheme": "http", ":authority": "x"}
            self.connection.send_headers(
                stream, [*head.items(), *([("content-length", str(len(body)))] if sized else [])]
            )
            self.connection.send_data(stream, body, end_stream=trailers is None)
            if trailers:
                self.connection.send_headers(stream, trailers, end_stream=True)
        self.writer.write(self.connection.data_to_send())
        answers: dict[int, tuple[str, bytes]] = dict.fromkeys(streams, ("", b""))
        open_streams = set(streams)
        while open_streams:
            data = await asyncio.wait_for(self.reader.read(65536), PATIENCE_S)
            assert data
            for event in self.connection.receive_data(data):
                stream = getattr(event, "stream_id", None)
                if isinstance(event, h2.events.ResponseReceived):
                    answers[stream] = (dict(event.headers)[":status"], b"")
                elif isinstance(event, h2.events.DataReceived):
                    answers[stream] = (answers[stream][0], answers[stream][1] + event.data)
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    open_streams.discard(stream)
            self.writer.write(self.connection.data_to_send())
        return answers


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("trailers", [None, [("x-checksum", "1")]])
async def test_http2_clients_share_one_connection(front, echo, trailers, sized):
    await front.start(engines=0)
    client = await Http2.connect(front.port)
    answers = await client.post([_sized(100 + n) for n in range(20)], trailers, sized=sized)
    assert [json.loads(body)["size"] for _, body in answers.values()] == [100 + n for n in range(20)]
    client.writer.close()


async def test_tls_is_spoken_with_http1_and_http2(front, echo, tmp_path):
    tls = certificate(tmp_path)
    await front.start(engines=0, options=EnvoyOptions(tls=tls))
    trust = ssl.create_default_context(cafile=str(tls.certificate))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"https://127.0.0.1:{front.port}/v1/completions", data=_sized(100), ssl=trust) as response,
    ):
        assert (await response.json())["size"] == 100
    trust.set_alpn_protocols(["h2"])
    client = await Http2.connect(front.port, trust)
    assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    ((status, _),) = (await client.post([_sized(100)])).values()
    assert status == "200"
    client.writer.close()


async def test_a_certificate_is_changed_as_a_mounted_secret_changes(front, echo, tmp_path):
    mount = tmp_path / "mount"
    for version in ("1", "2"):
        (mount / version).mkdir(parents=True)
        certificate(mount / version)
    (mount / "..data").symlink_to("1")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    await front.start(engines=0, options=EnvoyOptions(tls=ListenerTls(mount / "tls.crt", mount / "tls.key")))

    async def shown() -> str:
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", front.port))

    assert await shown() == (mount / "1" / "tls.crt").read_text()
    (mount / "..new").symlink_to("2")
    (mount / "..new").rename(mount / "..data")
    expected = (mount / "2" / "tls.crt").read_text()
    async with asyncio.timeout(PATIENCE_S):
        while await shown() != expected:  # noqa: ASYNC110 - Envoy does not say when it has read the files
            await asyncio.sleep(0.05)


async def test_engines_that_speak_h2c_are_spoken_to_in_it(front):
    got = []

    async def engine(reader, writer):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    got.append(dict(event.headers))
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/json")])
                    connection.send_data(event.stream_id, b'{"usage": {"prompt_tokens": 5}}', end_stream=True)
            writer.write(connection.data_to_send())

    server = await asyncio.start_server(engine, "127.0.0.1", 0)
    front.turns.addresses.append(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    front.turns.h2c = True
    await front.start(engines=0)
    assert (await front.ask())[0] == 200
    assert (await front.ask(messages=[{"role": "user", "content": "x" * 600_000}]))[0] == 200
    assert [head[":path"] for head in got] == ["/v1/chat/completions"] * 2
    assert not any("engine-protocol" in name for head in got for name in head)
    assert [done.prompt_tokens for done in await front.turns.next_completions(2)] == [5, 5]
    server.close()


async def test_a_slow_body_holds_nobody_up(front, echo):
    await front.start(engines=0)
    writers = []
    for _ in range(50):
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")
        writers.append(writer)
    async with asyncio.timeout(PATIENCE_S):
        assert (await front.ask("/v1/completions"))[0] == 200
    for writer in writers:
        writer.transport.abort()
    await until(lambda: front.servers[0]._memory.used_bytes == 0)
    assert request_for("/v1/completions")["model"] == "tiny"
