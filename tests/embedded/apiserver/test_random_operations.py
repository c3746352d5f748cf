"""Random operations over several kinds, checked step by step against a small model of what must hold."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from embedded.apiserver.object_model import (
    History,
    Kind,
    Object,
    check_ownership,
    check_successor,
    content,
    version_of,
)
from patience import PATIENCE_S

STEPS = 260
NAMES = ("a", "b", "c", "d")
NAMESPACE = "/namespaces/default"
KINDS = (
    Kind(f"/api/v1{NAMESPACE}/configmaps", "v1", "ConfigMap", has_generation=False),
    Kind(f"/apis/apps/v1{NAMESPACE}/deployments", "apps/v1", "Deployment", has_generation=True),
    Kind(f"/apis/example.com/v1{NAMESPACE}/widgets", "example.com/v1", "Widget", has_generation=True),
)
ITEM = {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}, "required": ["name"]}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "colour": {"type": "string", "default": "grey"},
                                    "items": {
                                        "type": "array",
                                        "items": ITEM,
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                    },
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Operations:
    """Runs operations and knows what was committed."""

    def __init__(self, client: Any, seed: int) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.last_version = 0
        # (path of the collection, name) -> the state that was acknowledged last
        self.live: dict[tuple[str, str], Object] = {}
        # earlier states of what lives, for stale writes
        self.stale: dict[tuple[str, str], list[Object]] = {}
        self.history = {kind.path: History() for kind in KINDS}
        self.begin = 0

    async def prepare(self) -> None:
        status, answer = await self.client("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
        assert status == 201, answer
        for _ in range(100):
            status, found = await self.client("GET", KINDS[2].path)
            if status == 200:
                break
            await asyncio.sleep(0.05)
        self.begin = self.last_version = int(found["metadata"]["resourceVersion"])

    async def run(self, steps: int) -> None:
        operations: list[tuple[int, Callable[[Kind, str], Awaitable[None]]]] = [
            (6, self.create), (5, self.replace), (4, self.replace_stale), (8, self.patch), (5, self.apply),
            (3, self.change_nothing), (2, self.status), (2, self.dry_run), (4, self.delete), (3, self.finalizers),
            (2, self.pages), (1, self.watch),
        ]  # fmt: skip
        weights, choices = [weight for weight, _ in operations], [operation for _, operation in operations]
        for _ in range(steps):
            [operation] = self.random.choices(choices, weights)
            await operation(self.random.choice(KINDS), self.random.choice(NAMES))
        for kind in KINDS:
            await self.pages(kind, "")
            await self.watch(kind, "")

    # operations

    async def create(self, kind: Kind, name: str) -> None:
        wanted = self.wanted(kind, name)
        status, answer = await self.client("POST", kind.path, wanted)
        if (kind.path, name) in self.live:
            assert (status, answer["reason"]) == (409, "AlreadyExists")
        else:
            assert status == 201, answer
            self.committed(kind, answer, wanted)

    async def replace(self, kind: Kind, name: str) -> None:
        current = self.live.get((kind.path, name))
        wanted = self.wanted(kind, name) if current is None else self.changed(kind, current)
        if current is not None and self.random.random() < 0.3:
            del wanted["metadata"]["resourceVersion"]
            if kind.kind == "Widget":
                status, answer = await self.client("PUT", f"{kind.path}/{name}", wanted)
                assert (status, answer["reason"]) == (422, "Invalid")
                return
        await self.write(kind, name, "PUT", wanted)

    async def replace_stale(self, kind: Kind, name: str) -> None:
        earlier = self.stale.get((kind.path, name))
        if not earlier:
            return
        wanted = self.changed(kind, self.random.choice(earlier))
        status, answer = await self.client("PUT", f"{kind.path}/{name}", wanted)
        assert (status, answer["reason"]) == (409, "Conflict"), answer
        status, found = await self.client("GET", f"{kind.path}/{name}")
        assert (status, found) == (200, self.live[kind.path, name])

    async def patch(self, kind: Kind, name: str) -> None:
        form = self.random.choice(("json", "merge", "strategic"))
        key, value = self.random.choice("xyz"), self.random.choice(("1", "2", None))
        if form == "strategic" and kind.kind == "Widget":
            status, _ = await self.client("PATCH", f"{kind.path}/{name}", {}, headers={"Content-Type": PATCHES[form]})
            assert status == 415
            return
        body: Any = {"metadata": {"labels": {key: value}}}
        if form == "json":
            current = self.live.get((kind.path, name), {"metadata": {}})
            labels = {**current["metadata"].get("labels", {}), key: value or "0"}
            body = [{"op": "add", "path": "/metadata/labels", "value": labels}]
        elif self.random.random() < 0.5 and kind.kind != "ConfigMap":
            field = "replicas" if kind.kind == "Deployment" else "colour"
            body = {"spec": {field: self.random.randrange(2, 5) if field == "replicas" else self.random.choice("rgb")}}
        await self.write(kind, name, "PATCH", body, headers={"Content-Type": PATCHES[form]})

    async def apply(self, kind: Kind, name: str) -> None:
        wanted = self.wanted(kind, name)
        for key in self.random.sample(sorted(wanted["metadata"]["labels"]), 1):
            del wanted["metadata"]["labels"][key]
        manager, force = f"m{self.random.randrange(3)}", self.random.random() < 0.6
        existed = (kind.path, name) in self.live
        status, answer = await self.client(
            "PATCH", f"{kind.path}/{name}", wanted, headers={"Content-Type": PATCHES["apply"]},
            fieldManager=manager, force=str(force).lower(),
        )  # fmt: skip
        if status == 409:
            assert existed and not force
            assert all(cause["reason"] == "FieldManagerConflict" for cause in answer["details"]["causes"])
            return
        assert status == (200 if existed else 201), answer
        self.committed(kind, answer, wanted)
        again = await self.client(
            "PATCH", f"{kind.path}/{name}", wanted, headers={"Content-Type": PATCHES["apply"]},
            fieldManager=manager, force="true",
        )  # fmt: skip
        assert again == (200, answer)

    async def change_nothing(self, kind: Kind, name: str) -> None:
        current = self.live.get((kind.path, name))
        if current is None:
            return
        assert await self.client("PUT", f"{kind.path}/{name}", current) == (200, current)
        merge = {"Content-Type": PATCHES["merge"]}
        assert await self.client("PATCH", f"{kind.path}/{name}", {}, headers=merge) == (200, current)

    async def status(self, kind: Kind, name: str) -> None:
        current = self.live.get((kind.path, name))
        if current is None or kind.kind == "ConfigMap":
            return
        wanted = copy.deepcopy(current)
        field = "observedGeneration" if kind.kind == "Deployment" else "seen"
        wanted.setdefault("status", {})[field] = self.random.randrange(4)
        wanted["spec"]["replicas"] = 77
        status, answer = await self.client("PUT", f"{kind.path}/{name}/status", wanted)
        assert status == 200, answer
        assert content(answer) == content(current)
        self.committed(kind, answer)

    async def dry_run(self, kind: Kind, name: str) -> None:
        current = self.live.get((kind.path, name))
        wanted = self.wanted(kind, name) if current is None else self.changed(kind, current)
        method, path = ("POST", kind.path) if current is None else ("PUT", f"{kind.path}/{name}")
        status, answer = await self.client(method, path, wanted, dryRun="All")
        assert status == (201 if current is None else 200), answer
        status, found = await self.client("GET", f"{kind.path}/{name}")
        assert (status, found if status == 200 else None) == (404 if current is None else 200, current)

    async def delete(self, kind: Kind, name: str) -> None:
        current = self.live.get((kind.path, name))
        options: Object = {"propagationPolicy": self.random.choice(("Background", "Background", "Orphan"))}
        if current is not None and self.random.random() < 0.3:
            options["preconditions"] = {"resourceVersion": str(version_of(current) - 1)}
        status, answer = await self.client("DELETE", f"{kind.path}/{name}", options)
        if current is None:
            assert (status, answer["reason"]) == (404, "NotFound")
        elif "preconditions" in options:
            assert (status, answer["reason"]) == (409, "Conflict")
        else:
            assert status == 200, answer
            await self.observe(kind, name)

    async def finalizers(self, kind: Kind, name: str) -> None:
        current = self.live.get((kind.path, name))
        if current is None:
            return
        wanted = None if current["metadata"].get("finalizers") else ["example.com/keep"]
        if wanted and "deletionTimestamp" in current["metadata"]:
            return
        await self.write(
            kind, name, "PATCH", {"metadata": {"finalizers": wanted}}, headers={"Content-Type": PATCHES["merge"]}
        )

    # checks of whole collections

    async def pages(self, kind: Kind, name: str) -> None:
        """A list in pages, with writes in between, shows what the whole list showed."""
        _, whole = await self.client("GET", kind.path)
        assert {item["metadata"]["name"]: item for item in whole["items"]}.keys() == {
            name for path, name in self.live if path == kind.path
        }
        status, page = await self.client("GET", kind.path, limit="1")
        items, version = page["items"], page["metadata"]["resourceVersion"]
        while page["metadata"].get("continue"):
            await self.patch(kind, self.random.choice(NAMES))
            status, page = await self.client(
                "GET", kind.path, limit=str(self.random.randrange(1, 3)), **{"continue": page["metadata"]["continue"]}
            )
            assert status == 200 and page["metadata"]["resourceVersion"] == version
            items += page["items"]
        exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
        status, same = await self.client("GET", kind.path, **exact)
        assert status == 200 and same["items"] == items == whole["items"]

    async def watch(self, kind: Kind, name: str) -> None:
        """A watch from any version replays what was committed after it, each once, and nothing else."""
        start = self.random.randint(self.begin, self.last_version)
        expected = self.history[kind.path].after(start)
        query = {"watch": "true", "resourceVersion": str(start), "timeoutSeconds": "20"}
        seen: list[tuple[str, str, Object]] = []
        response = await self.client.raw("GET", kind.path, **query)
        while len(seen) < len(expected):
            event = json.loads(await asyncio.wait_for(response.content.readline(), PATIENCE_S))
            seen.append((event["type"], event["object"]["metadata"]["name"], event["object"]))
        response.close()
        assert seen == expected

    # what was committed

    async def write(self, kind: Kind, name: str, method: str, body: Any, **options: Any) -> None:
        status, answer = await self.client(method, f"{kind.path}/{name}", body, **options)
        if (kind.path, name) not in self.live:
            assert (status, answer["reason"]) == (404, "NotFound")
            return
        assert status == 200, answer
        gone = "deletionTimestamp" in answer["metadata"] and not answer["metadata"].get("finalizers")
        if gone:
            await self.observe(kind, name)
        else:
            self.committed(kind, answer, body if isinstance(body, dict) else None)

    def committed(self, kind: Kind, obj: Object, claimed: Object | None = None) -> None:
        """Take in the answer of a write, which may have changed nothing."""
        key = (kind.path, obj["metadata"]["name"])
        before = self.live.get(key)
        check_ownership(obj, claimed)
        if before is not None:
            check_successor(kind, before, obj)
            if version_of(obj) == version_of(before):
                return
            self.stale.setdefault(key, []).append(before)
        assert version_of(obj) > self.last_version
        self.last_version = version_of(obj)
        self.live[key] = obj
        self.history[kind.path].events.append(("ADDED" if before is None else "MODIFIED", key[1], obj))

    async def observe(self, kind: Kind, name: str) -> None:
        """Look what a deletion left."""
        key = (kind.path, name)
        status, found = await self.client("GET", f"{kind.path}/{name}")
        if status == 200:
            assert found["metadata"]["finalizers"] and "deletionTimestamp" in found["metadata"]
            self.committed(kind, found)
            return
        assert status == 404
        _, found = await self.client("GET", kind.path)
        query = {"watch": "true", "resourceVersion": str(self.last_version), "timeoutSeconds": "20"}
        response = await self.client.raw("GET", kind.path, **query)
        event = json.loads(await asyncio.wait_for(response.content.readline(), PATIENCE_S))
        if event["type"] == "MODIFIED":
            # A deletion that no longer leaves dependents takes its finalizer away first.
            self.committed(kind, event["object"])
            event = json.loads(await asyncio.wait_for(response.content.readline(), PATIENCE_S))
        response.close()
        last = self.live.pop(key)
        self.stale.pop(key, None)
        obj = event["object"]
        assert event["type"] == "DELETED" and obj["metadata"]["uid"] == last["metadata"]["uid"]
        assert self.last_version < version_of(obj) <= int(found["metadata"]["resourceVersion"])
        self.last_version = version_of(obj)
        self.history[kind.path].events.append(("DELETED", name, obj))

    # wanted states

    def wanted(self, kind: Kind, name: str) -> Object:
        choose = self.random.choice
        labels = {"x": choose("123"), "y": choose("123")}
        obj: Object = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, "labels": labels}}
        if kind.kind == "ConfigMap":
            obj["data"] = {choose("pqr"): choose("123"), "s": choose("12")}
        elif kind.kind == "Widget":
            names = self.random.sample("uvw", self.random.randrange(1, 4))
            items = [{"name": item, "size": self.random.randrange(3)} for item in names]
            obj["spec"] = {"items": items, "free": {choose("mn"): [1, {"deep": choose("12")}]}}
        else:
            pods = {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": choose("ij")}]},
            }
            pods["spec"]["containers"].append(
                {"name": "d", "image": "k", "env": [{"name": choose("EF"), "value": "1"}]}
            )
            obj["spec"] = {"selector": {"matchLabels": {"app": name}}, "template": pods}
        return obj

    def changed(self, kind: Kind, obj: Object) -> Object:
        """Another wanted state at the version of `obj`."""
        wanted = self.wanted(kind, obj["metadata"]["name"])
        kept = {key: value for key, value in obj["metadata"].items() if key != "labels"}
        return {**wanted, "metadata": {**wanted["metadata"], **kept}}


@pytest.mark.parametrize("seed", range(3))
async def test_random_operations_keep_the_rules(client: Any, seed: int) -> None:
    operations = Operations(client, seed)
    await operations.prepare()
    await operations.run(STEPS)


async def test_a_conflict_is_answered_when_its_cause_can_be_read(client: Any) -> None:
    created = await client.config_map("counter", data={"n": "0"})
    path = f"{KINDS[0].path}/counter"
    conflicts = 0

    async def count(times: int) -> None:
        nonlocal conflicts
        obj = created
        for _ in range(times):
            while True:
                obj = {**obj, "data": {"n": str(int(obj["data"]["n"]) + 1)}}
                status, answer = await client("PUT", path, obj)
                if status == 200:
                    obj = answer
                    break
                assert (status, answer["reason"]) == (409, "Conflict")
                conflicts += 1
                _, fresh = await client("GET", path)
                assert version_of(fresh) > version_of(obj)
                obj = fresh

    await asyncio.gather(*(count(12) for _ in range(8)))
    _, final = await client("GET", path)
    assert final["data"]["n"] == "96"
    assert conflicts
