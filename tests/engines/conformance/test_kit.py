"""The conformance kit: Fairlead's own engines pass it, and each thing that a server can get wrong fails its check."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import aiohttp
import pytest
from aiohttp import web
from onnx import TensorProto, helper, save

from engines.conformance.live import free_port, running
from fairlead.engines import (
    Adapter,
    AdapterSettings,
    CacheSettings,
    KvEventPublishing,
    engine_for,
)
from fairlead.engines.conformance import CHECKS, CheckFailed, Result, Target, examine

SIMULATED = engine_for("simulated")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running(SIMULATED) as (url, _):
        yield url


def target(url: str, **fields: object) -> Target:
    return Target(SIMULATED, url, "m", nonce=os.urandom(4).hex(), **fields)


async def run_check(name: str, examined: Target) -> str | None:
    """One check by name. Raises what it raises."""
    check = next(c for c in CHECKS if c.name == name)
    async with aiohttp.ClientSession() as session:
        examined.session = session
        return await check.run(examined)


def test_the_simulated_engine_passes_every_check(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    endpoint = f"ipc://{tmp_path}/kv"
    settings = {
        "adapters": AdapterSettings(max_count=2),
        "cache": CacheSettings(block_tokens=16, prefix_caching=True),
        "kv_events": KvEventPublishing(endpoint, topic="kv@127.0.0.1:1@m"),
    }

    async def all_results(url: str, process_id: int) -> list[Result]:
        adapter = Adapter("style", str(tmp_path))
        examined = target(url, names=("m", "alias"), adapter=adapter, kv_endpoint=endpoint, process_id=process_id)
        return [result async for result in examine(examined)]

    with running(SIMULATED, aliases=("alias",), **settings) as (url, process_id):
        results = asyncio.run(all_results(url, process_id))
    assert [r for r in results if r.outcome != "pass"] == []
    assert len(results) == len([c for c in CHECKS if c.api in ("any", "openai")])


def test_the_onnx_runtime_passes_every_check_of_its_protocol(tmp_path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", [value], [result])
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "twice.onnx")
    engine = engine_for("onnx")

    async def all_results(url: str) -> list[Result]:
        return [result async for result in examine(Target(engine, url, "twice", nonce=os.urandom(4).hex()))]

    with running(engine, model="twice", source=str(tmp_path / "twice.onnx")) as (url, _):
        results = asyncio.run(all_results(url))
    assert [r for r in results if r.outcome != "pass"] == []
    assert len(results) == len([c for c in CHECKS if c.api in ("any", "open-inference")])


async def through_proxy(
    upstream: str, spoil: Callable[[str, bytes], tuple[int | None, bytes]], name: str
) -> str | None:
    """Run a check against a proxy of the server that spoils answers: (path, body) -> (another status or None, body)."""

    async def forward(request: web.Request) -> web.Response:
        async with aiohttp.ClientSession() as session:
            body = await request.read()
            headers = {"Content-Type": "application/json"}
            async with session.request(request.method, upstream + request.path, data=body, headers=headers) as answer:
                status, spoiled = spoil(request.path, await answer.read())
                kind = answer.headers.get("Content-Type", "text/plain").split(";")[0]
                return web.Response(status=status or answer.status, body=spoiled, content_type=kind)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        return await run_check(name, target(f"http://127.0.0.1:{port}", patience_s=0.3))
    finally:
        await runner.cleanup()


def changed(path: str, edit: Callable[[dict[str, object]], None]) -> Callable[[str, bytes], tuple[int | None, bytes]]:
    def spoil(asked: str, body: bytes) -> tuple[int | None, bytes]:
        if asked != path:
            return None, body
        answer = json.loads(body)
        edit(answer)
        return None, json.dumps(answer).encode()

    return spoil


def replaced(path: str, old: bytes, new: bytes, status: int | None = None):
    return lambda asked, body: (status, body.replace(old, new)) if asked == path else (None, body)


FAULTS = {
    "health": (replaced("/health", b"", b"", status=503), "ready and alive", "HTTP 503"),
    "no models": (
        changed("/v1/models", lambda a: a.update(data=[])),
        "models are listed under every name",
        r"not \['m'\]",
    ),
    "no choices": (changed("/v1/completions", lambda a: a.update(choices=[])), "completion", "0 choices"),
    "no usage": (changed("/v1/completions", lambda a: a.pop("usage")), "completion", "no usage"),
    "usage does not add up": (
        changed("/v1/completions", lambda a: a["usage"].update(total_tokens=1)),
        "completion",
        "total_tokens is 1",
    ),
    "no end of the stream": (
        replaced("/v1/completions", b"data: [DONE]", b""),
        "completion, streamed",
        r"without \[DONE\]",
    ),
    "broken event": (replaced("/v1/chat/completions", b'data: {"id"', b'data: {"id'), "chat, streamed", "no JSON"),
    "no message": (
        changed("/v1/chat/completions", lambda a: a["choices"][0].pop("message")),
        "chat",
        "a choice without text",
    ),
    "unknown model served": (
        replaced("/v1/completions", b"", b"", status=200),
        "unknown model is refused",
        "HTTP 200, not 404",
    ),
    "error without words": (
        replaced("/v1/completions", b'"message"', b'"words"'),
        "malformed JSON is refused",
        "without error.message",
    ),
    "tokens not counted": (
        replaced("/metrics", b"\nvllm:generation_tokens_total{", b"\nvllm:generation_tokens_total{x=\"1\",} 0\nother{"),
        "counters follow requests",
        "counters did not grow",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_server_gets_wrong_fails_its_check(server, fault):
    spoil, check, reason = FAULTS[fault]
    with pytest.raises(CheckFailed, match=reason):
        asyncio.run(through_proxy(server, spoil, check))


@pytest.mark.parametrize("check", sorted({check for _, check, _ in FAULTS.values()}))
def test_a_proxy_that_spoils_nothing_passes(server, check):
    asyncio.run(through_proxy(server, lambda _, body: (None, body), check))


def test_a_server_that_is_not_there_fails():
    async def all_results() -> list[Result]:
        return [result async for result in examine(target(f"http://127.0.0.1:{free_port()}", patience_s=0.1))]

    results = asyncio.run(all_results())
    assert {r.outcome for r in results} == {"fail", "not supported"}
    assert all(r.reason for r in results)


def test_the_command_examines_a_server(server):
    command = (sys.executable, "-m", "fairlead.cli.main", "engines", "check", server, "--runtime", "simulated")
    done = subprocess.run((*command, "-o", "json"), capture_output=True, text=True, timeout=120)
    results = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert [r["check"] for r in results] == [c.name for c in CHECKS if c.api in ("any", "openai")]
    assert {r["outcome"] for r in results} == {"pass", "not supported"}
    wrong = subprocess.run((*command, "--name", "absent"), capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 1
    assert "fail           models are listed under every name: /v1/models lists ['m'], not ['absent']" in wrong.stdout
