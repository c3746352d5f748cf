"""Structural schemas of CustomResourceDefinitions as schema nodes.

`compile_crd_schema` makes what decoding, pruning, defaulting, ownership and OpenAPI walk: with the implied
`apiVersion`, `kind` and `metadata` of resources. `compile_value_schema` makes what validation walks: the schema as it
was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.schema.builtin import definition
from fairlead.embedded.apiserver.schema.node import UNSET, Schema, StructuralConstraints
from fairlead.embedded.apiserver.schema.rules import compile_rules

JsonSchema = Mapping[str, Any]

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_BOUNDS = {
    "minimum": "minimum",
    "exclusiveMinimum": "exclusive_minimum",
    "maximum": "maximum",
    "exclusiveMaximum": "exclusive_maximum",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_items",
    "maxItems": "max_items",
    "uniqueItems": "unique_items",
    "minProperties": "min_properties",
    "maxProperties": "max_properties",
    "pattern": "pattern",
}


def compile_crd_schema(openapi_v3_schema: JsonSchema | None) -> Schema:
    """The schema of a custom resource. No schema at all means that every field is preserved."""
    if openapi_v3_schema is None:
        openapi_v3_schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    root = _compile(openapi_v3_schema, implied=True, is_root=True)
    return root


def compile_value_schema(openapi_v3_schema: JsonSchema, *, is_root: bool = True) -> Schema:
    """The schema for validation; `rules` are compiled when they are first evaluated."""
    return _compile(openapi_v3_schema, implied=False, is_root=is_root)


def _compile(source: JsonSchema, *, implied: bool, is_root: bool = False) -> Schema:
    is_int_or_string = bool(source.get("x-kubernetes-int-or-string"))
    node = Schema(
        type="" if is_int_or_string else source.get("type", ""),
        format="int-or-string" if is_int_or_string else source.get("format", ""),
        description=source.get("description", ""),
        required=tuple(source.get("required") or ()),
        map_atomic=source.get("x-kubernetes-map-type") == "atomic",
        preserve_unknown=bool(source.get("x-kubernetes-preserve-unknown-fields")),
        embedded_resource=bool(source.get("x-kubernetes-embedded-resource")),
        list_type=source.get("x-kubernetes-list-type") or "atomic",
        list_keys=tuple(source.get("x-kubernetes-list-map-keys") or ()),
        default=source.get("default", UNSET),
        nullable=bool(source.get("nullable")),
    )
    for name, child in (source.get("properties") or {}).items():
        node.properties[name] = _compile(child, implied=implied)
    if implied and (is_root or node.embedded_resource):
        _imply_resource_fields(node)
    items = source.get("items")
    if isinstance(items, Mapping):
        node.items = _compile(items, implied=implied)
    values = source.get("additionalProperties")
    if isinstance(values, Mapping):
        node.additional = _compile(values, implied=implied)
    elif values is True:
        node.additional = Schema(preserve_unknown=True, nullable=True)
    # What OpenAPI documents tell needs no combinations and no rules.
    node.constraints = _told(_bounds(source)) if implied else _constraints(source, node, is_root=is_root)
    return node


def _imply_resource_fields(node: Schema) -> None:
    node.properties.setdefault("apiVersion", Schema(type="string"))
    node.properties.setdefault("kind", Schema(type="string"))
    node.properties["metadata"] = definition(OBJECT_META)


def _bounds(source: JsonSchema) -> dict[str, Any]:
    found: dict[str, Any] = {ours: source[theirs] for theirs, ours in _BOUNDS.items() if source.get(theirs) is not None}
    if source.get("enum") is not None:
        found["enum"] = tuple(source["enum"])
    return found


def _told(found: dict[str, Any]) -> StructuralConstraints | None:
    return StructuralConstraints(**found) if found else None


def _constraints(source: JsonSchema, node: Schema, *, is_root: bool) -> StructuralConstraints | None:
    found = _bounds(source)
    for theirs, ours in (("allOf", "all_of"), ("anyOf", "any_of"), ("oneOf", "one_of")):
        if source.get(theirs):
            found[ours] = tuple(_compile(each, implied=False) for each in source[theirs])
    if isinstance(source.get("not"), Mapping):
        found["not_"] = _compile(source["not"], implied=False)
    if source.get("x-kubernetes-validations"):
        found["rules"] = compile_rules(source["x-kubernetes-validations"], node, is_root=is_root)
    return _told(found)
