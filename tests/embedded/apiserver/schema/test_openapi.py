from typing import Any

from fairlead.embedded.apiserver.kinds.crd import types as crd_types
from fairlead.embedded.apiserver.kinds.crd import types_of_crd
from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.registry import ResourceType, ScaleMapping, Strategy
from fairlead.embedded.apiserver.schema.openapi import openapi_v2, openapi_v3, openapi_v3_index

DEPLOYMENTS = resource_type(
    "apps/v1", "deployments", "Deployment", strategy=Strategy(), has_status=True,
    scale=ScaleMapping(".spec.replicas", ".status.replicas"),
)  # fmt: skip


def widgets(**schema: Any) -> list[ResourceType]:
    spec = {"type": "object", "description": "What is wanted.", "properties": {"a": {"type": "string"}, **schema}}
    return types_of_crd(
        {
            "spec": {
                "group": "demo.example.com",
                "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                    }
                ],
            }
        }
    )


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_reference_is_defined() -> None:
    types = [DEPLOYMENTS, *crd_types(), *widgets()]
    v3 = openapi_v3(types)
    defined = {f"#/components/schemas/{name}" for name in v3["components"]["schemas"]}
    assert references(v3) <= defined
    v2 = openapi_v2(types)
    assert references(v2) <= {f"#/definitions/{name}" for name in v2["definitions"]}


def test_patch_says_which_parameters_it_knows() -> None:
    item = openapi_v3([DEPLOYMENTS])["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} == {
        each["name"] for each in item["patch"]["parameters"]
    }
    assert item["patch"]["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert "application/strategic-merge-patch+json" in item["patch"]["requestBody"]["content"]


def test_scale_is_of_another_kind() -> None:
    scale = openapi_v3([DEPLOYMENTS])["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]
    assert scale["get"]["x-kubernetes-group-version-kind"]["kind"] == "Scale"


def test_definitions_carry_kinds_patch_metadata_and_descriptions() -> None:
    schemas = openapi_v3([DEPLOYMENTS])["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"] == [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    pod_spec = schemas["io.k8s.api.core.v1.PodSpec"]
    containers = pod_spec["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert containers["description"]


def test_custom_kinds_have_their_own_schemas() -> None:
    schemas = openapi_v3(widgets())["components"]["schemas"]
    widget = schemas["com.example.demo.v1.Widget"]
    assert widget["properties"]["spec"]["description"] == "What is wanted."
    assert widget["properties"]["metadata"]["$ref"].endswith("ObjectMeta")
    assert schemas["com.example.demo.v1.WidgetList"]["properties"]["items"]["items"]["$ref"].endswith("v1.Widget")


def test_the_index_changes_with_a_custom_schema_only() -> None:
    before = openapi_v3_index([DEPLOYMENTS, *widgets()])["paths"]
    after = openapi_v3_index([DEPLOYMENTS, *widgets(b={"type": "string"})])["paths"]
    assert before["apis/apps/v1"] == after["apis/apps/v1"]
    assert before["apis/demo.example.com/v1"] != after["apis/demo.example.com/v1"]
    assert before["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")


def test_what_values_must_be_is_told_of_custom_kinds() -> None:
    said = {
        "mode": {"type": "string", "enum": ["Auto", "Off"], "default": "Auto"},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "name": {"type": "string", "maxLength": 3, "pattern": "^a"},
        "list": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 2},
    }
    for document, where in ((openapi_v3(widgets(**said)), "components"), (openapi_v2(widgets(**said)), "")):
        schemas = document["components"]["schemas"] if where else document["definitions"]
        told = schemas["com.example.demo.v1.Widget"]["properties"]["spec"]["properties"]
        assert told["mode"]["enum"] == ["Auto", "Off"]
        assert (told["count"]["minimum"], told["count"]["maximum"]) == (0, 9)
        assert (told["name"]["maxLength"], told["name"]["pattern"]) == (3, "^a")
        assert told["list"]["maxItems"] == 2 and told["list"]["items"]["minLength"] == 1
