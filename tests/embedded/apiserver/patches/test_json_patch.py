from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.patches import apply_json_patch
from fairlead.kube.errors import ApiError, BadRequest, Invalid, RequestEntityTooLarge

DOC = {"data": {"k": "v", "k2": "v2"}, "list": [1, 2, 3], "metadata": {"labels": {"x.y/z": "2", "t~": "3"}}}

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=3)
)
pointers = st.lists(st.sampled_from(["a", "b", "", "0", "1", "-1", "-"]), max_size=3).map(
    lambda tokens: "".join("/" + token for token in tokens)
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"])},
    optional={"path": pointers, "from": pointers, "value": values},
)


@pytest.mark.parametrize(
    ("op", "changed"),
    [
        ({"op": "add", "path": "/data/n", "value": "1"}, {"data": {"k": "v", "k2": "v2", "n": "1"}}),
        ({"op": "add", "path": "/data/n"}, {"data": {"k": "v", "k2": "v2", "n": None}}),
        ({"op": "add", "path": "/list/1", "value": 9}, {"list": [1, 9, 2, 3]}),
        ({"op": "add", "path": "/list/-", "value": 9}, {"list": [1, 2, 3, 9]}),
        ({"op": "add", "path": "/list/-1", "value": 9}, {"list": [1, 2, 3, 9]}),
        ({"op": "add", "path": "/list/-4", "value": 9}, {"list": [9, 1, 2, 3]}),
        ({"op": "add", "path": "/list/3", "value": 9}, {"list": [1, 2, 3, 9]}),
        ({"op": "remove", "path": "/list/-1"}, {"list": [1, 2]}),
        ({"op": "replace", "path": "/data/missing", "value": "w"}, {"data": {"k": "v", "k2": "v2", "missing": "w"}}),
        ({"op": "remove", "path": "/metadata/labels/x.y~1z"}, {"metadata": {"labels": {"t~": "3"}}}),
        ({"op": "remove", "path": "/metadata/labels/t~0"}, {"metadata": {"labels": {"x.y/z": "2"}}}),
        ({"op": "move", "from": "/data/k", "path": "/data/m"}, {"data": {"k2": "v2", "m": "v"}}),
        ({"op": "copy", "from": "/data/zz", "path": "/data/m"}, {"data": {"k": "v", "k2": "v2", "m": None}}),
        ({"op": "test", "path": "/data/none"}, {}),
        ({"op": "test", "path": "/list", "value": [1, 2, 3]}, {}),
    ],
)  # fmt: skip
def test_operation(op: dict[str, Any], changed: dict[str, Any]) -> None:
    assert apply_json_patch(DOC, [op]) == DOC | changed


@pytest.mark.parametrize(
    "op",
    [
        {"op": "add", "path": "/nope/n", "value": "1"},
        {"op": "add", "path": "", "value": {}},
        {"op": "add", "value": 1},
        {"op": "add", "path": "/list/5", "value": 9},
        {"op": "add", "path": "/list/-5", "value": 9},
        {"op": "add", "path": "/list/x", "value": 9},
        {"op": "remove", "path": "/data/zz"},
        {"op": "remove", "path": "/list/3"},
        {"op": "replace", "path": "/list/3", "value": 1},
        {"op": "replace", "path": "/list/-", "value": 1},
        {"op": "replace", "path": "", "value": "scalar"},
        {"op": "move", "from": "/data/zz", "path": "/data/m"},
        {"op": "move", "path": "/data/m"},
        {"op": "move", "from": "/data", "path": "/data/m"},
        {"op": "test", "path": "/data/k", "value": "other"},
        {"op": "test", "path": "/list/0", "value": 1.0},
        {"op": "test", "path": "/list/0", "value": True},
        {"op": "add", "path": "/data/k/deeper", "value": 1},
        {"op": "frobnicate", "path": "/data"},
        {"op": 5, "path": "/data"},
        {"path": "/data"},
    ],
)
def test_operation_that_does_not_fit(op: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        apply_json_patch(DOC, [op])
    assert caught.value.message == "the server rejected our request due to an error in our request"
    assert caught.value.status["details"] == {}


def test_root_may_be_replaced() -> None:
    assert apply_json_patch(DOC, [{"op": "replace", "path": "", "value": {"a": 1}}]) == {"a": 1}


def test_objects_gone_through_have_sorted_keys() -> None:
    doc = {"kind": "K", "metadata": {"name": "n", "labels": {"b": "1"}}, "data": {"z": "1", "b": "2"}}
    patched = apply_json_patch(doc, [{"op": "add", "path": "/data/a", "value": {"y": 1, "x": 2}}])
    assert list(patched) == ["data", "kind", "metadata"]
    assert list(patched["data"]) == ["a", "b", "z"]
    assert list(patched["metadata"]) == ["name", "labels"]
    assert list(patched["data"]["a"]) == ["y", "x"]


def test_not_a_patch() -> None:
    assert apply_json_patch(DOC, None) == DOC
    with pytest.raises(
        BadRequest, match=r"error decoding patch: json: cannot unmarshal object into Go value of type \[\]interface {}"
    ):
        apply_json_patch(DOC, {"op": "add"})
    with pytest.raises(BadRequest, match=r"cannot unmarshal string into Go value of type jsonpatch\.Operation"):
        apply_json_patch(DOC, ["add"])
    with pytest.raises(RequestEntityTooLarge, match="allowed maximum operations in a JSON patch is 10000, got 10001"):
        apply_json_patch(DOC, [{"op": "test", "path": ""}] * 10_001)


@given(st.dictionaries(st.text("ab", max_size=1), values, max_size=3), st.lists(operations, max_size=4))
def test_arguments_stay_and_only_api_errors_come(doc: dict[str, Any], ops: list[dict[str, Any]]) -> None:
    before = copy.deepcopy((doc, ops))
    try:
        result = apply_json_patch(doc, ops)
    except ApiError:
        pass
    else:
        assert not _containers(result) & (_containers(doc) | _containers(ops))
    assert (doc, ops) == before


def _containers(value: Any) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*map(_containers, value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*map(_containers, value))
    return set()
