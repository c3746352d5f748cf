"""Requests of the Open Inference Protocol through the real Envoy to real ONNX servers."""

from __future__ import annotations

import asyncio
import json
import re
import sys

import aiohttp
import numpy as np
import pytest
import pytest_asyncio

from gateway.conftest import Stack
from patience import PATIENCE_S
from runtimes.onnx import graphs

ROWS, COLUMNS = 3, 5
ROUTED = 'fairlead_gateway_requests_routed_total{pool="default/doubled"}'


pytestmark = pytest.mark.xdist_group("model-in-path")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def onnx_stack(tmp_path_factory):
    """A gateway with two servers of the model `doubled`, which no test harms."""
    folder = tmp_path_factory.mktemp("onnx")
    stack = Stack(folder)
    file = graphs.scaled(folder / "models" / "doubled.onnx")
    addresses = []
    for _ in range(2):
        process = await stack._spawn(
            sys.executable, "-m", "fairlead.runtimes.onnx", str(file), "--port", "0", "--no-grpc",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        addresses.append(f"127.0.0.1:{int(re.findall(rb'[0-9]+', line)[0])}")
    stack.publish({"key": "default/doubled", "models": ["doubled"], "runtime": "onnx", "endpoints": addresses})
    await asyncio.gather(stack.start_picker(), stack.start_envoy())
    await stack.until_ready()
    yield stack
    await stack.stop()


def _json(rows=ROWS):
    data = [float(i) for i in range(rows * COLUMNS)]
    return {"inputs": [{"name": "x", "shape": [rows, COLUMNS], "datatype": "FP32", "data": data}]}


async def test_every_resource_of_a_model_is_reached_by_its_name_in_the_path(onnx_stack):
    url = onnx_stack.url
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/v2/models/doubled") as response:
            assert (await response.json())["inputs"][0]["name"] == "x"
        for path in ("ready", "versions/1/ready"):
            async with session.get(f"{url}/v2/models/doubled/{path}") as response:
                assert response.status == 200
        for path in ("infer", "versions/1/infer"):
            async with session.post(f"{url}/v2/models/doubled/{path}", json=_json()) as response:
                assert (await response.json())["outputs"][0]["data"] == [2.0 * i for i in range(ROWS * COLUMNS)]
        async with session.post(f"{url}/v1/models/doubled:predict", json={"instances": [[1, 2]]}) as response:
            assert await response.json() == {"predictions": [[2, 4]]}
        for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
            async with session.get(url + path) as response:
                assert response.status == 200
    await onnx_stack.until_in_flight(0)


@pytest.mark.parametrize("rows", [1, 3_000, 300_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_binary_bodies_of_any_size_pass_whole_both_ways(onnx_stack, rows, chunked):
    array = np.arange(rows * COLUMNS, dtype=np.float32).reshape(rows, COLUMNS)
    tensor = {
        "name": "x",
        "shape": [rows, COLUMNS],
        "datatype": "FP32",
        "parameters": {"binary_data_size": array.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = head + array.tobytes()

    async def parts():
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    headers = {"Inference-Header-Content-Length": str(len(head))}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{onnx_stack.url}/v2/models/doubled/infer", data=parts() if chunked else body, headers=headers
        ) as response,
    ):
        assert response.status == 200, await response.text()
        answer = await response.read()
        length = int(response.headers["Inference-Header-Content-Length"])
    assert np.array_equal(np.frombuffer(answer[length:], np.float32), array.ravel() * 2)


async def test_requests_spread_and_errors_pass_unchanged(onnx_stack):
    before = await onnx_stack.metric(ROUTED)
    async with aiohttp.ClientSession() as session:
        for _ in range(6):
            async with session.post(f"{onnx_stack.url}/v2/models/doubled/infer", json=_json()) as response:
                assert response.status == 200
        async with session.post(f"{onnx_stack.url}/v2/models/doubled/infer", data=b"{") as response:
            assert response.status == 400
            assert "not JSON" in (await response.json())["error"]
        async with session.get(f"{onnx_stack.url}/v2/models/doubled/versions/9") as response:
            assert response.status == 404
        async with session.post(f"{onnx_stack.url}/v2/models/nobody/infer", json=_json()) as response:
            assert response.status == 404
            assert "nobody" in (await response.json())["error"]
        async with session.post(f"{onnx_stack.url}/v2/repository/models/doubled/unload") as response:
            assert response.status == 404, "models are managed at their servers, not through the gateway"
    assert await onnx_stack.metric(ROUTED) - before == 8


async def test_a_body_beyond_the_limit_ends_with_413_and_leaves_nothing_in_flight(onnx_stack):
    async def endless():
        for _ in range(80):
            yield b"x" * (1 << 20)

    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(f"{onnx_stack.url}/v2/models/doubled/infer", data=endless()) as response:
                assert response.status == 413
        except aiohttp.ClientError:
            pass  # The connection may end while the client still sends.
        async with session.post(f"{onnx_stack.url}/v2/models/doubled/infer", json=_json()) as response:
            assert response.status == 200
    await onnx_stack.until_in_flight(0)


async def test_clients_that_leave_within_their_body_leave_nothing_in_flight(onnx_stack):
    port = onnx_stack.port
    writers = []
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v2/models/doubled/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b" " * 100_000
        )
        await writer.drain()
        writers.append(writer)
    await onnx_stack.until_in_flight(5)
    for writer in writers:
        writer.transport.abort()
    await onnx_stack.until_in_flight(0)
