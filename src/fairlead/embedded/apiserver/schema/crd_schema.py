"""Whether a CustomResourceDefinition may have a schema: structural form, list and map types, defaults, CEL rules.

Messages and their order follow `k8s.io/apiextensions-apiserver` (`pkg/apis/apiextensions/validation`). A schema that an
update leaves as it was is not held against the cost limits again.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.schema.crd_list_types import type_consistency_errors
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.embedded.apiserver.schema.rule_cost import (
    RULE_LIMIT,
    SCHEMA_LIMIT,
    cardinality,
    estimate_cost,
    excess,
)
from fairlead.embedded.apiserver.schema.rules import (
    MessageExpressionError,
    Rule,
    compile_rule,
    rule_environment,
)
from fairlead.embedded.apiserver.schema.structural import compile_crd_schema, compile_value_schema
from fairlead.embedded.apiserver.schema.structural_rules import validate_structural
from fairlead.embedded.apiserver.schema.validate import validate
from fairlead.kube import cel

JsonSchema = Mapping[str, Any]

TYPES = ("array", "boolean", "integer", "number", "object", "string")
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_META_FIELDS = ("apiVersion", "kind", "metadata")
_ROOT_FIELDS = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems",
    "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs", "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip
_HINT = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)
_NEWLINE = re.compile(r"[\n\r]")
_FIELD_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]")


def schema_errors(schema: JsonSchema, path: str, *, has_status: bool = False, old: Any = None) -> list[FieldError]:
    """Every error of a version's schema; `old` is the schema before an update."""
    errors = _root_errors(schema, path) if has_status else []
    if schema.get("nullable"):
        errors.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    unsupported = _unsupported(schema)
    structural = [] if unsupported else validate_structural(schema, path)
    defaults = [] if unsupported or structural else _default_errors(schema, path)
    errors += structural + defaults
    is_sound = not (unsupported or structural or defaults)
    check = _Check(checks_rules=is_sound, is_unchanged=schema == old)
    check.node(schema, path, _Place(is_root=True, values=compile_value_schema(schema) if is_sound else None))
    errors += check.errors + check.rule_errors
    if unsupported and not errors:
        errors.append(invalid(path, "", f"OpenAPIV3Schema {unsupported}"))
    return errors + check.total_cost_errors(path)


def _unsupported(schema: Any) -> str:
    """What keeps a schema from being read as a structural one at all, if anything."""
    if not isinstance(schema, Mapping):
        return ""
    for name in _UNSUPPORTED:
        if schema.get(name):
            return f"'{name}' is not supported"
    if isinstance(schema.get("items"), list):
        return "'items' must be a schema, but is an array"
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        return "'x-kubernetes-preserve-unknown-fields' must be true or undefined"
    children = [schema.get("items"), schema.get("additionalProperties"), schema.get("not")]
    children += (schema.get("properties") or {}).values()
    for key in ("allOf", "anyOf", "oneOf"):
        children += schema.get(key) or ()
    return next(filter(None, map(_unsupported, children)), "")


