"""Which OpenAPI v3 schemas are structural: every field has a type, and value validation says nothing about shape.

Rules and messages follow `k8s.io/apiextensions-apiserver` (`pkg/apiserver/schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, required
from fairlead.embedded.apiserver.schema.validate import compile_pattern

JsonSchema = Mapping[str, Any]
Level = Literal["root", "item", "field"]

_EMPTY_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_FORBIDDEN_INSIDE = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
"""What may not stand inside allOf, anyOf, oneOf and not."""


def validate_structural(openapi_v3_schema: JsonSchema, path: str) -> list[FieldError]:
    """Every violation, ordered by field and message."""
    errors = _node_errors(openapi_v3_schema, "root", path)
    return sorted(errors, key=lambda error: f"{error.field}: {error.message}")


def _node_errors(schema: JsonSchema, level: Level, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    items = schema.get("items")
    if schema.get("type") == "array" and not isinstance(items, Mapping):
        errors.append(required(f"{path}.items", "must be specified"))
    if isinstance(items, Mapping):
        errors += _node_errors(items, "item", f"{path}.items")
    properties: Mapping[str, JsonSchema] = schema.get("properties") or {}
    for name, child in properties.items():
        errors += _node_errors(child, "field", f"{path}.properties[{name}]")
    values = schema.get("additionalProperties")
    if values is not None:
        if level == "root":
            errors.append(forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(values, Mapping):
            errors += _node_errors(values, "field", f"{path}.additionalProperties")
    errors += _extension_errors(schema, path)
    errors += _value_errors(schema, path, level)
    errors += _type_errors(schema, level, path)
    return errors + _resource_errors(schema, properties, level, path)


def _extension_errors(schema: JsonSchema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if schema.get("x-kubernetes-int-or-string"):
        detail = "must be false if x-kubernetes-int-or-string is true"
        for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(name):
                errors.append(invalid(f"{path}.{name}", True, detail))
    return errors


def _type_errors(schema: JsonSchema, level: Level, path: str) -> list[FieldError]:
    type_ = schema.get("type") or ""
    errors: list[FieldError] = []
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if embedded and type_ != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        field = f"{path}.type"
        errors.append(invalid(field, type_, detail) if type_ else required(field, detail))
    elif not (type_ or schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")):
        errors.append(required(f"{path}.type", _EMPTY_TYPE[level]))
    if embedded and schema.get("additionalProperties") is not None:
        detail = "must not be used if x-kubernetes-embedded-resource is set"
        errors.append(forbidden(f"{path}.additionalProperties", detail))
    if level == "root" and type_ and type_ != "object":
        errors.append(invalid(f"{path}.type", type_, "must be object at the root"))
    return errors


def _resource_errors(
    schema: JsonSchema, properties: Mapping[str, JsonSchema], level: Level, path: str
) -> list[FieldError]:
    """Errors of `apiVersion`, `kind` and `metadata` where they are those of a resource."""
    errors: list[FieldError] = []
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    is_resource = level == "root" or embedded
    for name in ("kind", "apiVersion"):
        if is_resource and name in properties and properties[name].get("type") != "string":
            errors.append(
                invalid(f"{path}.properties[{name}].type", properties[name].get("type") or "", "must be string")
            )
    metadata = properties.get("metadata")
    if metadata is not None:
        here = f"{path}.properties[metadata]"
        if is_resource and metadata.get("type") != "object":
            errors.append(invalid(f"{here}.type", metadata.get("type") or "", "must be object"))
        if level == "root" and not _says_names_only(metadata):
            detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            errors.append(forbidden(here, detail))
    if embedded and not schema.get("x-kubernetes-preserve-unknown-fields") and not properties:
        detail = "must not be empty if x-kubernetes-embedded-resource is true without "
        errors.append(required(f"{path}.properties", detail + "x-kubernetes-preserve-unknown-fields"))
    return errors


def _says_names_only(metadata: JsonSchema) -> bool:
    if not (metadata.get("properties") or {}).keys() <= {"name", "generateName"}:
        return False
    return not {key for key, value in metadata.items() if value} - {"type", "properties", "description", "default"}


def _value_errors(schema: JsonSchema, path: str, level: Level) -> list[FieldError]:
    """Errors of the value validation of a node, which may repeat the pattern of an int-or-string."""
    errors: list[FieldError] = []
    any_of, all_of = schema.get("anyOf") or (), schema.get("allOf") or ()
    if any_of != _INT_OR_STRING:
        for index, each in enumerate(any_of):
            errors += _inside_errors(each, f"{path}.anyOf[{index}]", level)
    for index, each in enumerate(all_of):
        is_pattern = index == 0 and each.get("anyOf") == _INT_OR_STRING
        errors += _inside_errors({} if is_pattern else each, f"{path}.allOf[{index}]", level)
    for index, each in enumerate(schema.get("oneOf") or ()):
        errors += _inside_errors(each, f"{path}.oneOf[{index}]", level)
    if isinstance(schema.get("not"), Mapping):
        errors += _inside_errors(schema["not"], f"{path}.not", level)
    pattern = schema.get("pattern")
    if pattern:
        try:
            compile_pattern(pattern)
        except ValueError as error:
            detail = f"must be a valid regular expression, but isn't: {go_pattern_error(str(error), pattern)}"
            errors.append(invalid(f"{path}.pattern", pattern, detail))
    return errors


def _inside_errors(schema: JsonSchema, path: str, level: Level) -> list[FieldError]:
    """Errors of a schema inside allOf, anyOf, oneOf or not."""
    errors = _value_errors(schema, path, level)
    if isinstance(schema.get("items"), Mapping):
        errors += _inside_errors(schema["items"], f"{path}.items", level)
    properties: Mapping[str, JsonSchema] = schema.get("properties") or {}
    for name, child in properties.items():
        errors += _inside_errors(child, f"{path}.properties[{name}]", "field")
    for key, detail in _FORBIDDEN_INSIDE.items():
        value = schema.get(key)
        if value or (value is not None and key in ("default", "additionalProperties")):
            errors.append(forbidden(f"{path}.{key}", detail))
    if "metadata" in properties:
        errors.append(forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context"))
    return errors


_PATTERN_ERRORS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "unexpected )": "unexpected )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
}


def go_pattern_error(message: str, pattern: str) -> str:
    """An RE2 message as Go's regexp package words it, which quotes the part at fault."""
    for theirs, ours in _PATTERN_ERRORS.items():
        if theirs in message:
            rest = message.partition(theirs)[2].removeprefix(":").strip()
            return f"error parsing regexp: {ours}: `{rest or pattern}`"
    return f"error parsing regexp: {message}"
