from __future__ import annotations

from typing import Any

import yaml

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.protobuf.openapi_document import openapi_v2_document
from fairlead.embedded.apiserver.protobuf.wire import BYTES, FIXED64, double, fields_of
from fairlead.embedded.apiserver.registry import Strategy
from fairlead.embedded.apiserver.schema.openapi import openapi_v2


def parts(data: bytes, number: int) -> list[Any]:
    """The values of a field as they came: text and messages as bytes, numbers as such."""
    found: list[Any] = []
    for field in fields_of(data):
        if field.number == number:
            is_real = field.wire == FIXED64
            found.append(double(field.data) if is_real else field.data if field.wire == BYTES else field.integer)
    return found


def named(data: bytes, number: int) -> dict[str, bytes]:
    return {parts(entry, 1)[0].decode(): parts(entry, 2)[0] for entry in parts(data, number)}


def extensions(data: bytes, number: int) -> dict[str, Any]:
    return {name: yaml.safe_load(parts(value, 2)[0]) for name, value in named(data, number).items()}


def test_the_document_says_in_protobuf_what_it_says_in_json() -> None:
    types = [resource_type("v1", "configmaps", "ConfigMap", strategy=Strategy())]
    document = openapi_v2(types)
    message = openapi_v2_document(document)
    assert parts(message, 1) == [b"2.0"]
    assert parts(parts(message, 2)[0], 1) == [document["info"]["title"].encode()]
    definitions = named(parts(message, 9)[0], 1)
    assert definitions.keys() == document["definitions"].keys()
    name = "io.k8s.api.core.v1.ConfigMap"
    said, schema = document["definitions"][name], definitions[name]
    assert parts(parts(schema, 22)[0], 1) == [b"object"]
    key = "x-kubernetes-group-version-kind"
    assert extensions(schema, 31)[key] == said[key]
    properties = named(parts(schema, 25)[0], 1)
    assert properties.keys() == said["properties"].keys()
    assert parts(properties["immutable"], 4) == [said["properties"]["immutable"]["description"].encode()]
    data = parts(properties["data"], 21)[0]
    assert parts(parts(parts(data, 1)[0], 22)[0], 1) == [b"string"]
    assert parts(properties["metadata"], 1)[0].decode().startswith("#/definitions/io.k8s.apimachinery")


def test_operations_and_their_parameters() -> None:
    types = [resource_type("v1", "configmaps", "ConfigMap", strategy=Strategy())]
    document = openapi_v2(types)
    paths = named(parts(openapi_v2_document(document), 8)[0], 2)
    assert paths.keys() == document["paths"].keys()
    path = "/api/v1/namespaces/{namespace}/configmaps/{name}"
    patch = parts(paths[path], 8)[0]
    assert extensions(patch, 13) == {k: v for k, v in document["paths"][path]["patch"].items() if k.startswith("x-")}
    query, body = [], []
    for item in parts(patch, 8):
        parameter = parts(item, 1)[0]
        body += [parts(each, 2)[0] for each in parts(parameter, 1)]
        for other in parts(parameter, 2):
            query += [parts(each, 4)[0].decode() for each in parts(other, 3)]
    said = document["paths"][path]["patch"]["parameters"]
    assert query == [each["name"] for each in said if each["in"] == "query"]
    assert "fieldValidation" in query
    assert body == [b"body"]
    responses = named(parts(patch, 9)[0], 1)
    assert b"ConfigMap" in parts(parts(parts(responses["200"], 1)[0], 2)[0], 1)[0]


def test_constraints() -> None:
    schema = {
        "type": "integer", "format": "int32", "minimum": 1, "maximum": 2.5, "exclusiveMinimum": True, "maxLength": 7,
        "enum": [1, "two"], "default": {"a": None}, "required": ["x", "y"], "additionalProperties": False,
        "items": {"type": "string"}, "x-kubernetes-list-type": "map", "unknown": 1,
    }  # fmt: skip
    document = openapi_v2_document({"definitions": {"d": schema}})
    made = named(parts(document, 9)[0], 1)["d"]
    assert (parts(made, 9), parts(made, 7)) == ([1.0], [2.5])
    assert (parts(made, 10), parts(made, 11)) == ([1], [7])
    assert [yaml.safe_load(parts(each, 2)[0]) for each in parts(made, 20)] == [1, "two"]
    assert yaml.safe_load(parts(parts(made, 5)[0], 2)[0]) == {"a": None}
    assert parts(made, 19) == [b"x", b"y"]
    assert parts(parts(made, 21)[0], 2) == [0]
    assert extensions(made, 31) == {"x-kubernetes-list-type": "map"}
