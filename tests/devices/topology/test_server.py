"""Topograph's HTTP API over a real socket."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fairlead.clock import VirtualClock
from fairlead.devices.topology.jobs import Answer, Jobs, JobSettings, QueueFull
from fairlead.devices.topology.providers.inputs import Inputs
from fairlead.devices.topology.server import ServerOptions, TopologyServer

QUICK = JobSettings(delay_s=0, first_backoff_s=0.01)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    (tmp_path / "tree.yaml").write_text("switches: {s: {switches: [l]}}\nblocks: [{switch: l, nodes: ['n[1-3]']}]")
    (tmp_path / "racks.csv").write_text("node,rack,domain\nn[1-2],r1,d\n")
    slow = web.Application()

    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits that long")

    slow.router.add_get("/", hang)
    slow_server = TestServer(slow)
    await slow_server.start_server(shutdown_timeout=0.1)
    options = ServerOptions(
        inputs=Inputs(folder=tmp_path, timeout_s=0.1),
        endpoints={"aws": str(slow_server.make_url("/")), "gcp": "http://127.0.0.1:1/"},
        jobs=QUICK,
    )
    server = TestServer(TopologyServer(options).app)
    await server.start_server(shutdown_timeout=0.1)
    async with aiohttp.ClientSession(server.make_url("/")) as session:
        yield session
    await server.close()
    await slow_server.close()


def _failing(status: int, message: str) -> bytes:
    params = {"generateResponseCode": status, "errorMessage": message}
    return json.dumps({"provider": {"name": "test", "params": params}, "engine": {"name": "slurm"}}).encode()


async def _ask(
    api: aiohttp.ClientSession, provider: dict[str, Any], engine: dict[str, Any], **more: Any
) -> tuple[int, str]:
    async with api.post("/v1/generate", json={"provider": provider, "engine": engine, **more}) as answer:
        assert answer.status == 202, await answer.text()
        uid = await answer.text()
    for _ in range(600):
        async with api.get("/v1/topology", params={"uid": uid}) as answer:
            if answer.status != 202:
                return answer.status, await answer.text()
        await asyncio.sleep(0.02)
    raise AssertionError("still pending")


async def test_a_tree_of_the_test_provider(api: aiohttp.ClientSession) -> None:
    assert await _ask(api, {"name": "test"}, {"name": "slurm"}) == (
        200,
        "SwitchName=S1 Switches=S[2-3]\nSwitchName=S2 Nodes=Node[201-202,205]\nSwitchName=S3 Nodes=Node[304-306]\n",
    )
    status, text = await _ask(api, {"name": "test", "params": {"modelFileName": "tree.yaml"}}, {"name": "slurm"})
    assert (status, text) == (200, "SwitchName=s Switches=l\nSwitchName=l Nodes=n[1-3]\n")


async def test_files_of_the_folder_and_only_those(api: aiohttp.ClientSession) -> None:
    status, text = await _ask(
        api, {"name": "file", "params": {"input": "racks.csv"}}, {"name": "graph"},
        nodes=[{"region": "r", "instances": {"i-1": "n1"}}],
    )  # fmt: skip
    assert status == 200
    assert json.loads(text)["instances"] == [
        {"id": "i-1", "node": "n1", "network_layers": ["r1"],
         "labels": {"accelerator.topograph.run/domain": "d", "topology.kubernetes.io/region": "r"}}
    ]  # fmt: skip
    for name in ("../racks.csv", "/etc/passwd", "..", ""):
        status, text = await _ask(api, {"name": "file", "params": {"input": name}}, {"name": "graph"})
        assert (status, "bare file name" in text) == (400, True)


async def test_a_source_that_hangs_or_is_away_is_tried_again_and_told(api: aiohttp.ClientSession) -> None:
    status, text = await _ask(api, {"name": "aws"}, {"name": "slurm"})
    assert (status, "within 0.1 s" in text) == (503, True)
    status, _ = await _ask(api, {"name": "gcp"}, {"name": "slurm"})
    assert status == 503


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "failed to parse payload"),
        (b'{"nodes": 3}', 400, "failed to parse payload"),
        (b"", 400, "no provider given"),
        (b'{"provider": {"name": "x"}}', 400, "unsupported provider x"),
        (b'{"provider": {"name": "test"}}', 400, "no engine given"),
        (b'{"provider": {"name": "test"}, "engine": {"name": "x"}}', 400, "unsupported engine x"),
        (b'{"provider": {"name": "test"}, "engine": {"name": "slinky"}}', 400, "use slurm"),
        (b'{"provider": {"name": "test"}, "engine": {"name": "k8s"}}', 400, "no Kubernetes API"),
        (_failing(405, "no"), 405, "no"),
        (_failing(99, ""), 400, "Unsupported response code"),
    ],
)  # fmt: skip
async def test_refusals(api: aiohttp.ClientSession, body: bytes, status: int, message: str) -> None:
    async with api.post("/v1/generate", data=body) as answer:
        assert answer.status == status
        assert message in await answer.text()


async def test_simulated_failures_and_unknown_ids(api: aiohttp.ClientSession) -> None:
    params = {"topologyResponseCode": 500, "errorMessage": "failed to populate"}
    assert await _ask(api, {"name": "test", "params": params}, {"name": "slurm"}) == (500, "failed to populate\n")
    async with api.get("/v1/topology", params={"uid": "beef"}) as answer:
        assert (answer.status, await answer.text()) == (404, "request ID beef not found\n")
    async with api.get("/v1/topology") as answer:
        assert answer.status == 400
    async with api.get("/v1/generate") as answer:
        assert (answer.status, await answer.text()) == (405, "Invalid request method\n")
    async with api.get("/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "OK\n")
    async with api.get("/metrics") as answer:
        text = await answer.text()
        assert 'topograph_requests_total{provider="test",engine="slurm",status="500"} 5' in text
        assert "topograph_version" in text


async def test_equal_requests_within_the_delay_are_one_run() -> None:
    clock, runs = VirtualClock(), []

    async def perform(request: str) -> Answer:
        runs.append(request)
        return Answer(200, b"done")

    jobs: Jobs[str] = Jobs(perform, JobSettings(delay_s=10, keep_s=100, most_waiting=2), clock)
    jobs.submit("a", "1")
    await clock.advance(6)
    jobs.submit("a", "1")
    await clock.advance(6)
    assert (runs, jobs.answer("1").status) == ([], 202)
    jobs.submit("b", "2")
    with pytest.raises(QueueFull):
        jobs.submit("c", "3")
    await clock.advance(20)
    assert (sorted(runs), jobs.answer("1"), jobs.pending) == (["a", "b"], Answer(200, b"done"), 0)
    await clock.advance(200)
    assert jobs.answer("1").status == 404
    await jobs.close()


async def test_an_older_run_does_not_answer_for_a_newer_one() -> None:
    clock, answers = VirtualClock(), iter([b"old", b"new"])

    async def perform(_: str) -> Answer:
        body = next(answers)
        await clock.sleep(30)
        return Answer(200, body)

    jobs: Jobs[str] = Jobs(perform, JobSettings(delay_s=1), clock)
    jobs.submit("a", "1")
    await clock.advance(5)
    jobs.submit("a", "1")
    await clock.advance(28)
    assert jobs.answer("1").status == 202
    await clock.advance(60)
    assert jobs.answer("1") == Answer(200, b"new")
    await jobs.close()


async def test_only_so_many_answers_are_kept() -> None:
    async def perform(request: str) -> Answer:
        return Answer(200, request.encode())

    clock = VirtualClock()
    jobs: Jobs[str] = Jobs(perform, JobSettings(delay_s=0, most_kept=3, most_waiting=100), clock)
    for number in range(10):
        jobs.submit(str(number), str(number))
        await clock.advance(1)
    assert [jobs.answer(str(number)).status for number in range(10)].count(200) == 3
    assert jobs.answer("9") == Answer(200, b"9")
    await jobs.close()


async def _until_idle(jobs: Jobs[str]) -> None:
    for _ in range(100):
        if not jobs.pending:
            return
        await asyncio.sleep(0)
    raise AssertionError("the jobs do not end")


async def test_a_request_that_breaks_is_answered_and_forgotten() -> None:
    async def broken(_: str) -> Answer:
        raise RuntimeError("out of cheese")

    clock = VirtualClock()
    jobs: Jobs[str] = Jobs(broken, JobSettings(delay_s=0, most_kept=3), clock)
    for number in range(9):
        jobs.submit("x", f"id{number}")
        await _until_idle(jobs)
    assert jobs.answer("id8").status == 500 and b"out of cheese" in jobs.answer("id8").body
    assert jobs.answer("id0").status == 404


async def test_answers_that_say_pending_are_forgotten_as_well() -> None:
    async def pending(_: str) -> Answer:
        return Answer(202, b"still thinking")

    jobs: Jobs[str] = Jobs(pending, JobSettings(delay_s=0, most_kept=3), VirtualClock())
    for number in range(9):
        jobs.submit("x", f"id{number}")
        await _until_idle(jobs)
    assert [jobs.answer(f"id{number}").status for number in (0, 8)] == [404, 202]


async def test_deep_requests_and_odd_file_names_are_refused(api: aiohttp.ClientSession, tmp_path: Path) -> None:
    deep = b'{"provider":{"params":{"a":' + b"[" * 100_000
    async with api.post("/v1/generate", data=deep) as answer:
        assert answer.status == 400
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "not an ordinary file"), ("a\0b", "not a file name")):
        status, text = await _ask(api, {"name": "file", "params": {"input": name}}, {"name": "graph"})
        assert status == 400 and message in text
