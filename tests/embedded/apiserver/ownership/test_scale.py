from __future__ import annotations

from typing import Any

from ownership_kinds import LATER, NOW

from fairlead.embedded.apiserver.ownership import SCALE_VERSION, entries_for_scale, entries_from_scale

REPLICAS = ("spec", "replicas")


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **extra: Any) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        "time": NOW,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": fields},
    } | extra


def test_a_scale_has_the_owners_of_the_replicas() -> None:
    object_entries = [entry("a", {"f:replicas": {}, "f:x": {}}), entry("b", {"f:x": {}}, "Apply")]
    assert entries_for_scale(object_entries, REPLICAS) == [
        entry("a", {"f:replicas": {}}, apiVersion=SCALE_VERSION),
    ]


def test_the_new_owner_takes_the_replicas_from_the_old_one() -> None:
    object_entries = [entry("a", {"f:replicas": {}, "f:x": {}}), entry("gone", {"f:replicas": {}}, "Apply")]
    scale_entries = [
        entry("scaler", {"f:replicas": {}}, apiVersion=SCALE_VERSION, subresource="scale", time=LATER),
    ]
    taken = entry("scaler", {"f:replicas": {}}, subresource="scale")
    del taken["time"]
    assert entries_from_scale(object_entries, scale_entries, REPLICAS, "apps/v1") == [
        taken,
        entry("a", {"f:x": {}}),
    ]


def test_an_applier_that_keeps_the_replicas_keeps_its_entry() -> None:
    object_entries = [entry("a", {"f:replicas": {}, "f:x": {}}, "Apply")]
    scale_entries = entries_for_scale(object_entries, REPLICAS)
    assert entries_from_scale(object_entries, scale_entries, REPLICAS, "apps/v1") == object_entries
