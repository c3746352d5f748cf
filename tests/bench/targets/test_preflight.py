"""One request before the run, against real servers: the simulated engine, the ONNX runtime, and servers with faults."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from fairlead.bench.config import RawRequest, Target, Tls
from fairlead.bench.targets.preflight import Preflight, preflight
from patience import PATIENCE_S
from runtimes.onnx.graphs import scaled
from simulator.conftest import EngineProcess, start_engine

GENERATING = ("chat", "completions", "responses", "messages")


@pytest.fixture(scope="module")
def engine() -> EngineProcess:
    """One for all: each test asks a few times."""
    with asyncio.Runner() as runner:
        one = runner.run(start_engine("--ttft-ms", "1", "--itl-ms", "1", "--enable-prompt-tokens-details"))
        yield one
        runner.run(one.stop(signal.SIGKILL))


def only(found: Preflight) -> str:
    assert len(found.problems) == 1, found.problems
    return str(found.problems[0])


@pytest.mark.parametrize("api", GENERATING)
@pytest.mark.parametrize("stream", [True, False])
async def test_the_simulated_engine_can_be_asked(engine, api, stream):
    found = await preflight(Target(url=engine.url, model="tiny", api=api, stream=stream))
    assert found.ok and found.usage and found.streamed == stream and found.answer_s > 0
    assert (found.server.kind, found.server.models) == ("vllm", ("tiny",)) and found.server.version
    assert found.sending.ignore_eos == (api != "messages")
    # Anthropic's API has no way to force a length: whether it was kept is told.
    assert [p.field for p in found.problems if api != "messages"] == []


async def test_embeddings_can_be_asked(engine):
    found = await preflight(Target(url=engine.url, model="tiny", api="embeddings"))
    assert found.ok and not found.problems and found.streamed is False


async def test_wrong_models_paths_and_apis_say_what_would_be_right(engine):
    found = await preflight(Target(url=engine.url, model="tinny"))
    assert not found.ok and only(found).startswith("model is 'tinny': the server has no such model")
    assert only(found).endswith("write one of 'tiny'")
    found = await preflight(Target(url=engine.url, model="tiny", path="/chat/completions"))
    assert only(found).startswith("path is '/chat/completions': the server has no such page (404)")
    assert "/v1/chat/completions" in only(found)
    found = await preflight(Target(url=engine.url + "/llm", model="tiny"))
    assert "it has /v1/chat/completions" in only(found)
    found = await preflight(Target(url=engine.url, model="tiny", api="triton-generate"))
    assert not found.ok and found.problems[0].field in ("path", "model")
    found = await preflight(Target(url=engine.url, model="tiny", api="embeddings", path="/v1/models"))
    assert not found.ok and found.problems[0].field == "path"


async def test_the_onnx_runtime_tells_its_inputs(tmp_path):
    scaled(tmp_path / "double.onnx")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.runtimes.onnx", str(tmp_path), "--port", str(port := unused_port()),
        "--no-grpc",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await preflight(Target(url=url, model="double", api="open-inference"))).ok:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert not found.problems and found.server.kind == "fairlead-onnx"
        assert [(t.datatype, t.values) for t in found.server.tensors] == [("FP32", "numbers")]
        wrong = await preflight(Target(url=url, model="dubble", api="open-inference"))
        assert only(wrong).startswith("model is 'dubble'") and only(wrong).endswith("write one of 'double'")
    finally:
        process.kill()
        await process.wait()


# Servers that are otherwise

Handler = Callable[[web.Request, dict], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler, models: str = "", context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def chat(request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = {}
        return await handler(request, body)

    async def listed(_: web.Request) -> web.Response:
        if not models:
            raise web.HTTPNotFound
        return web.json_response({"data": [{"id": "m", "owned_by": models}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", listed)
    async with TestServer(app, scheme="https" if context else "http") as one:
        if context is None:
            yield f"http://127.0.0.1:{one.port}"
        else:
            yield f"https://127.0.0.1:{one.port}"


def answer(tokens: int | None, events: int = 16) -> bytes:
    said = b"".join(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n' for _ in range(events))
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": tokens}}
    return (
        said + (b"data: " + json.dumps(usage).encode() + b"\n\n" if tokens is not None else b"") + b"data: [DONE]\n\n"
    )


def stream(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/event-stream")


def refusal(status: int, message: str, **headers: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


async def test_a_strict_server_is_sent_what_it_takes():
    seen = []

    async def strict(_: web.Request, body: dict) -> web.Response:
        seen.append(sorted(body))
        for field in ("ignore_eos", "stream_options"):
            if field in body:
                return refusal(400, f"Unrecognized request argument supplied: {field}")
        if "max_tokens" in body:
            said = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return refusal(400, f"Unsupported parameter: {said}")
        return stream(answer(None))

    async with server(strict) as url:
        found = await preflight(Target(url=url, model="m"))
    assert found.ok and found.sending.told() == "max_completion_tokens"
    assert seen[-1] == ["max_completion_tokens", "messages", "model", "stream"]
    assert [p.field for p in found.problems] == ["tokenizer.source"] and found.usage is False


async def test_a_server_that_does_not_say_what_it_refuses():
    async def mute(_: web.Request, body: dict) -> web.Response:
        return refusal(400, "bad request") if "ignore_eos" in body else stream(answer(16))

    async with server(mute) as url:
        found = await preflight(Target(url=url, model="m"))
    assert found.ok and not found.sending.ignore_eos


async def test_an_answer_shorter_than_forced_and_events_of_several_tokens():
    async def short(_: web.Request, body: dict) -> web.Response:
        return stream(answer(9, events=3))

    async with server(short, models="vllm") as url:
        found = await preflight(Target(url=url, model="m"))
        assert found.ok and only(found).startswith("force_length is True: of 16 tokens that were asked for 9 came")
        assert found.sending.continuous_usage
        found = await preflight(Target(url=url, model="m", continuous_usage=False, force_length=False))
        assert not found.problems and not found.sending.continuous_usage


async def test_an_answer_in_one_piece_is_not_a_stream():
    async def whole(_: web.Request, body: dict) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "x"}, "finish_reason": "length"}],
                                  "usage": {"prompt_tokens": 3, "completion_tokens": 16}})  # fmt: skip

    async with server(whole) as url:
        found = await preflight(Target(url=url, model="m"))
    assert found.ok and found.streamed is False and only(found).startswith("stream is True: the answer came in one")


@pytest.mark.parametrize(
    ("reply", "told", "fatal"),
    [
        (lambda: refusal(401, "who?"), "BENCH_KEY': the key that is sent is not accepted (401: who?)", True),
        (lambda: refusal(503, "loading"), "the server is not ready (loading)", True),
        (lambda: refusal(429, "slowly"), "the server limits requests (slowly)", False),
        (lambda: refusal(500, "boom"), "the server fails (500: boom)", True),
        (lambda: refusal(307, "", Location="/there"), "is redirected to /there, which is not followed", True),
        (lambda: refusal(404, "model not found"), "model is 'm': the server has no such model", True),
        (lambda: refusal(422, "messages: too deep"), "the server refuses the request (422: messages: too deep)", True),
        (lambda: stream(b"data: hello\n\n"), "api is 'chat': the answer is of another kind", True),
        (lambda: stream(b'data: {"error": "no memory"}\n\n'), "the answer is an error", True),
        (lambda: web.Response(text="<html>"), "api is 'chat': the answer is of another kind", True),
    ],
)  # fmt: skip
async def test_refusals(monkeypatch, reply, told, fatal):
    monkeypatch.setenv("BENCH_KEY", "not-to-be-shown")

    async def refuse(_: web.Request, body: dict) -> web.Response:
        return reply()

    async with server(refuse) as url:
        found = await preflight(Target(url=url, model="m", key_env="BENCH_KEY"))
    assert told in only(found) and found.ok != fatal
    assert "not-to-be-shown" not in str(found)


async def test_a_server_without_end_is_given_up():
    async def endless(request: web.Request, body: dict) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with pytest.raises((ConnectionError, asyncio.CancelledError)):
            while True:
                await response.write(b": still here\n\n")
                await asyncio.sleep(0.02)
        return response

    async with server(endless) as url:
        found = await preflight(Target(url=url, model="m"), within_s=0.5)
    assert not found.ok and "no whole answer of 16 tokens within 0.5 s" in only(found)


async def test_what_is_not_there_or_is_no_http(tmp_path):
    found = await preflight(Target(url=f"http://127.0.0.1:{unused_port()}", model="m"))
    assert "nothing listens at 127.0.0.1:" in only(found)
    found = await preflight(Target(url="http://no-such-host.invalid", model="m"))
    assert "no address is known for no-such-host.invalid" in only(found)

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        writer.close()

    async with await asyncio.start_server(rude, "127.0.0.1", 0) as one:
        found = await preflight(Target(url=f"http://127.0.0.1:{one.sockets[0].getsockname()[1]}", model="m"))
    assert "what answers is not HTTP" in only(found)


async def test_tls_problems_name_the_field(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            body = answer(16)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            writer.write(body)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0, ssl=context) as one:
        at = f"127.0.0.1:{one.sockets[0].getsockname()[1]}"
        found = await preflight(Target(url=f"https://{at}", model="m"))
        assert only(found).startswith("tls.ca_file is None: the server's certificate does not pass")
        found = await preflight(Target(url=f"https://{at}", model="m", tls=Tls(ca_file=str(certificate))))
        assert only(found).startswith("tls.server_name is None")
        named = Tls(ca_file=str(certificate), server_name="bench.test")
        assert (await preflight(Target(url=f"https://{at}", model="m", tls=named))).ok
        assert (await preflight(Target(url=f"https://{at}", model="m", tls=Tls(insecure=True)))).ok
        found = await preflight(Target(url=f"http://{at}", model="m"))
        assert only(found).endswith(f"the server speaks TLS; write https://{at}")


async def test_tls_where_there_is_none():
    async def never(_: web.Request, body: dict) -> web.Response:
        raise AssertionError

    async with server(never) as url:
        found = await preflight(Target(url=url.replace("http:", "https:"), model="m"))
    assert only(found).endswith(f"the server does not speak TLS; write {url}")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of bench.test alone, and its own CA, with the key in the same file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench.test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bench.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(made.public_bytes(pem) + secret)
    return file


async def test_a_template_of_ones_own(engine):
    raw = RawRequest(
        body='{"model": "${model}", "prompt": "${prompt}", "max_tokens": ${output_tokens}, "ignore_eos": true}',
        text="/choices/0/text", output_tokens="/usage/completion_tokens", prompt_tokens="/usage/prompt_tokens",
    )  # fmt: skip
    found = await preflight(Target(url=engine.url, model="tiny", api="raw", path="/v1/completions", raw=raw))
    assert found.ok and not found.problems and found.usage
