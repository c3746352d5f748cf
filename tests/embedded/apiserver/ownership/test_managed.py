from __future__ import annotations

import copy
from typing import Any

import pytest
from ownership_kinds import LATER, NOW, POD, WIDGET, entries, pod, widget

from fairlead.embedded.apiserver.ownership import record_update


def created(obj: dict[str, Any], schema: Any = WIDGET, manager: str = "m", **options: Any) -> dict[str, Any]:
    obj = copy.deepcopy(obj)
    record_update(obj, None, schema, manager=manager, api_version=obj["apiVersion"], now=NOW, **options)
    return obj | {"metadata": obj["metadata"] | {"uid": "u", "resourceVersion": "1"}}


def updated(
    old: dict[str, Any], change: dict[str, Any], schema: Any = WIDGET, manager: str = "m", **options: Any
) -> dict[str, Any]:
    """`change` replaces top-level fields; metadata is merged, and None there removes."""
    new = copy.deepcopy(old) | copy.deepcopy(change)
    new["metadata"] = {
        k: v for k, v in (copy.deepcopy(old["metadata"]) | change.get("metadata", {})).items() if v is not None
    }
    before = copy.deepcopy(old)
    options = {"manager": manager, "api_version": old["apiVersion"], "now": LATER} | options
    record_update(new, old, schema, **options)
    assert old == before
    return new


def test_create_of_a_custom_resource_owns_its_containers() -> None:
    obj = created(
        widget(
            {"a": "1", "list": [{"k": "x", "v": 1}], "set": ["p"], "atom": ["q"], "m": {"r": "1"}, "am": {"x": 1}},
            labels={"l": "1"},
        )
    )
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "m",
            "operation": "Update",
            "apiVersion": "example.com/v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:l": {}}},
                "f:spec": {
                    ".": {},
                    "f:a": {},
                    "f:am": {},
                    "f:atom": {},
                    "f:list": {".": {}, 'k:{"k":"x"}': {".": {}, "f:k": {}, "f:v": {}}},
                    "f:m": {".": {}, "f:r": {}},
                    "f:set": {".": {}, 'v:"p"': {}},
                },
            },
        }
    ]


