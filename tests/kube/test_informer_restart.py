"""Informers against an API server that dies and comes back."""

from __future__ import annotations

import asyncio
from typing import Any

from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.kinds import CONFIG_MAPS, NAMESPACES
from fairlead.kube.objects import ConfigMap, Namespace, ObjectMeta
from fairlead.kube.transport import RetryPolicy
from patience import PATIENCE_S


async def test_copy_is_complete_after_the_server_was_killed(own_api_server: Any) -> None:
    told: list[tuple[str, str]] = []
    async with Client.load(own_api_server.kubeconfig, retry=RetryPolicy(first_delay_s=0.01)) as client:
        await client.create(NAMESPACES, Namespace(metadata=ObjectMeta(name="n")))

        async def put(name: str) -> None:
            await client.create(CONFIG_MAPS, ConfigMap(metadata=ObjectMeta(name=name, namespace="n")))

        informer = Informer(client, CONFIG_MAPS, "n", backoff=Backoff(0.05, 0.2))
        informer.add_handler(
            Handler(
                lambda obj: told.append(("add", obj.metadata.name)),
                lambda old, new: told.append(("update", new.metadata.name)),
                lambda obj: told.append(("delete", obj.metadata.name)),
            )
        )
        task = asyncio.create_task(informer.run())
        await informer.wait_synced(10)
        for i in range(5):
            await put(f"before-{i}")
        await asyncio.to_thread(own_api_server.kill)
        await asyncio.sleep(0.2)
        assert informer.last_error is not None
        await asyncio.to_thread(own_api_server.start)
        # Nothing has changed meanwhile, so no event says that the watch goes on; a bookmark would, much later.
        async with asyncio.timeout(PATIENCE_S / 3):
            while informer.last_error is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await client.delete(CONFIG_MAPS, "before-0", "n")
        for i in range(5):
            await put(f"after-{i}")
        async with asyncio.timeout(PATIENCE_S):
            while len(informer.store) != 9:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        task.cancel()
    assert len(told) == len(set(told))
    assert ("delete", "before-0") in told
    assert {name for kind, name in told if kind == "add"} == {
        *(f"before-{i}" for i in range(5)),
        *(f"after-{i}" for i in range(5)),
    }
