"""Pools, endpoints and configurations that change all the time, under load."""

from __future__ import annotations

import asyncio

from gateway.faults import ask, many, nothing_in_flight, pool, publish, start, stream

_CONFIGS = [
    "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: least-cost-scorer\n",
    "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: queue-scorer\n"
    "- type: prefix-cache-scorer\n",
    "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nfeatureGates: [flowControl]\nplugins:\n"
    "- type: least-cost-scorer\nflowControl: {maxRequests: 100}\n",
    "this is no: configuration: at all\n",
    "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: no-such-plugin\n",
    "",
]  # fmt: skip


async def test_fifty_changes_under_load_fail_no_request(stack):
    await asyncio.gather(*(stack.add_engine("--ttft-ms", "10", "--itl-ms", "5") for _ in range(4)))
    addresses = [address for _, address in stack.engines]
    (stack.folder / "picker.yaml").write_text(_CONFIGS[0])
    await start(stack, pool(*addresses, config="picker.yaml"))
    ended, outcomes = asyncio.Event(), []

    async def client(session, n: int) -> None:
        while not ended.is_set():
            if n % 2:
                status, _, complete = await stream(session, stack, max_tokens=20, ignore_eos=True)
                outcomes.append((status, complete))
            else:
                outcomes.append(((await ask(session, stack, max_tokens=5))[0], True))

    async with many() as session, asyncio.TaskGroup() as tasks:
        for n in range(12):
            tasks.create_task(client(session, n))
        for change in range(50):
            # Endpoints come and go, other pools come and go, the pool has other properties, its configuration changes.
            some = [a for n, a in enumerate(addresses) if (change + n) % 4]
            others = [pool(addresses[0], key=f"default/other-{n}", models=[f"o{n}"]) for n in range(change % 5)]
            config = {"config": "picker.yaml"} if change % 7 else {}
            publish(stack, pool(*some, objectives={"x": change}, **config), *others)
            (stack.folder / "picker.yaml").write_text(_CONFIGS[change % len(_CONFIGS)])
            if change % 10 == 5:
                (stack.folder / "endpoints.json").write_text("{")
            await asyncio.sleep(0.22)
        ended.set()
    assert len(outcomes) > 100
    assert set(outcomes) == {(200, True)}
    await nothing_in_flight(stack)


async def test_a_request_that_waits_goes_on_when_endpoints_change_and_is_told_when_its_pool_goes(stack):
    await asyncio.gather(*(stack.add_engine("--ttft-ms", "2000", "--itl-ms", "0") for _ in range(2)))
    one, two = [address for _, address in stack.engines]
    (stack.folder / "picker.yaml").write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nfeatureGates: [flowControl]\nplugins:\n"
        "- type: least-cost-scorer\n- {type: concurrency-detector, parameters: {maxConcurrency: 1}}\n"
        "flowControl: {saturationDetector: {pluginRef: concurrency-detector}}\n"
    )
    await start(stack, pool(one, config="picker.yaml"))
    async with many() as session:
        asked = [asyncio.create_task(ask(session, stack, max_tokens=1)) for _ in range(4)]
        await stack.until("fairlead_gateway_flow_control_queue_size", 3)
        publish(stack, pool(two, config="picker.yaml"))
        assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 4
        asked = [asyncio.create_task(ask(session, stack, max_tokens=1)) for _ in range(4)]
        await stack.until("fairlead_gateway_flow_control_queue_size", 3)
        publish(stack)
        answers = await asyncio.gather(*asked)
        assert sorted(status for status, _ in answers) == [200, 503, 503, 503], answers
        assert (await ask(session, stack))[0] == 404
