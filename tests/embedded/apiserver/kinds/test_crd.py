import copy
from typing import Any

import pytest

from fairlead.embedded.apiserver.kinds.crd import types, types_of_crd
from fairlead.embedded.apiserver.registry import RequestContext

CONTEXT = RequestContext(namespace="", now="2026-01-01T00:00:00Z")
STRATEGY = types()[0].strategy


def definition(*versions: dict[str, Any], **spec: Any) -> dict[str, Any]:
    obj = {
        "metadata": {"name": "widgets.demo.example.com"},
        "spec": {
            "group": "demo.example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": list(versions) or [version("v1")],
            **spec,
        },
    }
    STRATEGY.default(obj)
    STRATEGY.prepare_create(obj, CONTEXT)
    return obj


def version(name: str, *, storage: bool = True, **more: Any) -> dict[str, Any]:
    properties = more.pop("properties", {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}})
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return {"name": name, "served": True, "storage": storage, "schema": schema, **more}


def errors(obj: dict[str, Any]) -> list[str]:
    return [f"{error.field}: {error.message}" for error in STRATEGY.validate_create(obj, CONTEXT)]


def test_names_are_completed() -> None:
    names = definition()["spec"]["names"]
    assert (names["singular"], names["listKind"]) == ("widget", "WidgetList")
    assert errors(definition()) == []


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (definition(group="example"), 'spec.group: Invalid value: "example": should be a domain with at least one dot'),
        (definition(scope="Global"), 'spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced"'),  # noqa: E501
        (definition(version("v1", storage=False)), "spec.versions: Invalid value: "),
        (definition(version("V1")), 'spec.versions[0].name: Invalid value: "V1": a DNS-1035 label must consist of'),
        (definition(version("v1", schema=None)), "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (definition(version("v1", deprecationWarning="old")),
         'spec.versions[0].deprecationWarning: Invalid value: "old": can only be set for deprecated versions'),
        (definition(version("v1", additionalPrinterColumns=[{"name": "A", "type": "x", "jsonPath": "a"}])),
         'spec.additionalPrinterColumns[0].type: Invalid value: "x": must be one of boolean,date,integer,number,string'),  # noqa: E501
        (definition(version("v1", subresources={"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.x"}})),  # noqa: E501
         'spec.subresources.scale.specReplicasPath: Invalid value: ".x": should be a json path under .spec'),
        (definition(version("v1", selectableFields=[{"jsonPath": ".spec.z"}])),
         'spec.selectableFields[0].jsonPath: Invalid value: ".spec.z": is an invalid path: does not refer to a valid field'),  # noqa: E501
        (definition(group="demo.k8s.io"), "metadata.annotations[api-approved.kubernetes.io]: Required value: protected"),  # noqa: E501
        (definition(version("v1", properties={"p": {}})), "spec.validation.openAPIV3Schema.properties[p].type: Required"),  # noqa: E501
    ],
)  # fmt: skip
def test_each_rule_has_its_message(obj: dict[str, Any], expected: str) -> None:
    assert any(error.startswith(expected) for error in errors(obj)), errors(obj)


def test_schemas_that_differ_are_told_at_their_version() -> None:
    obj = definition(version("v1"), version("v2", storage=False, properties={"p": {}}))
    assert errors(obj) == [
        "spec.versions[1].schema.openAPIV3Schema.properties[p].type: Required value: "
        "must not be empty for specified object fields"
    ]


def test_stored_versions_are_remembered_and_may_not_go() -> None:
    old = definition(version("v1"), version("v2", storage=False))
    new = copy.deepcopy(old)
    new["spec"]["versions"][0]["storage"], new["spec"]["versions"][1]["storage"] = False, True
    STRATEGY.prepare_update(new, old, CONTEXT)
    assert new["status"]["storedVersions"] == ["v1", "v2"]
    del new["spec"]["versions"][0]
    (error,) = STRATEGY.validate_update(new, old, CONTEXT)
    assert error.field == "status.storedVersions[0]"
    assert error.message.startswith(
        'Invalid value: "v1": missing from spec.versions; v1 was previously a storage version'
    )


def test_deletion_waits_for_the_objects() -> None:
    obj = definition()
    STRATEGY.begin_deletion(obj, CONTEXT)
    assert obj["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert obj["status"]["conditions"][0]["type"] == "Terminating"


def test_unknown_formats_draw_a_warning() -> None:
    obj = definition(version("v1", properties={"p": {"type": "string", "format": "odd"}}))
    assert STRATEGY.warnings(obj, None) == ['unrecognized format "odd"']


def test_served_versions_become_types() -> None:
    spec = {"type": "object", "properties": {"b": {"type": "string"}}}
    selectable = [{"jsonPath": ".spec.b"}]
    newer = version(
        "v2", storage=False, properties={"spec": spec}, subresources={"status": {}}, selectableFields=selectable
    )
    first, second = types_of_crd(definition(version("v1"), newer, version("v3", storage=False, served=False)))
    assert (first.version, second.version, second.storage_version) == ("v1", "v2", "v1")
    assert second.has_status and not first.has_status
    assert second.selectable_fields["spec.b"]({"spec": {"b": "x"}}) == "x"
    assert first.from_storage is None and second.from_storage is not None
    stored = {"metadata": {"name": "w"}, "kind": "Widget", "apiVersion": "demo.example.com/v2", "spec": {"a": "1"}}
    assert second.from_storage(stored)["spec"] == {}
    assert stored["spec"] == {"a": "1"}


def test_generation_counts_the_spec_and_without_a_status_subresource_the_status_too() -> None:
    plain, with_status = (
        types_of_crd(definition(version("v1", **more)))[0].strategy for more in ({}, {"subresources": {"status": {}}})
    )
    old, new = {"metadata": {}, "status": {"x": 1}}, {"metadata": {"labels": {}}, "status": {"x": 2}}
    assert plain.generation_changed(new, old)
    assert not with_status.generation_changed(new, old)
