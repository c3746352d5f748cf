"""Rules of storage.k8s.io and of LeaseCandidate: refused fields, and what an update may not change."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.registry import Object, RequestContext

CONTEXT = RequestContext(namespace="", now="2026-01-01T00:00:00Z")
STRATEGIES = {t.kind: t.strategy for t in reversed(builtin_types())}


def made(kind: str, parts: dict[str, Any]) -> Object:
    obj: Object = {"metadata": {"name": "x", "resourceVersion": "1"}, **parts}
    if kind == "LeaseCandidate":
        obj["metadata"]["namespace"] = "n"
    STRATEGIES[kind].default(obj)
    return obj


def topology(*values: str, key: str = "zone") -> dict[str, Any]:
    return {"matchLabelExpressions": [{"key": key, "values": list(values)}]}


_ATTACHMENT = {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}
_CANDIDATE = {"leaseName": "l", "binaryVersion": "1.36.0", "strategy": "OldestEmulationVersion"}


@pytest.mark.parametrize(
    ("kind", "parts", "expected"),
    [
        ("StorageClass", {"provisioner": "p", "allowedTopologies": [topology("a"), topology("b")]}, []),
        (
            "StorageClass",
            {"provisioner": "p", "allowedTopologies": [topology("a"), topology("a")]},
            ["allowedTopologies[1].matchLabelExpressions"],
        ),
        (
            "StorageClass",
            {"provisioner": "p", "allowedTopologies": [topology("a", "a", key="!")]},
            [
                "allowedTopologies[0].matchLabelExpressions[0].values[1]",
                "allowedTopologies[0].matchLabelExpressions[0].key",
            ],
        ),
        ("StorageClass", {"provisioner": "p", "parameters": {"": "v"}}, ["parameters"]),
        ("StorageClass", {"provisioner": "p", "parameters": {"k": "v" * 300_000}}, ["parameters"]),
        ("CSIDriver", {"spec": {"nodeAllocatableUpdatePeriodSeconds": 9}}, ["spec.nodeAllocatableUpdatePeriodSeconds"]),
        (
            "CSIDriver",
            {"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 599}, {"audience": "a"}]}},
            ["spec.tokenRequests[0].expirationSeconds", "spec.tokenRequests[1].audience"],
        ),
        (
            "CSINode",
            {"spec": {"drivers": [{"name": "d", "nodeID": "n", "allocatable": {"count": -1}, "topologyKeys": ["!"]}]}},
            ["spec.drivers[0].allocatable.count", "spec.drivers[0]", "spec.drivers[0]"],
        ),
        ("VolumeAttachment", {"spec": _ATTACHMENT}, []),
        ("VolumeAttachment", {"spec": {**_ATTACHMENT, "attacher": "Bad_"}}, ["spec.attacher"]),
        ("LeaseCandidate", {"spec": _CANDIDATE}, []),
        ("LeaseCandidate", {"spec": {**_CANDIDATE, "binaryVersion": "1.36"}}, ["spec.binaryVersion"]),
        ("LeaseCandidate", {"spec": {**_CANDIDATE, "emulationVersion": "1.37.0"}}, ["spec.binaryVersion"]),
        ("LeaseCandidate", {"spec": {}}, ["spec.leaseName", "spec.binaryVersion", "spec.strategy"]),
    ],
)
def test_refused_fields(kind: str, parts: dict[str, Any], expected: list[str]) -> None:
    found = [error.field for error in STRATEGIES[kind].validate_create(made(kind, parts), CONTEXT)]
    assert list(dict.fromkeys(found)) == list(dict.fromkeys(expected))


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        ("CSIDriver", {"spec": {}}, {"spec": {"attachRequired": False}}, ["spec.attachedRequired"]),
        ("CSIDriver", {"spec": {}}, {"spec": {"requiresRepublish": True}}, []),
        (
            "CSINode",
            {"spec": {"drivers": [{"name": "d", "nodeID": "n"}]}},
            {"spec": {"drivers": [{"name": "d", "nodeID": "m"}]}},
            ["spec.drivers"],
        ),
        (
            "CSINode",
            {"spec": {"drivers": [{"name": "d", "nodeID": "n"}]}},
            {"spec": {"drivers": [{"name": "d", "nodeID": "n", "allocatable": {"count": 3}}]}},
            [],
        ),
    ],
)
def test_refused_changes(kind: str, before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    old, new = made(kind, before), made(kind, after)
    assert [error.field for error in STRATEGIES[kind].validate_update(new, old, CONTEXT)] == expected


def test_the_generation_of_a_driver_begins_with_its_first_change() -> None:
    old, new = made("CSIDriver", {"spec": {}}), made("CSIDriver", {"spec": {"requiresRepublish": True}})
    STRATEGIES["CSIDriver"].prepare_update(new, old, CONTEXT)
    assert new["metadata"]["generation"] == 1
