"""Definitions of custom resources over their life: names, changes of schemas, deletion."""

from __future__ import annotations

import asyncio
from typing import Any

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FOOS = "/apis/example.com/v1/namespaces/default/foos"
MERGE = {"Content-Type": "application/merge-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def definition(plural: str, kind: str, properties: dict[str, Any] | None = None, **names: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": properties or {"a": {"type": "string"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **names},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


async def condition(client: Any, plural: str, kind: str, value: str) -> dict[str, Any]:
    """Wait for a condition of a definition."""
    for _ in range(100):
        _, crd = await client("GET", f"{DEFINITIONS}/{plural}.example.com")
        for each in crd["status"].get("conditions") or ():
            if (each["type"], each["status"]) == (kind, value):
                return dict(each)
        await asyncio.sleep(0.05)
    raise AssertionError(crd["status"])


async def test_names_are_taken_once_and_become_free_again(client: Any) -> None:
    await client("POST", DEFINITIONS, definition("foos", "Foo"))
    await condition(client, "foos", "Established", "True")
    await client("POST", DEFINITIONS, definition("bars", "Foo", singular="bar", listKind="BarList"))
    found = await condition(client, "bars", "NamesAccepted", "False")
    assert (found["reason"], found["message"]) == ("KindConflict", '"Foo" is already in use')
    await client("POST", DEFINITIONS, definition("bazs", "Baz", shortNames=["foo", "foos"]))
    found = await condition(client, "bazs", "NamesAccepted", "False")
    assert (found["reason"], found["message"]) == (
        "ShortNamesConflict",
        '["foo" is already in use, "foos" is already in use]',
    )
    _, bars = await client("GET", f"{DEFINITIONS}/bars.example.com")
    assert bars["status"]["acceptedNames"] == {"plural": "bars", "kind": "", "singular": "bar", "listKind": "BarList"}
    status, _ = await client("DELETE", f"{DEFINITIONS}/foos.example.com")
    assert status == 200
    for plural in ("bars", "bazs"):
        await condition(client, plural, "Established", "True")


async def test_objects_follow_their_schema(client: Any) -> None:
    await client("POST", DEFINITIONS, definition("foos", "Foo", {"a": {"type": "string"}, "b": {"type": "string"}}))
    await condition(client, "foos", "Established", "True")
    foo = {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "x"}, "spec": {"a": "1", "b": "2"}}
    status, created = await client("POST", FOOS, foo)
    assert (status, created["spec"]) == (201, {"a": "1", "b": "2"})
    changed = definition("foos", "Foo", {"a": {"type": "string"}, "c": {"type": "integer", "default": 3}})
    status, _ = await client("PATCH", f"{DEFINITIONS}/foos.example.com", {"spec": changed["spec"]}, headers=MERGE)
    assert status == 200
    for _ in range(100):
        _, found = await client("GET", f"{FOOS}/x")
        if "c" in found["spec"]:
            break
        await asyncio.sleep(0.05)
    assert found["spec"] == {"a": "1", "c": 3}
    assert found["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_a_definition_waits_for_its_objects(client: Any) -> None:
    await client("POST", DEFINITIONS, definition("foos", "Foo"))
    await condition(client, "foos", "Established", "True")
    foo = {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "x", "finalizers": ["example.com/x"]}}
    await client("POST", FOOS, foo)
    await client("DELETE", f"{DEFINITIONS}/foos.example.com")
    for _ in range(100):
        found = await condition(client, "foos", "Terminating", "True")
        if found["reason"] == "InstanceDeletionInProgress":
            break
        await asyncio.sleep(0.05)
    new = {**foo, "metadata": {"name": "y"}}
    for status, answer in (
        await client("POST", FOOS, new),
        await client("PATCH", f"{FOOS}/y", new, headers=APPLY, fieldManager="m"),
    ):
        assert (status, answer["reason"]) == (403, "Forbidden")
    status, _ = await client("PATCH", f"{FOOS}/x", {"metadata": {"finalizers": None}}, headers=MERGE)
    assert status == 200
    for _ in range(100):
        status, _ = await client("GET", f"{DEFINITIONS}/foos.example.com")
        if status == 404:
            break
        await asyncio.sleep(0.05)
    assert status == 404
