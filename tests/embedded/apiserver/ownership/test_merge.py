from __future__ import annotations

import itertools
from typing import Any

import pytest

from fairlead.embedded.apiserver.ownership.compare import compare
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet
from fairlead.embedded.apiserver.ownership.merge import merge, remove
from fairlead.embedded.apiserver.schema.node import Schema

STRING = Schema(type="string")
SET = Schema(type="array", list_type="set", items=STRING)
KIND = Schema(
    type="object",
    properties={
        "set": SET,
        "map": Schema(type="object", additional=STRING),
        "atom": Schema(type="array", items=STRING),
        "struct": Schema(type="object", properties={"a": STRING}),
    },
)


def orders(letters: str) -> list[list[str]]:
    return [list(order) for size in range(len(letters) + 1) for order in itertools.permutations(letters, size)]


def test_order_of_every_small_list() -> None:
    for live, applied in itertools.product(orders("abcd"), orders("bcde")):
        merged = merge(live, applied, SET)
        assert sorted(merged) == sorted({*live, *applied})
        assert [item for item in merged if item in applied] == applied
        assert [item for item in merged if item not in applied] == [item for item in live if item not in applied]


@pytest.mark.parametrize(
    ("live", "applied", "merged"),
    [
        ({"map": {"a": "1"}}, {"map": {"b": "2"}}, {"map": {"a": "1", "b": "2"}}),
        ({"map": {"a": "1"}}, {"map": {}}, {"map": {"a": "1"}}),
        ({"map": {"a": "1"}}, {"map": None}, {"map": {"a": "1"}}),
        ({"map": None}, {"map": {"b": "2"}}, {"map": {"b": "2"}}),
        ({"map": {}}, {"map": None}, {"map": None}),
        ({"set": ["a"]}, {"set": []}, {"set": ["a"]}),
        ({"set": None}, {"set": []}, {"set": []}),
        ({"atom": ["a"]}, {"atom": []}, {"atom": []}),
        ({"struct": {"a": "1"}}, {"struct": {"a": None}}, {"struct": {"a": None}}),
    ],
)
def test_merge(live: dict[str, Any], applied: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge(live, applied, KIND) == merged


def test_duplicates_of_the_live_list_give_way_once_applied() -> None:
    assert merge(["a", "a", "b"], ["a"], SET) == ["a", "b"]
    assert merge(["a", "a", "b"], ["c"], SET) == ["a", "a", "b", "c"]


def test_remove_leaves_empty_containers_behind() -> None:
    value = {"map": {"a": "1"}, "set": ["x"], "atom": ["y"], "struct": {"a": "1"}}
    fields = FieldSet.of_paths([("f:map", "f:a"), ("f:set", 'v:"x"'), ("f:atom", "i:0"), ("f:struct",)])
    assert remove(value, fields.tree, KIND) == {"map": {}, "set": [], "atom": ["y"]}


@pytest.mark.parametrize(
    ("old", "new", "added", "modified", "removed"),
    [
        ({}, {"map": {"a": "1"}}, {"f:map": {".": {}, "f:a": {}}}, {}, {}),
        ({"map": {"a": "1"}}, {}, {}, {}, {"f:map": {".": {}, "f:a": {}}}),
        ({"map": {"a": "1"}}, {"map": {"a": "2", "b": "1"}}, {"f:map": {"f:b": {}}}, {"f:map": {"f:a": {}}}, {}),
        ({"map": {"a": "1"}}, {"map": {}}, {}, {}, {"f:map": {"f:a": {}}}),
        ({"map": None}, {"map": {}}, {}, {"f:map": {}}, {}),
        ({"map": None}, {"map": {"a": "1"}}, {"f:map": {"f:a": {}}}, {}, {}),
        ({"atom": ["a"]}, {"atom": ["b"]}, {}, {"f:atom": {}}, {}),
        ({"set": ["a", "b"]}, {"set": ["b", "a"]}, {}, {}, {}),
        ({"set": ["a"]}, {"set": ["b"]}, {"f:set": {'v:"b"': {}}}, {}, {"f:set": {'v:"a"': {}}}),
    ],
)
def test_compare(old: dict[str, Any], new: dict[str, Any], added: Any, modified: Any, removed: Any) -> None:
    changes = compare(old, new, KIND)
    assert (changes.added.tree, changes.modified.tree, changes.removed.tree) == (added, modified, removed)
