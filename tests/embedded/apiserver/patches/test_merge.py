from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.patches import apply_merge_patch
from fairlead.kube.errors import BadRequest

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3)
)
objects = st.dictionaries(st.text("abc", max_size=1), values, max_size=3)


@pytest.mark.parametrize(
    ("doc", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"a": "foo"}}, {"a": "bar"}, {"a": "bar"}),
        ({"a": 1}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({}, {"a": [{"x": None, "y": 1}, None]}, {"a": [{"y": 1}, None]}),
    ],
)
def test_rfc_7386(doc: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]) -> None:
    assert apply_merge_patch(doc, patch) == expected


@pytest.mark.parametrize(("patch", "kind"), [(1, "number"), ("x", "string"), (True, "bool"), ([], "array")])
def test_patch_that_is_no_object(patch: Any, kind: str) -> None:
    with pytest.raises(BadRequest) as caught:
        apply_merge_patch({}, patch)
    assert caught.value.message == (
        f"error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    )


def test_null_patch() -> None:
    with pytest.raises(BadRequest, match="Invalid JSON Patch"):
        apply_merge_patch({}, None)


def test_touched_objects_have_sorted_keys() -> None:
    doc = {"z": {"b": 1, "a": 2}, "y": {"b": 1, "a": 2}}
    merged = apply_merge_patch(doc, {"z": {"c": 1}})
    assert list(merged) == ["y", "z"]
    assert list(merged["z"]) == ["a", "b", "c"]
    assert list(merged["y"]) == ["b", "a"]


@given(objects, objects)
def test_arguments_stay_and_a_repeated_patch_settles(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy((doc, patch))
    merged = apply_merge_patch(doc, patch)
    assert (doc, patch) == before
    # Nulls in a list that replaces an object stay; in one that replaces a list they go.
    settled = apply_merge_patch(merged, patch)
    assert apply_merge_patch(settled, patch) == settled


@given(objects)
def test_empty_patch_changes_nothing(doc: dict[str, Any]) -> None:
    assert apply_merge_patch(doc, {}) == doc
