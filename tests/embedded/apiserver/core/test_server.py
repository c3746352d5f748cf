"""The server over its wire: what clients rely on."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, TCPConnector

from fairlead.embedded.apiserver.server import PortTaken, serve
from fairlead.embedded.apiserver.store import DataFolderLocked
from patience import PATIENCE_S

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


async def test_the_kubeconfig_is_private_and_lets_its_owner_in(client: Any) -> None:
    path = client.serving.kubeconfig
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = yaml.safe_load(path.read_text())
    assert document["clusters"][0]["cluster"]["server"] == client.serving.url
    status, found = await client("GET", "/api/v1/namespaces/kube-system")
    assert (status, found["metadata"]["labels"]) == (200, {"kubernetes.io/metadata.name": "kube-system"})


async def test_strangers_are_refused_with_a_status(client: Any) -> None:
    status, answer = await client("GET", "/api/v1/pods", headers={"Authorization": "Bearer nonsense"})
    assert (status, answer["kind"], answer["reason"]) == (401, "Status", "Unauthorized")
    status, _ = await client("GET", "/version", headers={"Authorization": ""})
    assert status == 200


async def test_a_second_server_names_the_folder_or_the_port(client: Any) -> None:
    folder: Path = client.serving.kubeconfig.parent
    with pytest.raises(DataFolderLocked, match=str(folder)):
        async with serve(folder):
            pass
    with pytest.raises(PortTaken, match=str(client.serving.port)):
        async with serve(folder / "other", client.serving.port):
            pass
    port = str(client.serving.port)
    for arguments in (["--data", str(folder / "third"), "--api-port", port], ["--data", str(folder)]):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.embedded.apiserver", *arguments, stderr=asyncio.subprocess.PIPE
        )
        _, error = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 1 and error.count(b"\n") == 1
        assert (port if len(arguments) > 2 else str(folder)).encode() in error


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path, connect: Any) -> None:
    async with serve(tmp_path) as serving, connect(serving) as client:
        created = await client.config_map("a", data={"k": "v"})
    async with serve(tmp_path) as serving, connect(serving) as client:
        assert await client("GET", f"{CONFIG_MAPS}/a") == (200, created)


async def test_a_stale_update_conflicts_and_a_plain_one_does_not(client: Any) -> None:
    created = await client.config_map("a", data={"k": "1"})
    status, updated = await client("PUT", f"{CONFIG_MAPS}/a", {**created, "data": {"k": "2"}})
    assert status == 200 and int(updated["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    status, answer = await client("PUT", f"{CONFIG_MAPS}/a", {**created, "data": {"k": "3"}})
    assert (status, answer["reason"]) == (409, "Conflict")
    status, again = await client("PUT", f"{CONFIG_MAPS}/a", updated)
    assert (status, again) == (200, updated)


async def test_concurrent_patches_are_all_kept(client: Any) -> None:
    await client.config_map("a")
    headers = {"Content-Type": "application/merge-patch+json"}
    patches = [
        client("PATCH", f"{CONFIG_MAPS}/a", {"data": {f"k{number}": "x"}}, headers=headers) for number in range(30)
    ]
    assert [status for status, _ in await asyncio.gather(*patches)] == [200] * 30
    _, found = await client("GET", f"{CONFIG_MAPS}/a")
    assert len(found["data"]) == 30


async def test_pages_are_one_snapshot(client: Any) -> None:
    for name in "abcde":
        await client.config_map(name)
    status, first = await client("GET", CONFIG_MAPS, limit=2)
    assert first["metadata"]["remainingItemCount"] == 3
    await client("DELETE", f"{CONFIG_MAPS}/d")
    await client.config_map("cc")
    names = [item["metadata"]["name"] for item in first["items"]]
    page = first
    while token := page["metadata"].get("continue"):
        status, page = await client("GET", CONFIG_MAPS, **{"limit": 2, "continue": token})
        assert status == 200 and page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [item["metadata"]["name"] for item in page["items"]]
    assert names == ["a", "b", "c", "d", "e"]


async def test_compacted_history_is_gone_for_lists_and_watches(client: Any) -> None:
    old = await client.config_map("a")
    await client.config_map("b")
    token = (await client("GET", CONFIG_MAPS, limit=1))[1]["metadata"]["continue"]
    await client.config_map("c")
    client.serving.store.compact(client.serving.store.version)
    status, answer = await client("GET", CONFIG_MAPS, **{"limit": 1, "continue": token})
    assert (status, answer["reason"]) == (410, "Expired")
    status, rest = await client("GET", CONFIG_MAPS, **{"continue": answer["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b", "c"]
    response = await client.raw(
        "GET", CONFIG_MAPS, watch="true", resourceVersion=old["metadata"]["resourceVersion"], timeoutSeconds=5
    )
    event = json.loads(await response.content.readline())
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    response.close()


async def test_a_watch_tells_each_change_once_and_in_order(client: Any) -> None:
    created = await client.config_map("a", metadata={"labels": {"keep": "yes"}})
    version = created["metadata"]["resourceVersion"]
    everything = await client.raw("GET", CONFIG_MAPS, watch="1", resourceVersion=version)
    selected = await client.raw(
        "GET", CONFIG_MAPS, watch="1", resourceVersion=version, labelSelector="keep=yes", allowWatchBookmarks="true"
    )
    merge = {"Content-Type": "application/merge-patch+json"}
    await client("PATCH", f"{CONFIG_MAPS}/a", {"data": {"k": "1"}}, headers=merge)
    await client("PATCH", f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"keep": "no"}}}, headers=merge)
    await client("PATCH", f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"keep": "yes"}}}, headers=merge)
    await client("DELETE", f"{CONFIG_MAPS}/a")

    async def types(response: Any, count: int) -> list[str]:
        lines = [json.loads(await response.content.readline()) for _ in range(count)]
        versions = [int(line["object"]["metadata"]["resourceVersion"]) for line in lines]
        assert versions == sorted(set(versions))
        response.close()
        return [line["type"] for line in lines]

    assert await types(everything, 4) == ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
    assert await types(selected, 4) == ["MODIFIED", "DELETED", "ADDED", "DELETED"]


async def test_a_watch_ends_in_time_with_a_bookmark_of_the_initial_events(client: Any) -> None:
    await client.config_map("a")
    response = await client.raw(
        "GET", CONFIG_MAPS, watch="1", sendInitialEvents="true", resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true", timeoutSeconds=1,
    )  # fmt: skip
    lines = [json.loads(line) for line in (await response.read()).splitlines()]
    assert [line["type"] for line in lines] == ["ADDED", "BOOKMARK"]
    assert lines[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_finalizers_keep_an_object_until_they_are_gone(client: Any) -> None:
    await client.config_map("a", metadata={"finalizers": ["example.com/x"]})
    status, marked = await client("DELETE", f"{CONFIG_MAPS}/a")
    assert status == 200 and marked["metadata"]["deletionTimestamp"]
    status, _ = await client("GET", f"{CONFIG_MAPS}/a")
    assert status == 200
    merge = {"Content-Type": "application/merge-patch+json"}
    status, _ = await client("PATCH", f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": None}}, headers=merge)
    assert status == 200
    status, _ = await client("GET", f"{CONFIG_MAPS}/a")
    assert status == 404


async def test_nothing_new_comes_into_a_namespace_that_ends(client: Any) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    assert (await client("POST", "/api/v1/namespaces", namespace))[0] == 201
    status, terminating = await client("DELETE", "/api/v1/namespaces/n")
    assert (status, terminating["status"]["phase"]) == (200, "Terminating")
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    status, answer = await client("POST", "/api/v1/namespaces/n/configmaps", config_map)
    assert (status, answer["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    status, _ = await client("PUT", "/api/v1/namespaces/n/finalize", {**terminating, "spec": {}})
    assert status == 200
    assert (await client("GET", "/api/v1/namespaces/n"))[0] == 404


async def test_bodies_beyond_the_limit_are_refused(client: Any) -> None:
    status, answer = await client("POST", CONFIG_MAPS, b'{"data":{"k":"' + b"x" * (3 << 20) + b'"}}')
    assert (status, answer["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_custom_resource_is_served_once_its_definition_is_established(client: Any) -> None:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"plural": "widgets", "kind": "Widget"}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await client("POST", crds, crd))[0] == 201
    for _ in range(100):
        _, found = await client("GET", f"{crds}/widgets.example.com")
        if any(c["type"] == "Established" for c in found["status"].get("conditions") or ()):
            break
        await asyncio.sleep(0.01)
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"x": 1}}
    assert (await client("POST", widgets, widget))[0] == 201
    assert (await client("GET", widgets))[1]["items"][0]["kind"] == "Widget"
    await client("DELETE", f"{crds}/widgets.example.com")
    for _ in range(200):
        if (await client("GET", f"{crds}/widgets.example.com"))[0] == 404:
            break
        await asyncio.sleep(0.01)
    response = await client.raw("GET", widgets)
    assert (response.status, await response.text()) == (404, "404 page not found\n")
    assert client.serving.store.count("/example.com/widgets/") == 0


async def test_many_watchers_see_every_event_of_a_storm(client: Any) -> None:
    watchers = [
        await client.raw("GET", CONFIG_MAPS, watch="1", resourceVersion="0", labelSelector="storm") for _ in range(10)
    ]

    async def count(response: Any) -> int:
        seen = 0
        while seen < 200:
            seen += (await response.content.readline()).startswith(b'{"type":"ADDED"')
        response.close()
        return seen

    counts = [asyncio.create_task(count(watcher)) for watcher in watchers]
    for start in range(0, 200, 20):
        writes = (client.config_map(f"s{n}", metadata={"labels": {"storm": "1"}}) for n in range(start, start + 20))
        await asyncio.gather(*writes)
    assert await asyncio.wait_for(asyncio.gather(*counts), PATIENCE_S) == [200] * 10


async def test_an_untrusted_client_does_not_connect(client: Any) -> None:
    async with ClientSession(connector=TCPConnector()) as session:
        with pytest.raises(OSError):
            await session.get(client.serving.url)
