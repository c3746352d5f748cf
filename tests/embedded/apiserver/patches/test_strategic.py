from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.patches import apply_strategic_patch
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube.errors import ApiError, BadRequest, Invalid

STRING = Schema(type="string")
STRINGS = Schema(type="object", additional=STRING)


def merge_list(items: Schema, key: str = "", *strategies: str) -> Schema:
    return Schema(
        type="array", items=items, patch_merge_key=key, patch_strategies=frozenset(strategies or ("merge",))
    )  # fmt: skip


def struct(name: str, /, **properties: Schema) -> Schema:
    return Schema(type="object", go_type=f"v1.{name}", properties=properties)


MOUNT = struct("VolumeMount", name=STRING, mountPath=STRING)
CONTAINER = struct(
    "Container",
    name=STRING,
    image=STRING,
    command=Schema(type="array", items=STRING),
    mounts=merge_list(MOUNT, "mountPath"),
)
STRATEGY = struct("Strategy", type=STRING, rolling=struct("Rolling", surge=STRING))
STRATEGY.patch_strategies = frozenset({"retainKeys"})
KIND = struct(
    "Thing",
    containers=merge_list(CONTAINER, "name"),
    finalizers=merge_list(STRING),
    labels=STRINGS,
    strategy=STRATEGY,
    keyless=merge_list(CONTAINER),
)


def patched(doc: dict[str, Any], patch: Any) -> dict[str, Any]:
    return apply_strategic_patch(doc, patch, KIND)


def containers(*names: str, **extra: Any) -> dict[str, Any]:
    return {"containers": [{"name": name, "image": name} for name in names], **extra}


def names(doc: dict[str, Any]) -> list[str]:
    return [container["name"] for container in doc["containers"]]


def test_items_merge_by_key_and_new_ones_come_first() -> None:
    doc = patched(containers("c", "d"), {"containers": [{"name": "d", "image": "2"}, {"name": "e"}]})
    assert doc["containers"] == [{"name": "c", "image": "c"}, {"name": "d", "image": "2"}, {"name": "e"}]
    assert names(patched(containers("c", "d"), containers("e"))) == ["e", "c", "d"]


def test_later_duplicates_in_the_patch_win() -> None:
    doc = patched(containers("a"), {"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]})
    assert doc == {"containers": [{"name": "a", "image": "y"}]}


def test_list_directives() -> None:
    assert names(patched(containers("c", "d"), {"containers": [{"name": "d", "$patch": "delete"}]})) == ["c"]
    assert names(patched(containers("c"), {"containers": [{"name": "zz", "$patch": "delete"}]})) == ["c"]
    only = patched(containers("c", "d"), {"containers": [{"name": "only", "image": "o"}, {"$patch": "replace"}]})
    assert only == {"containers": [{"name": "only", "image": "o"}]}
    # A replacing item is a directive only: its other members are ignored.
    assert patched(containers("c"), {"containers": [{"name": "c", "$patch": "replace", "image": "r"}]}) == {
        "containers": []
    }
    assert patched(containers("c"), {"containers": []}) == containers("c")
    assert patched(containers("c"), {"containers": None}) == {}


def test_set_element_order() -> None:
    doc = containers("a", "b", "c")
    ordered = patched(doc, {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]})
    assert names(ordered) == ["b", "c", "a"]
    added = patched(
        containers("only"),
        {"$setElementOrder/containers": [{"name": "first"}, {"name": "only"}], "containers": [{"name": "first"}]},
    )
    assert names(added) == ["first", "only"]
    assert patched({}, {"$setElementOrder/finalizers": ["a"]}) == {}


def test_primitive_lists() -> None:
    assert patched({"finalizers": ["a", "b"]}, {"finalizers": ["c"]}) == {"finalizers": ["c", "a", "b"]}
    assert patched({"finalizers": ["c", "a"]}, {"finalizers": ["c"]}) == {"finalizers": ["c", "a"]}
    assert patched({"finalizers": ["c", "a"]}, {"$deleteFromPrimitiveList/finalizers": ["a", "z"]}) == {
        "finalizers": ["c"]
    }
    assert patched({}, {"$deleteFromPrimitiveList/finalizers": ["a"]}) == {}
    doc = {"containers": [{"name": "a", "command": ["x", "y"]}]}
    assert patched(doc, {"containers": [{"name": "a", "command": ["z"]}]})["containers"][0]["command"] == ["z"]


def test_maps() -> None:
    doc = {"labels": {"a": "b", "c": "d"}}
    assert patched(doc, {"labels": {"a": None, "e": "f"}}) == {"labels": {"c": "d", "e": "f"}}
    assert patched(doc, {"labels": {"$patch": "replace", "z": "y"}}) == {"labels": {"z": "y"}}
    assert patched(doc, {"labels": {"$patch": "delete"}}) == {"labels": {}}
    assert patched({}, {"labels": {"$patch": "delete"}}) == {}
    assert patched({}, {"labels": {"a": None, "b": "1"}}) == {"labels": {"b": "1"}}


def test_retain_keys() -> None:
    doc = {"strategy": {"type": "Rolling", "rolling": {"surge": "1"}}}
    assert patched(doc, {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}) == {
        "strategy": {"type": "Recreate"}
    }
    with pytest.raises(BadRequest, match="invalid patch format of retainKeys"):
        patched(doc, {"strategy": {"$retainKeys": ["type"], "rolling": {"surge": "2"}}})


def test_nested_lists_merge() -> None:
    doc = {"containers": [{"name": "c", "mounts": [{"name": "v", "mountPath": "/v"}]}]}
    patch = {"containers": [{"name": "c", "mounts": [{"name": "w", "mountPath": "/w"}]}]}
    assert patched(doc, patch)["containers"][0]["mounts"] == [
        {"name": "w", "mountPath": "/w"},
        {"name": "v", "mountPath": "/v"},
    ]


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"containers": [{"image": "noname"}]}, "map: map[image:noname] does not contain declared merge key: name"),
        (
            {"containers": [{"name": "c", "$patch": "nope"}]},
            "unknown patch type: nope in map: map[$patch:nope name:c]",
        ),
        ({"labels": {"$patch": "merge"}}, "unknown patch type: merge in map: map[$patch:merge]"),
        ({"containers": [{"$patch": "merge"}]}, "merging lists cannot yet be specified in the patch"),
        ({"containers": [{"name": "c"}, "text"]}, "list element types are not identical: [[map["),
        ({"keyless": [{"name": "c"}]}, "cannot merge lists without merge key for struct"),
        ({"unknown": {"a": 1}}, 'unable to find api field in struct Thing for the json field "unknown"'),
        (
            {"$setElementOrder/containers": [{"name": "c"}], "containers": [{"name": "x", "image": "g"}]},
            "The order in patch list:\n[map[image:g name:x]]\n doesn't match $setElementOrder list:\n[map[name:c]]\n",
        ),
        (
            {"$setElementOrder/finalizers": ["b", "a"], "finalizers": ["a", "b"]},
            "The order in patch list:\n[a b]\n doesn't match $setElementOrder list:\n[b a]\n",
        ),
    ],
)
def test_errors_without_reason(patch: dict[str, Any], message: str) -> None:
    doc = containers("c", labels={"a": "b"}, keyless=[{"name": "c"}], finalizers=["a"], unknown={"a": 2})
    with pytest.raises(ApiError) as caught:
        patched(doc, patch)
    assert caught.value.message.startswith(message)
    assert caught.value.status["code"] == 500
    assert "reason" not in caught.value.status


