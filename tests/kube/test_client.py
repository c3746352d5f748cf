"""The client against a real API server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from fairlead.kube.client import Client
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import AlreadyExists, Conflict, Gone, Invalid, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.kinds import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, EVENTS, NODES, PODS
from fairlead.kube.objects import (
    ConfigMap,
    Container,
    Deployment,
    DeploymentSpec,
    LabelSelector,
    Node,
    ObjectMeta,
    Pod,
    PodSpec,
    PodTemplateSpec,
)
from fairlead.kube.pods import bind, evict
from fairlead.kube.resources import Resource, Unstructured
from patience import PATIENCE_S


def config_map(name: str, namespace: str, labels: dict[str, str] | None = None, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels or {}), data=data)


def pod(name: str, namespace: str) -> Pod:
    metadata = ObjectMeta(name=name, namespace=namespace, labels={"app": name})
    return Pod(metadata=metadata, spec=PodSpec(containers=[Container(name="main", image="busybox")]))


async def test_create_get_replace_delete(client: Client, namespace: str) -> None:
    made = ConfigMap(
        metadata=ObjectMeta(name="a", namespace=namespace), data={"x": "1"}, binary_data={"b": b"\x00\xff"}
    )
    created = await client.create(CONFIG_MAPS, made)
    assert created.metadata.uid
    assert created.binary_data == {"b": b"\x00\xff"}
    assert await client.get(CONFIG_MAPS, "a", namespace) == created
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAPS, made)
    changed = await client.replace(CONFIG_MAPS, msgspec.structs.replace(created, data={"x": "2"}))
    assert changed.data == {"x": "2"}
    with pytest.raises(Conflict):
        await client.replace(CONFIG_MAPS, created)
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "a", namespace, uid="another")
    assert (await client.delete(CONFIG_MAPS, "a", namespace, uid=created.metadata.uid))["status"] == "Success"
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, "a", namespace)


async def test_dry_run_stores_nothing(client: Client, namespace: str) -> None:
    await client.create(CONFIG_MAPS, config_map("dry", namespace), dry_run=True)
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, "dry", namespace)


async def test_invalid_objects_name_their_fields(client: Client, namespace: str) -> None:
    with pytest.raises(Invalid) as caught:
        await client.create(PODS, pod("Not_A_Name", namespace))
    assert [cause["field"] for cause in caught.value.causes] == ["metadata.name"]


async def test_lists_come_in_pages_and_whole(client: Client, namespace: str) -> None:
    for i in range(7):
        await client.create(CONFIG_MAPS, config_map(f"c{i}", namespace, {"odd": str(i % 2)}))
    whole = await client.list(CONFIG_MAPS, namespace, page=3, label_selector="odd")
    assert [item.metadata.name for item in whole.items] == [f"c{i}" for i in range(7)]
    assert whole.metadata.resource_version
    sizes = [len(page.items) async for page in client.pages(CONFIG_MAPS, namespace, page=3, label_selector="odd")]
    assert sizes == [3, 3, 1]
    odd = await client.list(CONFIG_MAPS, namespace, label_selector="odd=1")
    assert [item.metadata.name for item in odd.items] == ["c1", "c3", "c5"]
    one = await client.list(CONFIG_MAPS, namespace, field_selector="metadata.name=c2")
    assert [item.metadata.name for item in one.items] == ["c2"]
    await client.delete_collection(CONFIG_MAPS, namespace, label_selector="odd=0")
    assert len((await client.list(CONFIG_MAPS, namespace, label_selector="odd")).items) == 3


async def test_the_four_kinds_of_patch(client: Client, namespace: str) -> None:
    await client.create(CONFIG_MAPS, config_map("p", namespace, x="1"))
    merged = await client.patch(CONFIG_MAPS, "p", {"data": {"y": "2", "x": None}}, namespace)
    assert merged.data == {"y": "2"}
    operations = [{"op": "add", "path": "/data/z", "value": "3"}]
    assert (await client.patch(CONFIG_MAPS, "p", operations, namespace, kind="json")).data == {"y": "2", "z": "3"}
    labels = {"metadata": {"labels": {"a": "b"}}}
    assert (await client.patch(CONFIG_MAPS, "p", labels, namespace, kind="strategic")).metadata.labels == {"a": "b"}
    applied = await client.apply(CONFIG_MAPS, config_map("applied", namespace, k="v"), field_manager="one")
    assert applied.data == {"k": "v"}
    with pytest.raises(Conflict) as caught:
        await client.apply(CONFIG_MAPS, config_map("applied", namespace, k="w"), field_manager="two")
    assert [cause["field"] for cause in caught.value.causes] == [".data.k"]
    forced = await client.apply(CONFIG_MAPS, config_map("applied", namespace, k="w"), field_manager="two", force=True)
    assert forced.data == {"k": "w"}


async def test_modify_keeps_what_the_struct_does_not_know_and_survives_conflicts(
    client: Client, namespace: str
) -> None:
    whole = CONFIG_MAPS.as_unstructured()
    created = await client.create(CONFIG_MAPS, config_map("m", namespace, x="0"))

    async def add(number: int) -> ConfigMap:
        def change(obj: Unstructured) -> None:
            obj["data"][f"key-{number}"] = "here"

        return await client.modify(CONFIG_MAPS, "m", namespace, change)

    await asyncio.gather(*(add(number) for number in range(4)))
    stored = await client.get(whole, "m", namespace)
    assert set(stored["data"]) == {"x", *(f"key-{number}" for number in range(4))}
    assert stored["metadata"]["managedFields"]
    unchanged = await client.modify(CONFIG_MAPS, "m", namespace, lambda obj: None)
    assert unchanged.metadata.resource_version == stored["metadata"]["resourceVersion"]
    assert created.metadata.uid == unchanged.metadata.uid


async def test_watch_from_a_version_and_with_initial_events(client: Client, namespace: str) -> None:
    await client.create(CONFIG_MAPS, config_map("first", namespace))
    start = (await client.list(CONFIG_MAPS, namespace)).metadata.resource_version
    await client.create(CONFIG_MAPS, config_map("second", namespace))
    await client.delete(CONFIG_MAPS, "first", namespace)
    seen: list[tuple[str, str]] = []
    async with (
        asyncio.timeout(PATIENCE_S),
        aclosing(client.watch(CONFIG_MAPS, namespace, resource_version=start)) as events,
    ):
        async for event in events:
            seen.append((event.type, event.object.metadata.name))
            if len(seen) == 2:
                break
    assert seen == [("ADDED", "second"), ("DELETED", "first")]
    initial: list[str] = []
    async with (
        asyncio.timeout(PATIENCE_S),
        aclosing(client.watch(CONFIG_MAPS, namespace, initial_events=True)) as events,
    ):
        async for event in events:
            if event.is_initial_end:
                break
            initial.append(event.object.metadata.name)
    assert "second" in initial
    assert "first" not in initial


async def test_watch_ends_when_its_time_is_over(client: Client, namespace: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        events = [event async for event in client.watch(PODS, namespace, resource_version="0", timeout_s=1)]
    assert all(event.type == "BOOKMARK" for event in events)


async def test_forgotten_versions_raise_gone(scripted: Any, scripted_client: Client) -> None:
    scripted.put("a")
    scripted.compact()
    with pytest.raises(Gone, match="too old resource version"):
        async for _ in scripted_client.watch(PODS, resource_version="1"):
            pytest.fail("an event of a forgotten version")


async def test_pods_are_bound_and_evicted(client: Client, namespace: str) -> None:
    node = await client.create(NODES, Node(metadata=ObjectMeta(generate_name="kube-test-")))
    try:
        await client.create(PODS, pod("p", namespace))
        await bind(client, namespace, "p", node.metadata.name)
        bound = await client.get(PODS, "p", namespace)
        assert bound.spec.node_name == node.metadata.name
        with pytest.raises(Conflict):
            await bind(client, namespace, "p", "elsewhere")
        on_node = await client.list(PODS, field_selector=f"spec.nodeName={node.metadata.name}")
        assert [item.metadata.name for item in on_node.items] == ["p"]
        await evict(client, namespace, "p", grace_period_s=0)
        with pytest.raises(NotFound):
            await client.get(PODS, "p", namespace)
    finally:
        await client.delete(NODES, node.metadata.name)


async def test_scale(client: Client, namespace: str) -> None:
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"app": "web"}), spec=pod("x", namespace).spec)
    spec = DeploymentSpec(replicas=1, selector=LabelSelector(match_labels={"app": "web"}), template=template)
    metadata = ObjectMeta(name="web", namespace=namespace)
    await client.create(DEPLOYMENTS, Deployment(metadata=metadata, spec=spec))
    scaled = await client.scale(DEPLOYMENTS, "web", namespace, replicas=3)
    assert scaled.spec.replicas == 3
    assert (await client.scale(DEPLOYMENTS, "web", namespace)).spec.replicas == 3
    assert (await client.get(DEPLOYMENTS, "web", namespace)).spec.replicas == 3


async def test_discovery_finds_resources_by_any_name(client: Client) -> None:
    discovery = Discovery(client)
    assert (await discovery.find("po")).path("a", "b") == PODS.path("a", "b")
    assert (await discovery.find("Deployment")).identity == DEPLOYMENTS.identity
    assert (await discovery.find("deployments.apps")).identity == DEPLOYMENTS.identity
    assert not (await discovery.resource_for("v1", "Node")).namespaced
    with pytest.raises(NotFound, match='no matches for kind "Widget"'):
        await discovery.resource_for("v1", "Widget")
    with pytest.raises(NotFound, match="resource type"):
        await discovery.find("widgets")


async def test_custom_resources_need_no_struct(client: Client, namespace: str) -> None:
    group = f"{namespace}.example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition: dict[str, Any] = {
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    try:
        widgets = Resource.of(f"{group}/v1", "widgets", "Widget")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    made = await client.create(
                        widgets, {"metadata": {"name": "w", "namespace": namespace}, "spec": {"size": 3}}
                    )
                    break
                except NotFound:
                    await asyncio.sleep(0.05)
        assert made["spec"] == {"size": 3}
        assert [item["metadata"]["name"] for item in (await client.list(widgets)).items] == ["w"]
        assert (await Discovery(client).resource_for(f"{group}/v1", "Widget")).plural == "widgets"
    finally:
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, f"widgets.{group}")


async def test_repeated_events_are_counted(client: Client, namespace: str) -> None:
    about = await client.create(CONFIG_MAPS, config_map("subject", namespace))
    async with EventRecorder(client, "fairlead-test") as events:
        for _ in range(3):
            events.normal(CONFIG_MAPS, about, "Made", "it is made")
        events.warning(CONFIG_MAPS, about, "Broke", "it broke")
    selected = await client.list(EVENTS, namespace, field_selector="involvedObject.name=subject")
    told = {event.reason: (event.type, event.count, event.message) for event in selected.items}
    assert told == {"Made": ("Normal", 3, "it is made"), "Broke": ("Warning", 1, "it broke")}
