from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ownership_kinds import LATER, NOW, POD, WIDGET, entries, pod, widget

from fairlead.embedded.apiserver.ownership import apply, record_update
from fairlead.kube.errors import ApiError, BadRequest, Conflict

CLIENT_SIDE = "kubectl.kubernetes.io/last-applied-configuration"


def applied(
    live: dict[str, Any] | None, config: dict[str, Any], manager: str = "m1", schema: Any = WIDGET, **options: Any
) -> dict[str, Any]:
    before = copy.deepcopy((live, config))
    options = {"force": False, "api_version": config["apiVersion"], "now": NOW} | options
    try:
        result = apply(live, config, schema, manager=manager, **options)
    finally:
        assert (live, config) == before
    shared = _containers(result) & (_containers(live) | _containers(config))
    assert shared <= _containers(result["metadata"].get("managedFields"))
    return result


def _containers(value: Any) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*map(_containers, value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*map(_containers, value))
    return set()


FIRST = {"a": "1", "list": [{"k": "x", "v": 1}], "set": ["p"], "atom": ["q"], "m": {"r": "1"}, "am": {"x": 1}}


@pytest.fixture
def live() -> dict[str, Any]:
    return applied(None, widget(FIRST))


def test_an_apply_owns_leaves_and_items_only(live: dict[str, Any]) -> None:
    assert live["spec"] == FIRST
    (entry,) = live["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["time"]) == ("m1", "Apply", NOW)
    assert entry["fieldsV1"] == {
        "f:spec": {
            "f:a": {},
            "f:am": {},
            "f:atom": {},
            "f:list": {'k:{"k":"x"}': {".": {}, "f:k": {}, "f:v": {}}},
            "f:m": {"f:r": {}},
            "f:set": {'v:"p"': {}},
        }
    }


def test_undeclared_maps_are_owned_themselves() -> None:
    obj = applied(None, widget({"free": {"e": {"f": 1}, "l": [1], "empty": {}}}))
    assert entries(obj)["m1"]["f:spec"]["f:free"] == {
        "f:e": {".": {}, "f:f": {}},
        "f:empty": {},
        "f:l": {},
    }


def test_repeating_it_changes_nothing(live: dict[str, Any]) -> None:
    assert applied(live, widget(FIRST), now=LATER) == live


def test_a_blank_creation_time_is_no_change(live: dict[str, Any]) -> None:
    live["metadata"]["creationTimestamp"] = NOW
    assert applied(live, widget(FIRST, creationTimestamp=None), now=LATER) == live


def test_configurations_of_several_managers_merge(live: dict[str, Any]) -> None:
    obj = applied(live, widget({"list": [{"k": "y", "v": 2}], "set": ["p", "pp"], "m": {"s": "1"}}), "m2")
    assert obj["spec"]["list"] == [{"k": "x", "v": 1}, {"k": "y", "v": 2}]
    assert obj["spec"]["set"] == ["p", "pp"]
    assert obj["spec"]["m"] == {"r": "1", "s": "1"}
    assert entries(obj)["m2"]["f:spec"]["f:set"] == {'v:"p"': {}, 'v:"pp"': {}}
    # m1 lets go of everything: what m2 shares stays.
    obj = applied(obj, widget(), "m1")
    assert obj["spec"] == {"list": [{"k": "y", "v": 2}], "set": ["p", "pp"], "m": {"s": "1"}}
    assert list(entries(obj)) == ["m2"]


def test_what_is_no_longer_applied_goes(live: dict[str, Any]) -> None:
    obj = applied(live, widget({"list": [{"k": "x"}]}))
    assert obj["spec"] == {"list": [{"k": "x"}]}
    assert entries(obj) == {"m1": {"f:spec": {"f:list": {'k:{"k":"x"}': {".": {}, "f:k": {}}}}}}
    assert "spec" not in applied(obj, widget())


def test_defaults_of_others_stay(live: dict[str, Any]) -> None:
    live["spec"]["list"][0]["defaulted"] = 5
    assert applied(live, widget({"a": "1"}))["spec"] == {"a": "1"}
    live["spec"]["extra"] = 5
    assert applied(live, widget({"a": "1"}))["spec"] == {"a": "1", "extra": 5}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"list": [{"k": "x", "v": 9}]}, '.spec.list[k="x"].v'),
        ({"atom": ["z"]}, ".spec.atom"),
        ({"am": {"y": 2}}, ".spec.am"),
        ({"a": "2"}, ".spec.a"),
    ],
)
def test_one_conflict(live: dict[str, Any], spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Conflict) as caught:
        applied(live, widget(spec), "m2")
    assert caught.value.message == f'Apply failed with 1 conflict: conflict with "m1": {field}'
    assert caught.value.causes == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": field},
    ]
    forced = applied(live, widget(spec), "m2", force=True)
    assert forced["spec"] == FIRST | spec


