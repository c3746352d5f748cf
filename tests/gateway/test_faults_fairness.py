"""A tenant that floods a small pool, priorities and queue bounds, through the real Envoy."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.faults import CHAT, ask, eventually, many, nothing_in_flight, pool, start
from patience import PATIENCE_S

TENANT = "x-llm-d-inference-fairness-id"
OBJECTIVE = "x-llm-d-inference-objective"
REASON = "x-llm-d-request-dropped-reason"


async def _pool(stack, *arguments: str, engines: int = 1, config: str = "", **fields) -> None:
    for _ in range(engines):
        await stack.add_engine(*arguments)
    if config:
        (stack.folder / "picker.yaml").write_text(config)
        fields["config"] = "picker.yaml"
    await start(stack, pool(*(address for _, address in stack.engines), **fields))


@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "warm"])
@pytest.mark.parametrize(
    "small", [("--max-num-seqs", "4"), ("--num-gpu-blocks", "16")], ids=["small batch", "small cache"]
)
async def test_a_flood_of_one_tenant_does_not_make_another_wait_for_it(stack, small, warm):
    """By order, not by time: of what was answered when the other tenant's requests were, little is the flood's."""
    await _pool(stack, "--ttft-ms", "10", "--itl-ms", "10", *small)
    order: list[str] = []
    async with many() as session:

        async def one(tenant: str) -> int:
            status, _ = await ask(session, stack, max_tokens=8, ignore_eos=True, headers={TENANT: tenant})
            order.append(tenant)
            return status

        if warm:
            await asyncio.gather(*(one("a") for _ in range(60)))
            order.clear()
        flood = [asyncio.create_task(one("a")) for _ in range(500)]

        async def it_is_there() -> bool:
            return await stack.metric("fairlead_gateway_flow_control_queue_size") > 100

        await eventually(it_is_there)
        behind = []
        for _ in range(20):
            before = len(order)
            task = asyncio.create_task(one("b"))
            await asyncio.wait([task], timeout=PATIENCE_S)
            assert task.done() and task.result() == 200
            if order.count("a") < 480:
                behind.append(len(order) - 1 - before)
            await asyncio.sleep(0.05)
        # Answers of the flood between the coming of one of b's requests and its own answer.
        assert len(behind) >= 5
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
    # The first burst comes before anything is known of the engine.
    assert behind[0] <= 120, behind
    assert sorted(behind)[len(behind) // 2] <= 20 and max(behind[1:]) <= 40, behind
    await nothing_in_flight(stack)


_SMALL_QUEUE = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: least-cost-scorer
- {type: concurrency-detector, parameters: {maxConcurrency: 2}}
flowControl:
  maxRequests: 12
  defaultRequestTTL: 2s
  saturationDetector: {pluginRef: concurrency-detector}
"""


async def test_what_does_not_fit_is_refused_with_a_reason_and_when_to_come_again(stack):
    config = _SMALL_QUEUE.replace("TTL: 2s", "TTL: 30s")
    objectives = {"high": 10, "batch": -5}
    await _pool(stack, "--ttft-ms", "1000", "--itl-ms", "0", config=config, objectives=objectives)
    async with many() as session:

        async def one(objective: str = "") -> tuple[str, int, dict, float]:
            headers = {OBJECTIVE: objective} if objective else {}
            async with session.post(
                stack.url + "/v1/chat/completions",
                json={"model": "tiny", "messages": CHAT["messages"], "max_tokens": 1}, headers=headers,
            ) as response:  # fmt: skip
                return objective, response.status, dict(response.headers), len(await response.read())

        batch = [asyncio.create_task(one("batch")) for _ in range(14)]
        await stack.until("fairlead_gateway_flow_control_queue_size", 12)
        important = [asyncio.create_task(one("high")) for _ in range(4)]
        plain = [asyncio.create_task(one()) for _ in range(4)]
        answers = await asyncio.gather(*batch, *important, *plain)
    by_objective = {name: [a for a in answers if a[0] == name] for name in ("batch", "high", "")}
    assert {status for _, status, _, _ in by_objective["high"]} == {200}
    assert {status for _, status, _, _ in by_objective[""]} == {200}
    refused = [headers for _, status, headers, _ in by_objective["batch"] if status == 429]
    assert refused and len(refused) >= 8
    for headers in refused:
        lower = {name.lower(): value for name, value in headers.items()}
        assert int(lower["retry-after"]) >= 1
        assert lower[REASON] in ("evicted-priority", "rejected-saturated", "rejected-ttl-expired"), lower
    assert {status for _, status, _, _ in answers} == {200, 429}
    await nothing_in_flight(stack)


async def test_what_waits_too_long_is_refused(stack):
    await _pool(stack, "--ttft-ms", "5000", "--itl-ms", "0", config=_SMALL_QUEUE)
    async with many() as session:
        running = [asyncio.create_task(ask(session, stack, max_tokens=1)) for _ in range(2)]
        await stack.until_in_flight(2)
        status, answer = await ask(session, stack, max_tokens=1)
        assert status == 429
        assert json.dumps(answer).count("ttl") >= 1, answer
        assert [status for status, _ in await asyncio.gather(*running)] == [200, 200]


async def test_a_client_that_leaves_the_queue_makes_room(stack):
    config = _SMALL_QUEUE.replace("TTL: 2s", "TTL: 60s")
    await _pool(stack, "--ttft-ms", "4000", "--itl-ms", "0", config=config)
    async with many() as session:
        running = [asyncio.create_task(ask(session, stack, max_tokens=1)) for _ in range(2)]
        await stack.until_in_flight(2)
        gone = [asyncio.create_task(ask(session, stack, max_tokens=1)) for _ in range(12)]
        await stack.until("fairlead_gateway_flow_control_queue_size", 12)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert [status for status, _ in await asyncio.gather(*running)] == [200, 200]
        assert (await ask(session, stack, max_tokens=1))[0] == 200
    assert await stack.metric("fairlead_gateway_flow_control_queue_size") == 0
    await nothing_in_flight(stack)