def _root_errors(schema: JsonSchema, path: str) -> list[FieldError]:
    """With a status subresource, only some fields may stand at the root."""
    for key, value in schema.items():
        if not value:
            continue
        if key == "type" and value != "object":
            detail = (
                'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            )
            return [invalid(f"{path}.type", value, detail)]
        if key not in _ROOT_FIELDS:
            listed = " ".join(_ROOT_FIELDS.values())
            detail = (
                f"only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
            )
            return [invalid(path, schema, detail)]
    return []


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a schema stands: what is forbidden there, and what its rules see."""

    is_root: bool = False
    values: Schema | None = None
    """The value schema of the same node; None inside allOf and the like, where rules are not compiled."""
    forbidden_defaults: str | None = None
    inside_meta: bool = False
    uncorrelatable: str = ""
    """Path of the list or map whose items `oldSelf` cannot follow; empty where it can."""
    cardinality: float | None = 1
    """How many values there can be in one object; None where nothing limits them."""


@dataclass(slots=True)
class _Check:
    checks_rules: bool
    is_unchanged: bool
    errors: list[FieldError] = field(default_factory=list)
    rule_errors: list[FieldError] = field(default_factory=list)
    costs: list[tuple[float, str]] = field(default_factory=list)
    """Cost and path of each expression."""

    def node(self, schema: Any, path: str, place: _Place) -> None:
        if not isinstance(schema, Mapping):
            return
        before = len(self.errors)
        self.errors += _standard_errors(schema, path, place)
        if schema.get("uniqueItems"):
            detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            self.errors.append(forbidden(f"{path}.uniqueItems", detail))
        self._children(schema, path, place)
        self.errors += type_consistency_errors(schema, path)
        rules = [Rule.of(source) for source in schema.get("x-kubernetes-validations") or ()]
        for index, rule in enumerate(rules):
            self.errors += _rule_form_errors(rule, schema, f"{path}.x-kubernetes-validations[{index}]")
        if len(self.errors) == before and self.checks_rules and place.values is not None:
            for index, rule in enumerate(rules):
                self._rule(rule, schema, f"{path}.x-kubernetes-validations[{index}]", place)

    def _children(self, schema: JsonSchema, path: str, place: _Place) -> None:
        values, properties = schema.get("additionalProperties"), schema.get("properties") or {}
        inner = replace(place, is_root=False, cardinality=_inner_cardinality(schema, place.cardinality))
        if values is not None:
            if properties:
                detail = "additionalProperties and properties are mutual exclusive"
                self.errors.append(forbidden(f"{path}.additionalProperties", detail))
            reason = "inside additionalProperties applying to object metadata"
            child = replace(inner, values=_part(place.values, "additional"))
            if place.inside_meta:
                child = replace(child, forbidden_defaults=reason)
            self.node(values, f"{path}.additionalProperties", child)
        for name in sorted(properties):
            self.node(properties[name], f"{path}.properties[{name}]", _property_place(schema, name, path, place, inner))
        nested = replace(inner, values=None)
        self.node(schema.get("not"), f"{path}.not", nested)
        for key in ("allOf", "oneOf", "anyOf"):
            for index, each in enumerate(schema.get(key) or ()):
                self.node(each, f"{path}.{key}[{index}]", nested)
        items = schema.get("items")
        if isinstance(items, Mapping):
            child = replace(inner, values=_part(place.values, "items"))
            if schema.get("x-kubernetes-list-type") != "map":
                child = replace(child, uncorrelatable=place.uncorrelatable or path)
            self.node(items, f"{path}.items", child)

    def _rule(self, rule: Rule, schema: JsonSchema, path: str, place: _Place) -> None:
        assert place.values is not None
        shown = _shown_rule(schema, path)
        is_resource = place.is_root or place.values.embedded_resource
        try:
            compiled = compile_rule(rule, place.values, is_root=is_resource)
        except MessageExpressionError as error:
            detail = f"messageExpression compilation failed: {error}"
            self.rule_errors.append(invalid(f"{path}.messageExpression", shown, detail))
            return
        except cel.CompileError as error:
            self.rule_errors.append(invalid(f"{path}.rule", shown, f"compilation failed: {error}"))
            return
        self._cost(rule, path, place, is_resource=is_resource)
        if compiled.program.result_type not in ("bool", "dyn"):
            self.rule_errors.append(invalid(f"{path}.rule", shown, "cel expression must evaluate to a bool"))
        message = compiled.message_program
        if message is not None and message.result_type not in ("string", "dyn"):
            detail = "messageExpression must evaluate to a string"
            self.rule_errors.append(invalid(f"{path}.messageExpression", shown, detail))
        if compiled.uses_old_self and place.uncorrelatable:
            detail = "oldSelf cannot be used on the uncorrelatable portion of the schema within " + place.uncorrelatable
            self.rule_errors.append(invalid(f"{path}.rule", rule.rule, detail))
        elif not compiled.uses_old_self and rule.says_optional_old_self:
            detail = "may not be set if oldSelf is not used in rule"
            self.rule_errors.append(invalid(f"{path}.optionalOldSelf", rule.optional_old_self, detail))

    def _cost(self, rule: Rule, path: str, place: _Place, *, is_resource: bool) -> None:
        assert place.values is not None
        environment = rule_environment(place.values, is_resource, rule.optional_old_self)
        cost = estimate_cost(environment, rule.rule, place.values)
        cost *= place.cardinality if place.cardinality is not None else cardinality(place.values)
        if cost > RULE_LIMIT and not self.is_unchanged:
            detail = f"estimated rule cost exceeds budget by factor of {excess(RULE_LIMIT)(cost)} {_HINT}"
            self.rule_errors.append(forbidden(f"{path}.rule", detail))
        self.costs.append((cost, f"{path}.rule"))

    def total_cost_errors(self, path: str) -> list[FieldError]:
        total = sum(cost for cost, _ in self.costs)
        if total <= SCHEMA_LIMIT:
            return []
        detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        largest = sorted((each for each in self.costs if each[0] >= SCHEMA_LIMIT / 100), reverse=True)[:4]
        errors = [forbidden(where, detail) for _, where in largest]
        whole = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        detail = f"{whole} exceeds budget by factor of {excess(SCHEMA_LIMIT)(total)} {_HINT}"
        return [*errors, forbidden(path, detail)]


def _part(values: Schema | None, name: str) -> Schema | None:
    return None if values is None else getattr(values, name)


def _property_place(schema: JsonSchema, name: str, path: str, place: _Place, inner: _Place) -> _Place:
    child = replace(inner, values=place.values.properties.get(name) if place.values is not None else None)
    if schema.get("x-kubernetes-map-type") == "atomic":
        child = replace(child, uncorrelatable=place.uncorrelatable or path)
    if name in _META_FIELDS and (place.is_root or schema.get("x-kubernetes-embedded-resource")):
        child = replace(child, inside_meta=True)
        if place.is_root:
            child = replace(child, forbidden_defaults=f"in top-level {name}")
    return child


def _inner_cardinality(schema: JsonSchema, outer: float | None) -> float | None:
    if outer is None:
        return None
    if schema.get("type") == "array":
        limit = schema.get("maxItems")
    elif schema.get("type") == "object" and schema.get("additionalProperties") is not None:
        limit = schema.get("maxProperties")
    else:
        limit = 1
    return None if limit is None else outer * max(0, int(limit))


def _standard_errors(schema: JsonSchema, path: str, place: _Place) -> list[FieldError]:
    errors: list[FieldError] = []
    type_ = schema.get("type") or ""
    if type_ and type_ not in TYPES:
        errors.append(not_supported(f"{path}.type", type_, TYPES))
    if "default" in schema and schema["default"] is not None and place.forbidden_defaults is not None:
        errors.append(forbidden(f"{path}.default", f"must not be set {place.forbidden_defaults}"))
    for name in _UNSUPPORTED:
        if schema.get(name):
            errors.append(forbidden(f"{path}.{name}", f"{name} is not supported"))
    if type_ == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        errors.append(forbidden(f"{path}.type", detail))
    if isinstance(schema.get("items"), list):
        errors.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if place.inside_meta and schema.get("x-kubernetes-embedded-resource"):
        detail = "must not be used inside of resource meta"
        errors.append(forbidden(f"{path}.x-kubernetes-embedded-resource", detail))
    return errors


def _shown_rule(schema: JsonSchema, path: str) -> Any:
    index = int(path.rpartition("[")[2].rstrip("]"))
    source = schema["x-kubernetes-validations"][index]
    names = {
        "Rule": "rule",
        "Message": "message",
        "MessageExpression": "messageExpression",
        "Reason": "reason",
        "FieldPath": "fieldPath",
        "OptionalOldSelf": "optionalOldSelf",
    }
    empty = {"Reason": None, "OptionalOldSelf": None}
    return {go: source.get(name, empty.get(go, "")) for go, name in names.items()}


def _rule_form_errors(rule: Rule, schema: JsonSchema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    text, message = rule.rule.strip(), rule.message.strip()
    if not text:
        errors.append(required(f"{path}.rule", "rule is not specified"))
    elif rule.message and not message:
        errors.append(invalid(f"{path}.message", rule.message, "must be non-empty if specified"))
    elif _NEWLINE.search(message):
        errors.append(invalid(f"{path}.message", rule.message, "must not contain line breaks"))
    elif _NEWLINE.search(text) and not message:
        errors.append(required(f"{path}.message", "message must be specified if rule contains line breaks"))
    if rule.message_expression and not rule.message_expression.strip():
        detail = "messageExpression must be non-empty if specified"
        errors.append(required(f"{path}.messageExpression", detail))
    if rule.reason and rule.reason not in _REASONS:
        errors.append(not_supported(f"{path}.reason", rule.reason, _REASONS))
    if rule.field_path:
        if not rule.field_path.strip():
            errors.append(invalid(f"{path}.fieldPath", rule.field_path, "must be non-empty if specified"))
        if _NEWLINE.search(rule.field_path):
            errors.append(invalid(f"{path}.fieldPath", rule.field_path, "must not contain line breaks"))
        if not _is_field_path(schema, rule.field_path):
            errors.append(invalid(f"{path}.fieldPath", rule.field_path, "must be a valid path"))
    return errors


def _is_field_path(schema: JsonSchema, path: str) -> bool:
    """Whether a path (".a.b['c']") leads to a declared field."""
    steps = list(_FIELD_PATH_STEP.finditer(path))
    if not steps or "".join(step[0] for step in steps) != path:
        return False
    node: Any = schema
    for step in steps:
        name = step[1] if step[1] is not None else step[2]
        child = (node.get("properties") or {}).get(name)
        if child is None and step[1] is None and isinstance(node.get("additionalProperties"), Mapping):
            child = node["additionalProperties"]
        if not isinstance(child, Mapping):
            return False
        node = child
    return True


def _default_errors(schema: JsonSchema, path: str) -> list[FieldError]:
    """Defaults must be pruned and valid by their own schema."""
    errors: list[FieldError] = []
    default = schema.get("default")
    if default is not None:
        pruned = {"default": copy.deepcopy(default)}
        own = compile_crd_schema({"type": "object", "properties": {"default": {**schema, "default": None}}})
        own.properties["default"].default = None
        unknown = [each for each in decode_object(pruned, own) if each]
        if unknown:
            errors.append(invalid(f"{path}.default", default, "must not have unknown fields"))
        for error in validate(default, compile_value_schema(schema, is_root=False)):
            separator = "" if error.field in ("", "<nil>") or error.field.startswith("[") else "."
            name = "" if error.field == "<nil>" else error.field
            errors.append(FieldError(error.reason, f"{path}.default{separator}{name}", error.message))
    if isinstance(schema.get("items"), Mapping):
        errors += _default_errors(schema["items"], f"{path}.items")
    for name, child in sorted((schema.get("properties") or {}).items()):
        errors += _default_errors(child, f"{path}.properties[{name}]")
    return errors