def test_conflicts_with_several_managers() -> None:
    obj = applied(None, widget({"a": "1", "m": {"r": "1"}}), "m1")
    new = copy.deepcopy(obj)
    new["status"] = {"x": 1}
    record_update(new, obj, WIDGET, manager="st", api_version="example.com/v1", subresource="status", now=NOW)
    with pytest.raises(Conflict) as caught:
        applied(new, widget({"a": "2", "m": {"r": "2"}}) | {"status": {"x": 2}}, "m2")
    assert caught.value.message == (
        'Apply failed with 3 conflicts: conflicts with "m1":\n- .spec.a\n- .spec.m.r\n'
        'conflicts with "st" with subresource "status" using example.com/v1:\n- .status.x'
    )
    assert len(caught.value.causes) == 3


def test_force_takes_fields_away(live: dict[str, Any]) -> None:
    obj = applied(live, widget({"am": {"y": 2}, "list": [{"k": "x", "v": 9}]}), "m2", force=True, now=LATER)
    assert entries(obj)["m1"]["f:spec"]["f:list"] == {'k:{"k":"x"}': {".": {}, "f:k": {}}}
    assert "f:am" not in entries(obj)["m1"]["f:spec"]
    assert [entry["time"] for entry in obj["metadata"]["managedFields"]] == [NOW, LATER]


def test_a_new_owner_of_what_is_there_already_has_no_time(live: dict[str, Any]) -> None:
    obj = applied(live, widget({"a": "1"}), "m2", now=LATER)
    second = next(entry for entry in obj["metadata"]["managedFields"] if entry["manager"] == "m2")
    assert "time" not in second
    assert obj["spec"] == live["spec"]


def test_object_without_owners_belongs_to_whoever_came_before() -> None:
    bare = widget({"a": "1"}, uid="u")
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using example.com/v1: .spec.a'):
        applied(bare, widget({"a": "2"}))
    obj = applied(bare, widget({"a": "2"}), force=True)
    assert entries(obj) == {"m1": {"f:spec": {"f:a": {}}}, "before-first-apply": {"f:spec": {}}}


def test_appliers_come_first() -> None:
    obj = applied(widget({"a": "1"}, uid="u"), widget({"m": {"r": "1"}}), now=LATER)
    assert [entry["operation"] for entry in obj["metadata"]["managedFields"]] == ["Apply", "Update"]


def test_list_order_follows_the_configuration_that_changes_it(live: dict[str, Any]) -> None:
    def order(config: list[str], manager: str = "m1") -> list[str]:
        items = [{"k": key} for key in config]
        return [item["k"] for item in applied(current, widget({"list": items}), manager)["spec"]["list"]]

    current = applied(None, widget({"list": [{"k": "b"}, {"k": "d"}]}), "other")
    assert order(["a", "b", "c", "d", "e"]) == ["a", "b", "c", "d", "e"]
    assert order(["a"]) == ["b", "d", "a"]
    assert order(["d", "b"]) == ["d", "b"]
    assert order(["d", "x"]) == ["b", "d", "x"]
    assert order(["x", "b"]) == ["x", "b", "d"]


