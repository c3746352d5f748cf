"""List and map types in the schemas of CustomResourceDefinitions: they have to fit the node and its items.

Messages and their order follow `k8s.io/apiextensions-apiserver` (`pkg/apis/apiextensions/validation`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required

JsonSchema = Mapping[str, Any]


def type_consistency_errors(schema: JsonSchema, path: str) -> list[FieldError]:
    """Errors of map and list types against the types of the node and its items."""
    errors: list[FieldError] = []
    type_, map_type = schema.get("type") or "", schema.get("x-kubernetes-map-type")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        field_ = f"{path}.x-kubernetes-preserve-unknown-fields"
        errors.append(invalid(field_, False, "must be true or undefined"))
    if map_type is not None and type_ != "object":
        detail = "must be object if x-kubernetes-map-type is specified"
        errors.append(invalid(f"{path}.type", type_, detail) if type_ else required(f"{path}.type", detail))
    if map_type is not None and map_type not in ("atomic", "granular"):
        errors.append(not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular")))
    return errors + _list_type_errors(schema, path)


def _list_type_errors(schema: JsonSchema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    type_, list_type, items = schema.get("type") or "", schema.get("x-kubernetes-list-type"), schema.get("items")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if list_type is not None and type_ != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        errors.append(invalid(f"{path}.type", type_, detail) if type_ else required(f"{path}.type", detail))
    elif list_type == "set" and isinstance(items, Mapping):
        errors += _set_item_errors(items, path)
    if list_type is not None and list_type not in ("atomic", "set", "map"):
        supported = '"atomic", "set", "map"'
        message = f"Unsupported value: {json.dumps(list_type)}: supported values: {supported}"
        errors.append(FieldError("FieldValueNotSupported", f"{path}.x-kubernetes-list-type", message))
    if keys and list_type != "map":
        detail, where = "must be map if x-kubernetes-list-map-keys is non-empty", f"{path}.x-kubernetes-list-type"
        errors.append(required(where, detail) if list_type is None else invalid(where, list_type, detail))
    if list_type == "map":
        errors += _map_list_errors(items, keys, path)
    if list_type in ("set", "map") and isinstance(items, Mapping):
        errors += _key_errors(items, keys, list_type, path)
    return errors


def _set_item_errors(items: JsonSchema, path: str) -> list[FieldError]:
    detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
        return [invalid(f"{path}.items.x-kubernetes-list-type", items["x-kubernetes-list-type"], detail)]
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        # The API server shows the list type here, which an object does not have.
        return [invalid(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-list-type"), detail)]
    return []


def _map_list_errors(items: Any, keys: list[str], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        errors.append(required(where, "must not be empty if x-kubernetes-list-type is map"))
    if items is None:
        errors.append(required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map"))
    if not isinstance(items, Mapping):
        return errors
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        return [*errors, invalid(f"{path}.items.type", items.get("type") or "", detail)]
    properties, seen = items.get("properties") or {}, set[str]()
    for key in keys:
        if key not in properties:
            errors.append(invalid(where, keys, "entries must all be names of item properties"))
        elif properties[key].get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            errors.append(invalid(f"{path}.items.properties[{key}].type", "object", detail))
        if key in seen:
            errors.append(invalid(where, keys, "must not contain duplicate entries"))
        seen.add(key)
    return errors


def _key_errors(items: JsonSchema, keys: list[str], list_type: str, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if items.get("nullable"):
        errors.append(
            forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
        )
    for key in keys if list_type == "map" else ():
        child = (items.get("properties") or {}).get(key)
        if child is None:
            continue
        where = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and child.get("default") is None:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            errors.append(required(f"{where}.default", detail))
        if child.get("nullable"):
            detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            errors.append(forbidden(f"{where}.nullable", detail))
    return errors
