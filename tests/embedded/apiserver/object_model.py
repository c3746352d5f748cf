"""A tiny model of what must hold for an object, whatever is done to it; independent of the server's own code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass
class Kind:
    """A resource under test: where it is, how to make one, and whether it counts generations."""

    path: str
    api_version: str
    kind: str
    has_generation: bool


@dataclass
class History:
    """Everything that was committed to one resource, in version order: type of event, name, object."""

    events: list[tuple[str, str, Object]] = field(default_factory=list)

    def after(self, version: int) -> list[tuple[str, str, Object]]:
        return [event for event in self.events if version_of(event[2]) > version]


def version_of(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def content(obj: Object) -> Object:
    """What users care for: all but metadata and status."""
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def check_successor(kind: Kind, before: Object, after: Object) -> None:
    """What must hold between two states of one object, whatever happened in between."""
    old, new = before["metadata"], after["metadata"]
    assert new["uid"] == old["uid"]
    assert new["creationTimestamp"] == old["creationTimestamp"]
    assert (new["name"], new["namespace"]) == (old["name"], old["namespace"])
    if version_of(after) == version_of(before):
        assert after == before
    else:
        assert version_of(after) > version_of(before)
        assert after != before
    if "deletionTimestamp" in old:
        assert new["deletionTimestamp"] == old["deletionTimestamp"]
        # Only another deletion adds a finalizer now: the one that leaves dependents.
        assert set(new.get("finalizers", ())) <= {*old["finalizers"], "orphan"}
    if kind.has_generation:
        began_deletion = "deletionTimestamp" in new and "deletionTimestamp" not in old
        grown = int(content(before) != content(after)) + int(began_deletion)
        assert new["generation"] == old["generation"] + grown
    else:
        assert "generation" not in new


def check_ownership(obj: Object, claimed: Object | None) -> None:
    """Every entry decodes, and together they cover every field that was claimed in the last write."""
    entries = obj["metadata"].get("managedFields") or []
    identities = [(e["manager"], e["operation"], e["apiVersion"], e.get("subresource", "")) for e in entries]
    assert len(set(identities)) == len(identities)
    for entry in entries:
        assert entry["fieldsType"] == "FieldsV1" and entry["operation"] in ("Apply", "Update")
        _check_tree(entry["fieldsV1"])
    if claimed is None:
        return
    settable = {key: value for key, value in claimed.items() if key in ("spec", "data")}
    settable["metadata"] = {"labels": claimed.get("metadata", {}).get("labels", {})}
    for path in _leaves(settable, ()):
        assert any(_covers(entry["fieldsV1"], path, 0) for entry in entries), (path, entries)


def _check_tree(tree: Any) -> None:
    assert isinstance(tree, dict)
    for key, below in tree.items():
        assert key == "." or key[:2] in ("f:", "k:", "v:", "i:")
        if key[:2] in ("k:", "v:"):
            json.loads(key[2:])
        _check_tree(below)


def _leaves(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key, below in value.items() for leaf in _leaves(below, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for item in value for leaf in _leaves(item, (*path, _Item(item)))]
    # Empty containers need no owner of their own, and null takes away.
    return [] if value is None or isinstance(value, dict | list) else [path]


@dataclass(frozen=True)
class _Item:
    """A list item on a path."""

    value: Any

    def is_meant_by(self, key: str) -> bool:
        if key.startswith("v:"):
            return bool(json.loads(key[2:]) == self.value)
        if not key.startswith("k:"):
            return False
        return all(self.value.get(name) == wanted for name, wanted in json.loads(key[2:]).items())


def _covers(tree: Object, path: tuple[Any, ...], at: int) -> bool:
    """Whether a tree owns a leaf: a member without anything below it owns all that is below."""
    if at == len(path) or not tree:
        return True
    step = path[at]
    if isinstance(step, _Item):
        return any(step.is_meant_by(key) and _covers(below, path, at + 1) for key, below in tree.items())
    below = tree.get(f"f:{step}")
    return below is not None and _covers(below, path, at + 1)
