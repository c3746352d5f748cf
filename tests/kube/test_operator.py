"""A small operator on a real API server: what the room is for, from one end to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fairlead.kube import (
    Client,
    Controller,
    EventRecorder,
    Informers,
    NotFound,
    ObjectKey,
    Resource,
    Result,
    run_controllers,
    wait_deleted,
    wait_for,
)
from fairlead.kube.kinds import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, EVENTS
from fairlead.kube.objects import ConfigMap, KubernetesObject, ObjectMeta, Part
from fairlead.kube.store import by_controller_uid


class GreetingSpec(Part, frozen=True, gc=False):
    names: list[str] = []


class GreetingStatus(Part, frozen=True, gc=False):
    greeted: int = 0


class Greeting(KubernetesObject, frozen=True, gc=False):
    spec: GreetingSpec = GreetingSpec()
    status: GreetingStatus = GreetingStatus()


class Greeter:
    """Keeps one ConfigMap per name of a Greeting, and says in its status how many there are."""

    def __init__(self, client: Client, greetings: Resource[Greeting], events: EventRecorder) -> None:
        self.informers = Informers(client)
        self._client = client
        self._resource = greetings
        self._events = events
        self._greetings = self.informers.informer(greetings)
        self._maps = self.informers.informer(CONFIG_MAPS, indexes={"owner": by_controller_uid})
        self.controller = Controller("greeter", self._reconcile, concurrency=2)
        self.controller.watch(self._greetings).owns(self._maps, "Greeting")

    async def _reconcile(self, key: ObjectKey) -> Result | None:
        greeting = self._greetings.store.get_key(key)
        if greeting is None or greeting.metadata.is_deleting:
            return None
        owned = {m.metadata.name: m for m in self._maps.store.by_index("owner", greeting.metadata.uid)}
        wanted = {f"{key.name}-{name}": name for name in greeting.spec.names}
        for name in wanted.keys() - owned.keys():
            owner = self._resource.owner_reference(greeting)
            metadata = ObjectMeta(name=name, namespace=key.namespace, owner_references=[owner])
            await self._client.apply(CONFIG_MAPS, ConfigMap(metadata=metadata, data={"text": f"Hello {wanted[name]}"}))
            self._events.normal(self._resource, greeting, "Greeted", f"Greeted {wanted[name]}")
        for name in owned.keys() - wanted.keys():
            await self._client.delete(CONFIG_MAPS, name, key.namespace, uid=owned[name].metadata.uid)
        if greeting.status.greeted != len(wanted):
            status = {"status": {"greeted": len(wanted)}}
            await self._client.patch(self._resource, key.name, status, key.namespace, subresource="status")
        return None


def definition(group: str) -> dict[str, Any]:
    properties = {
        "spec": {"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}},
        "status": {"type": "object", "properties": {"greeted": {"type": "integer"}}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
    }
    names = {"plural": "greetings", "kind": "Greeting"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": f"greetings.{group}"}, "spec": spec}


def greeted(count: int) -> Callable[[Greeting | None], bool]:
    return lambda greeting: greeting is not None and greeting.status.greeted == count


async def test_operator_converges_and_heals(client: Client, namespace: str) -> None:
    group = f"{namespace}.example.com"
    greetings = Resource.of(f"{group}/v1", "greetings", "Greeting", Greeting)
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(group))
    try:
        await wait_for(
            client,
            CUSTOM_RESOURCE_DEFINITIONS,
            f"greetings.{group}",
            None,
            lambda crd: any(
                c["type"] == "Established" and c["status"] == "True"
                for c in ((crd or {}).get("status") or {}).get("conditions") or ()
            ),
            timeout_s=10,
        )
        async with EventRecorder(client, "greeter") as events:
            greeter = Greeter(client, greetings, events)
            running = asyncio.create_task(run_controllers(greeter.informers, [greeter.controller]))
            try:
                await _exercise(client, greetings, namespace)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        told = await client.list(EVENTS, namespace, field_selector="reason=Greeted")
        assert {event.message for event in told.items} >= {"Greeted ada", "Greeted grace", "Greeted barbara"}
    finally:
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, f"greetings.{group}")


async def _exercise(client: Client, greetings: Resource[Greeting], namespace: str) -> None:
    metadata = ObjectMeta(name="hi", namespace=namespace)
    await client.create(greetings, Greeting(metadata=metadata, spec=GreetingSpec(names=["ada", "grace"])))
    with pytest.raises(NotFound):
        await client.get(greetings, "ho", namespace)
    await wait_for(client, greetings, "hi", namespace, greeted(2), timeout_s=10)
    ada = await client.get(CONFIG_MAPS, "hi-ada", namespace)
    assert ada.data == {"text": "Hello ada"}
    await client.delete(CONFIG_MAPS, "hi-ada", namespace)
    await wait_for(
        client,
        CONFIG_MAPS,
        "hi-ada",
        namespace,
        lambda found: found is not None and found.metadata.uid != ada.metadata.uid,
        timeout_s=10,
    )
    await client.patch(greetings, "hi", {"spec": {"names": ["barbara"]}}, namespace)
    await wait_for(client, greetings, "hi", namespace, greeted(1), timeout_s=10)
    for name in ("hi-ada", "hi-grace"):
        await wait_deleted(client, CONFIG_MAPS, name, namespace, timeout_s=10)
    found = await client.list(CONFIG_MAPS, namespace)
    assert [m.metadata.name for m in found.items if m.metadata.owner_references] == ["hi-barbara"]
    assert msgspec.to_builtins(found.items[-1])["metadata"]["namespace"] == namespace
