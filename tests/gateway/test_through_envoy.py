"""Requests through the real Envoy and a picker process to simulated engines."""

import asyncio
import json
import socket
import time
from collections import Counter

import aiohttp
import pytest
import pytest_asyncio

from fairlead.gateway.access_log import rotate_if_large
from fairlead.gateway.envoy import access_log, admin_socket
from gateway.conftest import Stack

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


async def _ask(session, stack, **extra):
    headers = extra.pop("headers", None)
    async with session.post(stack.url + "/v1/chat/completions", json={**CHAT, **extra}, headers=headers) as response:
        return response.status, await response.json()


async def _stream(session, stack, **extra):
    """Status, arrival times of the data lines, and whether the stream ended as it should."""
    times, complete = [], False
    body = {**CHAT, "stream": True, **extra}
    try:
        async with session.post(stack.url + "/v1/chat/completions", json=body) as response:
            async for line in response.content:
                if line.startswith(b"data: "):
                    times.append(time.monotonic())
                    complete = line == b"data: [DONE]\n"
            return response.status, times, complete
    except aiohttp.ClientError:
        return 0, times, False


async def test_an_answer_streams_through_piece_by_piece(stack):
    await stack.start(1, "--ttft-ms", "20", "--itl-ms", "30")
    async with aiohttp.ClientSession() as session:
        status, times, complete = await _stream(session, stack, max_tokens=20, ignore_eos=True)
        assert (status, complete) == (200, True)
        assert len(times) == 22
        assert times[-1] - times[0] >= 0.5
        assert (await _ask(session, stack, model="alias"))[0] == 200
        async with session.get(stack.url + "/v1/models") as response:
            assert [m["id"] for m in (await response.json())["data"]] == ["alias", "tiny"]
    await stack.until("fairlead_gateway_in_flight_requests", 0)
    # A scrape may correct the count in flight before the access log has told of the end.
    await stack.until("fairlead_gateway_requests_completed_total", 2)


@pytest.mark.xdist_group("shared-stack")
@pytest.mark.parametrize("size", [0, 1, 61_999, 62_000, 62_001, 200_000, 1_000_000, 5_000_000])
async def test_bodies_of_any_size_arrive_whole(shared_stack, size):
    async with aiohttp.ClientSession() as session:
        message = {"role": "user", "content": "x" * size}
        status, answer = await _ask(session, shared_stack, messages=[message], max_tokens=1)
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == -(-size // 4) + 5


async def test_load_spreads_evenly(stack):
    await stack.start(3, "--ttft-ms", "300", "--itl-ms", "0")
    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*(_ask(session, stack, max_tokens=1) for _ in range(30)))
        assert [status for status, _ in answers] == [200] * 30
        served = [await _served(session, address) for _, address in stack.engines]
    assert served == [10, 10, 10]
    await stack.until("fairlead_gateway_in_flight_requests", 0)


@pytest.mark.xdist_group("shared-stack")
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/chat/completions", b"{", 400, "invalid_request"),
        ("POST", "/v1/chat/completions", b"", 400, "invalid_request"),
        ("POST", "/v1/chat/completions", b"[]", 400, "invalid_request"),
        ("POST", "/v1/chat/completions", b'{"messages": []}', 400, "invalid_request"),
        ("POST", "/v1/chat/completions", b'{"model": 3}', 400, "invalid_request"),
        ("POST", "/v1/chat/completions", b'{"model": "no"}', 404, "model_not_found"),
        ("POST", "/v1/chat/completions", b'{"model": "empty"}', 503, "no_ready_endpoints"),
        ("GET", "/v1/chat/completions", None, 405, "method_not_allowed"),
        ("GET", "/v1/models/no", None, 404, "model_not_found"),
        ("POST", "/v1/nowhere", b"{}", 404, "unknown_url"),
        ("GET", "/metrics", None, 404, "unknown_url"),
    ],
)
async def test_errors_have_the_openai_form(shared_stack, method, path, body, status, code):
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, shared_stack.url + path, data=body) as response,
    ):
        assert response.status == status
        assert response.content_type == "application/json"
        error = (await response.json())["error"]
        assert error["code"] == code
        assert error["message"]
        if status == 503:
            assert int(response.headers["retry-after"]) >= 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_stack(tmp_path_factory):
    """One for a group of tests: they are about clients and change nothing in it."""
    stack = Stack(tmp_path_factory.mktemp("shared"))
    await stack.add_engine(
        "--max-model-len", "10000000", "--num-gpu-blocks", "100000", "--ttft-ms", "0", "--itl-ms", "0"
    )
    stack.publish({"key": "default/empty", "models": ["empty"], "endpoints": []})
    await asyncio.gather(stack.start_picker(), stack.start_envoy())
    await stack.until_ready()
    yield stack
    await stack.stop()


async def test_a_client_cannot_choose_its_endpoint(stack):
    await stack.start(1, "--ttft-ms", "0", "--itl-ms", "0")
    seen = []

    async def elsewhere(reader, writer):
        seen.append(await reader.read(100))
        writer.close()

    trap = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    address = f"127.0.0.1:{trap.sockets[0].getsockname()[1]}"
    names = [
        "x-gateway-destination-endpoint",
        "X-Gateway-Destination-Endpoint",
        "x-gateway-destination-endpoint-subset",
        "x-fairlead-fallback-endpoint-1",
        "x-fairlead-fallback-endpoint-2",
    ]
    async with aiohttp.ClientSession() as session:
        for name in names:
            assert (await _ask(session, stack, headers={name: address}))[0] == 200
            async with session.get(stack.url + "/v1/models", headers={name: address}) as response:
                assert response.status == 200
            # With its only engine gone the request must fail rather than go where the client says.
        await stack.kill(stack.engines[0][0])
        for name in names:
            status, answer = await _ask(session, stack, headers={name: address})
            assert status == 503
            assert answer["error"]["code"] == "endpoint_unreachable"
    assert seen == []
    trap.close()