def test_errors_with_reason() -> None:
    with pytest.raises(Invalid, match="the server rejected our request"):
        patched({"finalizers": [["a"]]}, {"finalizers": [["b"]]})
    with pytest.raises(BadRequest, match="invalid patch format of setElementOrder list"):
        patched({}, {"$setElementOrder": []})
    with pytest.raises(BadRequest, match="cannot unmarshal array"):
        patched({}, [])


def test_a_client_side_apply_keeps_what_others_added() -> None:
    """The patch that kubectl computes from last-applied, its file and the live object."""
    live = containers("sidecar", "main", labels={"mine": "1", "theirs": "2"})
    patch = {
        "$setElementOrder/containers": [{"name": "main"}],
        "containers": [{"name": "main", "image": "new"}],
        "labels": {"mine": None},
    }
    result = patched(live, patch)
    assert result["labels"] == {"theirs": "2"}
    assert result["containers"] == [{"name": "sidecar", "image": "sidecar"}, {"name": "main", "image": "new"}]


item = st.fixed_dictionaries({"name": st.sampled_from("abc")}, optional={"image": st.none() | st.sampled_from("xy")})
patch_item = item | st.fixed_dictionaries({"name": st.sampled_from("abc"), "$patch": st.just("delete")})
docs = st.fixed_dictionaries(
    {},
    optional={
        "containers": st.lists(item, max_size=3, unique_by=lambda i: str(i["name"])),
        "finalizers": st.lists(st.sampled_from("abc"), max_size=3, unique=True),
        "labels": st.dictionaries(st.sampled_from("abc"), st.text("x", max_size=1), max_size=2),
    },
)
patches = st.fixed_dictionaries(
    {},
    optional={
        "containers": st.none() | st.lists(patch_item, max_size=3),
        "$setElementOrder/containers": st.lists(item, max_size=3),
        "finalizers": st.none() | st.lists(st.sampled_from("abcd"), max_size=3),
        "$deleteFromPrimitiveList/finalizers": st.lists(st.sampled_from("abcd"), max_size=2),
        "labels": st.none() | st.dictionaries(st.sampled_from("abc"), st.none() | st.text("x", max_size=1), max_size=2),
    },
)


@given(docs, patches)
def test_arguments_stay_and_only_api_errors_come(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy((doc, patch))
    try:
        result = patched(doc, patch)
    except ApiError:
        pass
    else:
        assert not _containers(result) & (_containers(doc) | _containers(patch))
        listed = [container["name"] for container in result.get("containers") or []]
        assert len(listed) == len(set(listed)) or not doc.get("containers")
    assert (doc, patch) == before


def _containers(value: Any) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*map(_containers, value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*map(_containers, value))
    return set()
