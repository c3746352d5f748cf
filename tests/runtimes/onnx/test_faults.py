"""The server as a process: what kills it, what must not, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal

import aiohttp
import pytest

from patience import PATIENCE_S
from runtimes.onnx import graphs
from runtimes.onnx.conftest import spawn

SIZE = 1200
_ONE = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
_WIDE = {"inputs": [{"name": "x", "shape": [64, SIZE], "datatype": "FP32", "data": [1] * 64 * SIZE}]}


async def _metric(session, url, name):
    async with session.get(f"{url}/metrics") as response:
        return sum(float(line.split()[-1]) for line in (await response.text()).splitlines() if line.startswith(name))


async def _until(session, url, name, value):
    for _ in range(500):
        if await _metric(session, url, name) == value:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{name} is {await _metric(session, url, name)}, expected {value}")


async def test_sigterm_under_load_answers_what_is_here_and_then_ends_well(server, tmp_path):
    one = await server(graphs.slow(tmp_path / "m.onnx", SIZE), "--max-batch-size", "1", "--drain-timeout-s", "20")
    body = json.dumps(_WIDE).encode()
    async with aiohttp.ClientSession() as session:

        async def ask():
            async with session.post(f"{one.url}/v2/models/m/infer", data=body) as response:
                return response.status

        tasks = [asyncio.create_task(ask()) for _ in range(24)]
        for _ in range(500):
            if await _metric(session, one.url, "fairlead_onnx_in_flight_requests") >= 8:
                break
            await asyncio.sleep(0.005)
        one.signal(signal.SIGTERM)
        async with session.get(f"{one.url}/v2/health/live") as live:
            assert live.status == 200
        for _ in range(200):
            async with session.get(f"{one.url}/v2/health/ready") as ready:
                if ready.status == 503:
                    break
            await asyncio.sleep(0.002)
        assert ready.status == 503
        answers = await asyncio.gather(*tasks)
    assert answers.count(200) >= 8
    assert set(answers) <= {200, 503}
    assert await asyncio.wait_for(one.process.wait(), PATIENCE_S) == 0


async def test_an_execution_longer_than_the_drain_is_interrupted(server, tmp_path):
    one = await server(graphs.endless(tmp_path / "m.onnx"), "--drain-timeout-s", "1")
    body = json.dumps(_ONE).encode()
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.post(f"{one.url}/v2/models/m/infer", data=body))
        await _until(session, one.url, "fairlead_onnx_running_requests{", 1)
        one.signal(signal.SIGTERM)
        assert await asyncio.wait_for(one.process.wait(), PATIENCE_S) == 0
        answer = (await asyncio.gather(asking, return_exceptions=True))[0]
        assert isinstance(answer, aiohttp.ClientError) or answer.status == 500


async def test_killed_and_started_again_it_serves_at_once(server, tmp_path):
    file = graphs.scaled(tmp_path / "m.onnx")
    one = await server(file)
    one.signal(signal.SIGKILL)
    assert await asyncio.wait_for(one.process.wait(), PATIENCE_S) == -signal.SIGKILL
    again = await server(file, port=one.port)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{again.url}/v2/models/m/infer", json=_ONE) as response,
    ):
        assert response.status == 200


async def test_clients_that_go_away_leave_nothing_behind(server, tmp_path):
    one = await server(graphs.scaled(tmp_path / "m.onnx"), "--max-delay-ms", "30000")
    async with aiohttp.ClientSession() as session:
        tasks = [asyncio.create_task(session.post(f"{one.url}/v2/models/m/infer", json=_ONE)) for _ in range(10)]
        await _until(session, one.url, "nv_inference_pending_request_count{", 10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _until(session, one.url, "nv_inference_pending_request_count{", 0)
        await _until(session, one.url, "fairlead_onnx_in_flight_requests", 0)
        assert await _metric(session, one.url, 'nv_inference_request_failure{model="m"') == 10
        assert await _metric(session, one.url, 'fairlead_onnx_requests_total{code="499"') == 10


async def test_a_slow_client_is_given_up_and_hinders_nobody(server, tmp_path):
    one = await server(graphs.scaled(tmp_path / "m.onnx"), "--read-timeout-s", "1")
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{one.url}/v2/models/m/infer", json=_ONE) as response:
            assert response.status == 200
        assert await _metric(session, one.url, "fairlead_onnx_in_flight_requests") == 0
    assert b" 408 " in await asyncio.wait_for(reader.readline(), PATIENCE_S)
    writer.close()


async def test_a_huge_body_is_refused_while_it_comes(server, tmp_path):
    one = await server(graphs.scaled(tmp_path / "m.onnx"), "--max-body-mib", "1")

    async def endless():
        for _ in range(64):
            yield b"x" * (1 << 16)

    async with aiohttp.ClientSession() as session:
        async with session.post(f"{one.url}/v2/models/m/infer", data=endless()) as response:
            assert response.status == 413
        async with session.post(f"{one.url}/v2/models/m/infer", json=_ONE) as response:
            assert response.status == 200


async def test_sigterm_while_nothing_happens_ends_well(server, tmp_path):
    one = await server(graphs.scaled(tmp_path / "m.onnx"))
    one.signal(signal.SIGTERM)
    assert await asyncio.wait_for(one.process.wait(), PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["{}/broken.onnx", "--served-model-name", "m"], 1, "broken.onnx cannot be loaded"),
        (["{}/gone"], 1, "does not exist"),
        (["relative"], 2, "absolute path"),
        (["{}/broken.onnx", "--max-batch-size", "0"], 2, "max_batch_size"),
        (["{}/good.onnx", "--port", "70000"], 2, "a port is 0 to 65535"),
    ],
)
async def test_what_cannot_be_served_is_said_in_a_sentence(tmp_path, arguments, status, words):
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07garbage")
    graphs.scaled(tmp_path / "good.onnx")
    process = await spawn(
        *(a.format(tmp_path) for a in arguments), *([] if status == 2 else ["--port", "0", "--grpc-port", "0"])
    )
    _, error = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == status, error
    assert words in error.decode()
    assert "Traceback" not in error.decode()


async def test_a_taken_port_is_said_in_a_sentence(server, tmp_path):
    file = graphs.scaled(tmp_path / "m.onnx")
    one = await server(file)
    for ports in (["--grpc-port", "0", "--port", str(one.port)], ["--port", "0", "--grpc-port", str(one.grpc_port)]):
        process = await spawn(str(file), *ports)
        _, error = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 1
        assert "cannot listen: " in error.decode()
        assert ports[-1] in error.decode()
        assert "Traceback" not in error.decode()