async def test_a_killed_engine_harms_only_its_own_requests(stack):
    await stack.start(3, "--ttft-ms", "20", "--itl-ms", "20")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        streams = [asyncio.create_task(_stream(session, stack, max_tokens=150, ignore_eos=True)) for _ in range(12)]
        await stack.until_in_flight(12)
        await stack.kill(stack.engines[1][0])
        after = await asyncio.gather(*(_ask(session, stack, max_tokens=2) for _ in range(12)))
        assert [status for status, _ in after] == [200] * 12
        results = await asyncio.gather(*streams)
        outcomes = Counter(complete for _, _, complete in results)
        assert outcomes == {True: 8, False: 4}
        for _ in range(6):
            assert (await _ask(session, stack, max_tokens=1))[0] == 200
    await stack.until("fairlead_gateway_in_flight_requests", 0)


async def test_a_request_whose_engine_dies_before_answering_gets_a_clean_error(stack):
    await stack.start(1, "--ttft-ms", "60000")
    async with aiohttp.ClientSession() as session:
        waiting = asyncio.create_task(_ask(session, stack))
        await stack.until_in_flight(1)
        await stack.kill(stack.engines[0][0])
        status, answer = await waiting
    assert (status, answer["error"]["code"]) == (503, "endpoint_died")


async def test_an_endpoint_that_refuses_connections_is_replaced_before_the_client_notices(stack):
    await stack.start(1, "--ttft-ms", "50", "--itl-ms", "0")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        pool = {"key": "default/half", "models": ["half"], "runtime": "simulated"}
        stack.publish({**pool, "endpoints": [f"127.0.0.1:{port}", stack.engines[0][1]]})
        await stack.until('fairlead_gateway_endpoints{pool="default/half",state="ok"}', 1)
        async with aiohttp.ClientSession() as session:
            answers = await asyncio.gather(*(_ask(session, stack, model="half") for _ in range(6)))
        # The engine serves no such model: what matters is that it was asked.
        assert [status for status, _ in answers] == [404] * 6


async def test_streams_outlive_a_killed_picker_and_the_next_one_serves(stack):
    await stack.start(1, "--ttft-ms", "20", "--itl-ms", "20")
    async with aiohttp.ClientSession() as session:
        running = asyncio.create_task(_stream(session, stack, max_tokens=150, ignore_eos=True))
        await stack.until_in_flight(1)
        await stack.kill(stack.picker)
        status, answer = await _ask(session, stack)
        assert status == 503
        assert answer["error"]["code"] == "picker_unavailable"
        await stack.start_picker()
        await stack.until_ready()
        assert (await _ask(session, stack, max_tokens=1))[0] == 200
        status, times, complete = await running
        assert (status, complete, len(times)) == (200, True, 152)


async def test_a_removed_endpoint_gets_no_more_requests_while_its_streams_finish(stack):
    await stack.start(2, "--ttft-ms", "20", "--itl-ms", "20")
    async with aiohttp.ClientSession() as session:
        running = [asyncio.create_task(_stream(session, stack, max_tokens=150, ignore_eos=True)) for _ in range(2)]
        await stack.until_in_flight(2)
        gone = stack.engines.pop(0)
        stack.publish()
        await stack.until('fairlead_gateway_endpoints{pool="default/tiny"', 1)
        before = await _served(session, gone[1])
        assert [s for s, _ in [await _ask(session, stack, max_tokens=1) for _ in range(4)]] == [200] * 4
        assert all(complete for _, _, complete in await asyncio.gather(*running))
        assert await _served(session, gone[1]) - before <= 1


async def test_the_access_log_is_rotated_without_losing_a_line(stack):
    await stack.start(1, "--ttft-ms", "0", "--itl-ms", "0")
    path = access_log(stack.folder)
    async with aiohttp.ClientSession() as session:
        assert (await _ask(session, stack, max_tokens=1))[0] == 200
        for _ in range(60):
            if await rotate_if_large(path, admin_socket(stack.folder), max_bytes=10):
                break
            await asyncio.sleep(0.25)
        assert (await _ask(session, stack, max_tokens=1))[0] == 200
        for _ in range(60):
            files = [p for p in (path.with_name("access.log.1"), path) if p.exists()]
            lines = [line for file in files for line in file.read_text().splitlines()]
            routed = [json.loads(line) for line in lines if '"attempts":1' in line]
            if len(routed) == 2:
                break
            await asyncio.sleep(0.25)
    assert path.with_name("access.log.1").exists()
    assert [entry["endpoint"] for entry in routed] == [stack.engines[0][1]] * 2


async def test_chunked_uploads_and_keepalive_work(stack):
    await stack.start(1, "--ttft-ms", "0", "--itl-ms", "0")

    async def pieces():
        text = json.dumps({**CHAT, "max_tokens": 1}).encode()
        for at in range(0, len(text), 10):
            yield text[at : at + 10]
            await asyncio.sleep(0.005)

    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            headers = {"content-type": "application/json"}
            async with session.post(stack.url + "/v1/chat/completions", data=pieces(), headers=headers) as response:
                assert response.status == 200


async def _served(session, address):
    async with session.get(f"http://{address}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:request_success_total"))
