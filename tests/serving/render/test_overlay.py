"""Overlays merge as the API server's own strategic merge does: it is asked what it makes of the same documents."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.api.overlay import _MERGE_KEYS, _PRIMITIVE_LISTS
from fairlead.embedded.apiserver.patches.strategic import apply_strategic_patch
from fairlead.embedded.apiserver.schema.builtin import schema_for
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.serving.render.overlay import overlaid
from fairlead.serving.resolved import Unservable

POD = schema_for("", "v1", "Pod")
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"x": "y"}},
    "spec": {
        "containers": [
            {
                "name": "engine", "image": "i", "command": ["run", "it"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"name": "http", "containerPort": 8000}],
                "resources": {"limits": {"cpu": "1"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "nodeSelector": {"n": "1"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "terminationGracePeriodSeconds": 30,
    },
}  # fmt: skip


def laid(overlay: Any, template: Any = TEMPLATE) -> Any:
    return overlaid(template, overlay, "podTemplate")


def servers(overlay: Any) -> Any:
    return apply_strategic_patch(copy.deepcopy(TEMPLATE), copy.deepcopy(overlay), POD)


def plain(value: Any) -> Any:
    """Items of merged lists by their key, as servers put new ones in front and we behind; without nulls, which servers
    keep in new items until they decode them."""
    if isinstance(value, dict):
        return {
            k: plain(sorted(v, key=lambda i: str(i[_MERGE_KEYS[k]])) if k in _MERGE_KEYS else v)
            for k, v in value.items()
            if v is not None
        }
    return [plain(each) for each in value] if isinstance(value, list) else value


NAMES = st.sampled_from(["A", "B", "C"])
STRINGS = st.dictionaries(st.sampled_from(["a", "b", "n", "z"]), st.one_of(st.sampled_from(["1", "9"]), st.none()))
ENV = st.lists(
    st.fixed_dictionaries({"name": NAMES, "value": st.sampled_from(["1", "7"])}), unique_by=lambda e: e["name"]
)
CONTAINER = st.fixed_dictionaries(
    {"name": st.sampled_from(["engine", "sidecar"])},
    optional={
        "image": st.sampled_from(["i", "j"]), "env": ENV,
        "command": st.lists(st.sampled_from(["run", "x"]), min_size=1),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.sampled_from([8000, 9000])}), max_size=1),
        "resources": st.one_of(st.none(), st.just({"limits": {"memory": "1Gi"}})),
        "volumeMounts": st.lists(
            st.fixed_dictionaries({"name": st.just("v"), "mountPath": st.sampled_from(["/v", "/w"])}),
            unique_by=lambda m: m["mountPath"],
        ),
        "livenessProbe": st.just({"periodSeconds": 3}),
    },
)  # fmt: skip
OVERLAYS = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"labels": STRINGS, "annotations": st.none()}),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": st.lists(CONTAINER, unique_by=lambda c: c["name"]),
                "nodeSelector": STRINGS, "terminationGracePeriodSeconds": st.integers(0, 9),
                "tolerations": st.lists(st.just({"operator": "Exists"}), max_size=2),
                "volumes": st.lists(st.just({"name": "w", "hostPath": {"path": "/w"}}), max_size=1),
                "hostAliases": st.just([{"ip": "1.2.3.4", "hostnames": ["h"]}]),
                "securityContext": st.just({"runAsUser": 1}),
            },
        ),
    },
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(OVERLAYS)
def test_it_merges_as_the_server_does(overlay: dict[str, Any]) -> None:
    before = copy.deepcopy((TEMPLATE, overlay))
    assert plain(laid(overlay)) == plain(servers(overlay))
    assert (TEMPLATE, overlay) == before, "neither is changed"


@given(OVERLAYS)
def test_twice_is_once(overlay: dict[str, Any]) -> None:
    once = laid(overlay)
    assert laid(overlay, once) == once


def test_merge_keys_are_those_of_pods() -> None:
    found: dict[str, str] = {}
    primitive = set()
    seen = set()

    def walk(node: Schema) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        for name, child in node.properties.items():
            if child.type == "array" and "merge" in child.patch_strategies:
                if child.patch_merge_key:
                    assert found.setdefault(name, child.patch_merge_key) == child.patch_merge_key
                else:
                    primitive.add(name)
            elif child.type == "array":
                assert name not in _MERGE_KEYS
            walk(child.items if child.items is not None else child)

    walk(POD.properties["spec"])
    walk(POD.properties["metadata"])
    assert found == dict(_MERGE_KEYS) and primitive == _PRIMITIVE_LISTS


@pytest.mark.parametrize(
    "overlay",
    [
        {"spec": {"containers": [{"name": "engine", "$patch": "delete"}]}},
        {"spec": {"containers": [{"name": "other", "image": "x"}, {"$patch": "replace"}]}},
        {"spec": {"nodeSelector": {"$patch": "replace", "z": "1"}}},
        {"spec": {"nodeSelector": {"$patch": "delete"}}},
        {"spec": {"containers": [{"name": "engine", "$retainKeys": ["name", "image"], "image": "j"}]}},
        {"spec": {"nodeSelector": None, "volumes": None}},
    ],
)
def test_directives_mean_what_they_mean_to_the_server(overlay: dict[str, Any]) -> None:
    assert laid(overlay) == servers(overlay)


def test_of_fields_that_exclude_each_other_the_overlays_counts() -> None:
    probe = {"httpGet": {"port": 1}, "periodSeconds": 5}
    template = {"spec": {"containers": [{"name": "e", "livenessProbe": probe, "env": [{"name": "A", "value": "1"}]}]}}
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    overlay = {"livenessProbe": {"exec": {"command": ["x"]}}, "env": [{"name": "A", "valueFrom": source}]}
    (made,) = laid({"spec": {"containers": [{"name": "e", **overlay}]}}, template)["spec"]["containers"]
    assert made["livenessProbe"] == {"exec": {"command": ["x"]}, "periodSeconds": 5}
    assert made["env"] == [{"name": "A", "valueFrom": source}]
    volumes = laid({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/h"}}]}})["spec"]["volumes"]
    assert volumes == [{"name": "v", "hostPath": {"path": "/h"}}]


@pytest.mark.parametrize(
    ("overlay", "field", "said"),
    [
        ({"containers": []}, "containers", "write it below spec"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers[0]", "has no name"),
        ({"spec": {"containers": ["x"]}}, "spec.containers[0]", "are objects with name"),
        ({"spec": {"containers": 3}}, "spec.containers", "it is a list"),
        ({"spec": {"nodeSelector": "x"}}, "spec.nodeSelector", "it is an object"),
        ({"spec": {"nodeSelector": {"$patch": "merge"}}}, "spec.nodeSelector.$patch", "write replace or delete"),
        ({"spec": {"terminationGracePeriodSeconds": [1]}}, "spec.terminationGracePeriodSeconds", "it is no list"),
    ],
)
def test_what_cannot_be_merged_is_told_with_its_place(overlay: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(Unservable, match=said) as refused:
        laid(overlay)
    assert refused.value.field == f"podTemplate.{field}"