def test_keys_of_list_items_may_be_defaulted() -> None:
    config = pod({"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]})
    obj = applied(None, config, schema=POD)
    assert entries(obj)["m1"]["f:spec"]["f:containers"]['k:{"name":"c"}']["f:ports"] == {
        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
    }
    nameless = applied(None, pod({"containers": [{"image": "x"}]}), schema=POD)
    assert list(entries(nameless)["m1"]["f:spec"]["f:containers"]) == ['k:{"name":""}']


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"set": ["d", "d"]}, '.spec.set: duplicate entries for key [="d"]'),
        ({"list": [{"k": "d"}, {"k": "d"}]}, '.spec.list: duplicate entries for key [k="d"]'),
        (
            {"list": [{"v": 1}]},
            ".spec.list: element 0: associative list with keys has an element that omits all key fields "
            '["k"] (and doesn\'t have default values for any key fields)',
        ),
        ({"unknown": 1}, ".spec.unknown: field not declared in schema"),
        ({"a": 1}, ".spec.a: expected string, got &value.valueUnstructured{Value:1}"),
        ({"m": 1}, ".spec.m: expected map, got &{1}"),
        ({"atom": {"x": 1}}, ".spec.atom: expected list, got &{map[x:1]}"),
        ({"list": [{"k": "x", "v": "1"}]}, '.spec.list[k="x"].v: expected numeric (int or float), got string'),
        ({"a": 1, "m": 2}, "errors:\n  .spec.a: expected string, got &value.valueUnstructured{Value:1}\n"
         "  .spec.m: expected map, got &{2}"),
    ],
)  # fmt: skip
def test_configuration_that_does_not_fit(live: dict[str, Any], spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(ApiError) as caught:
        applied(live, widget(spec), "m3", force=True)
    assert caught.value.message == (f"failed to create typed patch object (/a; example.com/v1, Kind=Widget): {reason}")
    assert caught.value.http_code == 500
    assert "reason" not in caught.value.status


def test_requests_that_are_no_configuration(live: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"metadata\.managedFields must be nil"):
        applied(live, widget({}, managedFields=[]))
    with pytest.raises(BadRequest, match=r"invalid object type: example.com/v2, Kind=Widget"):
        applied(live, widget({}) | {"apiVersion": "example.com/v2"}, api_version="example.com/v1")


def test_a_subresource_owns_only_what_it_may_change(live: dict[str, Any]) -> None:
    config = widget({"a": "other"}) | {"status": {"x": 1}}
    obj = applied(live, config, "st", subresource="status", reset_fields=(("spec",),))
    (entry,) = (entry for entry in obj["metadata"]["managedFields"] if entry["manager"] == "st")
    assert entry["fieldsV1"] == {"f:status": {".": {}, "f:x": {}}} or entry["fieldsV1"] == {"f:status": {"f:x": {}}}
    assert entry["subresource"] == "status"


def client_side(spec: dict[str, Any]) -> dict[str, Any]:
    last = '{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"a":"1"}}'
    obj = widget(spec, annotations={CLIENT_SIDE: last})
    record_update(obj, None, WIDGET, manager="kubectl-client-side-apply", api_version="example.com/v1", now=NOW)
    return obj


def test_kubectl_moves_from_client_side_without_conflicts() -> None:
    obj = applied(client_side({"a": "1"}), widget({"a": "2"}), "kubectl")
    assert obj["spec"] == {"a": "2"}
    assert '"a":"2"' in obj["metadata"]["annotations"][CLIENT_SIDE]
    with pytest.raises(Conflict):
        applied(client_side({"a": "1"}), widget({"a": "2"}), "someone")
    with pytest.raises(Conflict, match="kubectl-client-side-apply"):
        applied(client_side({"a": "changed since"}), widget({"a": "2"}), "kubectl")


def test_what_became_atomic_is_owned_as_a_whole() -> None:
    granular = applied(None, widget({"m": {"r": "1", "s": "1"}}))
    schema = copy.deepcopy(WIDGET)
    schema.properties["spec"].properties["m"].map_atomic = True
    obj = applied(granular, widget({"a": "1"}), "m2", schema=schema)
    assert entries(obj)["m1"] == {"f:spec": {"f:m": {}}}


keys = st.sampled_from("xyz")
specs = st.fixed_dictionaries(
    {},
    optional={
        "a": st.sampled_from("12"),
        "list": st.lists(
            st.fixed_dictionaries({"k": keys}, optional={"v": st.integers(1, 2)}),
            min_size=1,
            max_size=3,
            unique_by=lambda item: str(item["k"]),
        ),
        "set": st.lists(keys, min_size=1, max_size=3, unique=True),
        "atom": st.lists(keys, max_size=2),
        "m": st.dictionaries(keys, st.sampled_from("12"), max_size=2),
        "am": st.dictionaries(st.sampled_from("xy"), st.integers(1, 2), max_size=2),
        "free": st.dictionaries(keys, st.dictionaries(keys, st.integers(1, 2), max_size=2), max_size=2),
    },
)


def holds(value: Any, config: Any) -> bool:
    if isinstance(config, dict):
        return isinstance(value, dict) and all(key in value and holds(value[key], item) for key, item in config.items())
    if isinstance(config, list):
        return isinstance(value, list) and all(any(holds(one, item) for one in value) for item in config)
    return bool(value == config)


@given(st.lists(st.tuples(st.sampled_from(["m1", "m2", "m3"]), specs), min_size=1, max_size=4))
def test_forced_applies(steps: list[tuple[str, dict[str, Any]]]) -> None:
    obj = None
    for manager, spec in steps:
        obj = applied(obj, widget(spec), manager, force=True)
        assert holds(obj.get("spec", {}), {key: item for key, item in spec.items() if item not in ([], {})})
        again = applied(obj, widget(spec), manager, force=True, now=LATER)
        assert again == obj
        assert applied(obj, widget(spec), manager, now=LATER) == obj


@given(specs)
def test_the_same_configuration_is_shared_without_conflict(spec: dict[str, Any]) -> None:
    first = applied(None, widget(spec), "m1")
    second = applied(first, widget(spec), "m2")
    assert second.get("spec") == first.get("spec")
    owners = entries(second)
    assert owners.get("m1") == owners.get("m2")
    # Either may leave; only what both leave goes.
    left = applied(second, widget(), "m1")
    assert left.get("spec") == first.get("spec")
    gone = applied(left, widget(), "m2").get("spec", {})
    assert not any(gone.values())


@given(specs, specs)
def test_one_manager_ends_with_its_last_configuration(before: dict[str, Any], after: dict[str, Any]) -> None:
    direct = applied(None, widget(after))
    moved = applied(applied(None, widget(before)), widget(after))
    kept = {key: value for key, value in moved.get("spec", {}).items() if value not in ([], {}) or key in after}
    for key, value in direct.get("spec", {}).items():
        if key in ("list", "set"):
            assert len(kept.get(key, [])) == len(value) and all(item in kept[key] for item in value)
        elif key != "free":
            assert kept[key] == value
    assert set(kept) <= set(after)
    assert entries(moved) == entries(direct)


def test_other_versions_of_the_kind() -> None:
    second = copy.deepcopy(WIDGET)
    del second.properties["spec"].properties["m"]
    versions = {"example.com/v1": WIDGET, "example.com/v2": second}
    v2 = widget({"a": "1"}) | {"apiVersion": "example.com/v2"}
    obj = applied(None, v2, "m2", schema=second, versions=versions) | {"apiVersion": "example.com/v1"}
    with pytest.raises(ApiError, match=r"failed to convert new object: \.spec\.m: field not declared in schema"):
        applied(obj, widget({"m": {"r": "1"}}), versions=versions)
    assert list(entries(applied(obj, widget({"am": {"x": 1}}), versions=versions))) == ["m1", "m2"]
    del versions["example.com/v2"]
    assert list(entries(applied(obj, widget({"am": {"x": 1}}), versions=versions))) == ["m1"]
