"""A tenant that floods a small pool, priorities and queue bounds, through the real Envoy."""

from __future__ import annotations

import asyncio

import pytest

from gateway.faults import ask, many, nothing_in_flight, pool, start

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
        await asyncio.sleep(0.2)
        behind = []
        for _ in range(20):
            before = len(order)
            task = asyncio.create_task(one("b"))
            await asyncio.wait([task], timeout=30)
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