def test_create_of_a_built_in_kind_does_not_own_what_its_structs_always_have() -> None:
    container = {"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 80}]}
    obj = created(pod({"containers": [container], "security": {"user": 1}, "nodeSelector": {"a": "b"}}), POD)
    assert entries(obj)["m"] == {
        "f:spec": {
            "f:containers": {
                'k:{"name":"c"}': {
                    ".": {},
                    "f:image": {},
                    "f:name": {},
                    "f:ports": {".": {}, 'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                    "f:resources": {},
                }
            },
            "f:nodeSelector": {},
            "f:security": {".": {}, "f:user": {}},
        }
    }


def test_zero_values_are_not_owned() -> None:
    obj = pod({"containers": []}) | {"status": {"replicas": 0, "phase": "x"}}
    assert entries(created(obj, POD))["m"] == {"f:spec": {"f:containers": {}}, "f:status": {"f:phase": {}}}


def test_create_that_names_nothing_has_no_entry() -> None:
    assert "managedFields" not in created(widget())["metadata"]


def test_reset_fields_are_not_owned() -> None:
    obj = widget({"a": "1"}) | {"status": {"x": 1}}
    assert entries(created(obj, reset_fields=(("status",),))) == {"m": {"f:spec": {".": {}, "f:a": {}}}}
    assert entries(created(obj, only_fields=(("status",),))) == {"m": {"f:status": {".": {}, "f:x": {}}}}


def test_update_moves_what_it_changes() -> None:
    obj = created(widget({"a": "1", "m": {"r": "1", "s": "1"}}))
    obj = updated(obj, {"spec": {"a": "2", "m": {"r": "1", "t": "1"}}}, manager="other")
    assert entries(obj) == {
        "m": {"f:spec": {".": {}, "f:m": {".": {}, "f:r": {}}}},
        "other": {"f:spec": {"f:a": {}, "f:m": {"f:t": {}}}},
    }
    assert [entry["time"] for entry in obj["metadata"]["managedFields"]] == [NOW, LATER]


def test_update_by_the_same_manager_merges_into_its_entry() -> None:
    obj = updated(created(widget({"a": "1"})), {"spec": {"a": "1", "m": {"r": "1"}}})
    assert entries(obj) == {"m": {"f:spec": {".": {}, "f:a": {}, "f:m": {".": {}, "f:r": {}}}}}
    assert obj["metadata"]["managedFields"][0]["time"] == LATER


def test_manager_version_and_subresource_make_an_entry_of_their_own() -> None:
    obj = created(widget({"a": "1"}))
    obj = updated(obj, {"status": {"x": 1}}, subresource="status")
    obj = updated(obj, {"spec": {"a": "2"}}, api_version="example.com/v2")
    assert [
        (entry["apiVersion"], entry.get("subresource"), list(entry["fieldsV1"]))
        for entry in obj["metadata"]["managedFields"]
    ] == [
        ("example.com/v1", None, ["f:spec"]),
        ("example.com/v1", "status", ["f:status"]),
        ("example.com/v2", None, ["f:spec"]),
    ]


def test_update_without_effect_changes_nothing() -> None:
    obj = created(widget({"a": "1", "list": [{"k": "x"}]}))
    assert updated(obj, {}, manager="other") == obj
    assert updated(obj, {"metadata": {"managedFields": None}}) == obj
    assert updated(obj, {"metadata": {"resourceVersion": "9"}})["metadata"]["managedFields"][0]["time"] == NOW


def test_removal_is_nobodys_but_empties_entries() -> None:
    obj = updated(created(widget({"a": "1"})), {"spec": {"m": {"r": "1"}}}, manager="other")
    obj = updated(obj, {"spec": {}}, manager="third")
    assert entries(obj) == {"m": {"f:spec": {}}}


def test_list_items() -> None:
    obj = created(widget({"list": [{"k": "x", "v": 1}, {"k": "y", "v": 1}], "set": ["p", "q"]}), manager="m")
    obj = updated(
        obj, {"spec": {"list": [{"k": "y", "v": 2}, {"k": "z"}], "set": ["q", "r"]}}, manager="other"
    )  # fmt: skip
    assert entries(obj)["other"] == {
        "f:spec": {
            "f:list": {'k:{"k":"y"}': {"f:v": {}}, 'k:{"k":"z"}': {".": {}, "f:k": {}}},
            "f:set": {'v:"r"': {}},
        }
    }
    assert entries(obj)["m"]["f:spec"]["f:list"] == {".": {}, 'k:{"k":"y"}': {".": {}, "f:k": {}}}
    assert entries(obj)["m"]["f:spec"]["f:set"] == {".": {}, 'v:"q"': {}}


def test_duplicate_list_items_are_owned_as_one_leaf() -> None:
    obj = created(widget({"list": [{"k": "x", "v": 1}, {"k": "x", "v": 2}]}))
    assert entries(obj)["m"]["f:spec"]["f:list"] == {".": {}, 'k:{"k":"x"}': {}}
    obj = updated(obj, {"spec": {"list": [{"k": "x", "v": 1}]}}, manager="other")
    assert entries(obj)["other"]["f:spec"]["f:list"] == {'k:{"k":"x"}': {".": {}, "f:k": {}, "f:v": {}}}


def test_a_value_that_changes_its_type() -> None:
    obj = created(widget({"free": {"x": {"y": 1}}}))
    obj = updated(obj, {"spec": {"free": {"x": "scalar"}}}, manager="other")
    assert entries(obj)["other"] == {"f:spec": {"f:free": {"f:x": {}}}}
    obj = updated(obj, {"spec": {"free": {"x": {"y": 1}}}}, manager="third")
    assert entries(obj)["third"] == {"f:spec": {"f:free": {"f:x": {".": {}, "f:y": {}}}}}


@pytest.mark.parametrize("sent", [[], [{}], [{"manager": "", "fieldsV1": {}}]])
def test_clearing_stops_tracking(sent: list[Any]) -> None:
    obj = updated(created(widget({"a": "1"})), {"metadata": {"managedFields": sent}})
    assert "managedFields" not in obj["metadata"]
    assert "managedFields" not in updated(obj, {"spec": {"a": "2"}})["metadata"]


@pytest.mark.parametrize(
    "bad",
    [
        {"manager": "x"},
        {"manager": "x", "operation": "Meddle", "apiVersion": "v1", "fieldsType": "FieldsV1"},
        {"manager": "x", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"?": {}}},
    ],
)
def test_malformed_entries_are_ignored(bad: dict[str, Any]) -> None:
    obj = created(widget({"a": "1"}))
    assert updated(obj, {"metadata": {"managedFields": [bad]}}) == obj


def test_sent_entries_count_but_not_through_a_subresource() -> None:
    obj = created(widget({"a": "1"}))
    mine = obj["metadata"]["managedFields"][0] | {"manager": "renamed"}
    assert list(entries(updated(obj, {"metadata": {"managedFields": [mine]}}))) == ["renamed"]
    assert updated(obj, {"metadata": {"managedFields": [mine]}}, subresource="status") == obj


def test_entries_sent_with_a_create_lose_what_the_create_owns() -> None:
    sent = created(widget({"a": "1"}), manager="before")
    assert entries(created(sent, manager="m")) == {"m": {"f:spec": {".": {}, "f:a": {}}}}


def test_oldest_update_entries_are_folded() -> None:
    obj = created(widget({"m": {"k": "0"}}), manager="m0")
    for number in range(1, 13):
        obj = updated(
            obj, {"spec": {"m": obj["spec"]["m"] | {f"k{number}": "1"}}}, manager=f"m{number}",
            now=f"2026-01-02T00:00:{number:02}Z",
        )  # fmt: skip
    owners = entries(obj)
    assert len(owners) == 10
    assert owners["ancient-changes"]["f:spec"]["f:m"] == {".": {}, "f:k": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}}
    times = [entry["time"] for entry in obj["metadata"]["managedFields"]]
    assert times == sorted(times)
