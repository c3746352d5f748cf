from typing import Any

import pytest

from fairlead.embedded.apiserver.schema.crd_schema import schema_errors


def errors(schema: dict[str, Any], *, old: Any = None) -> list[str]:
    """Errors of a property `p`, with its path as "P"."""
    wrapped = {"type": "object", "properties": {"p": schema}}
    before = None if old is None else {"type": "object", "properties": {"p": old}}
    found = schema_errors(wrapped, "S", old=before)
    return [f"{error.field}: {error.message}".replace("S.properties[p]", "P") for error in found]


def rule(**fields: Any) -> list[dict[str, Any]]:
    return [fields]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "P.type: Required value: must not be empty for specified object fields"),
        ({"type": "array"}, "P.items: Required value: must be specified"),
        ({"type": "array", "items": {}}, "P.items.type: Required value: must not be empty for specified array items"),
        ({"type": "string", "pattern": "[a"},
         'P.pattern: Invalid value: "[a": must be a valid regular expression, but isn\'t: '
         "error parsing regexp: missing closing ]: `[a`"),
        ({"type": "string", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
         'P.type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true'),
        ({"type": "object", "anyOf": [{"type": "object"}]}, "P.anyOf[0].type: Forbidden: must be empty to be structural"),  # noqa: E501
        ({"type": "object", "additionalProperties": {"type": "string"}, "properties": {"a": {"type": "string"}}},
         "P.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
        ({"type": "array", "items": [{"type": "string"}]},
         "P.items: Forbidden: items must be a schema object and not an array"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True},
         "P.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"),
        ({"type": "string", "$ref": "#/x"}, "P.$ref: Forbidden: $ref is not supported"),
        ({"type": "string", "default": 3},
         'P.default: Invalid value: "integer":  in body must be of type string: "integer"'),
        ({"type": "object", "properties": {}, "default": {"b": 1}},
         'P.default: Invalid value: {"b":1}: must not have unknown fields'),
        ({"type": "string", "x-kubernetes-validations": rule(rule="self.nope == 'a'")},
         'P.x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.nope == \'a\'","Message":"",'
         '"MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: '
         "ERROR: <input>:1:5: type 'string' does not support field selection\n | self.nope == 'a'\n | ....^"),
        ({"type": "integer", "x-kubernetes-validations": rule(rule="self")},
         'P.x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self","Message":"","MessageExpression":"",'
         '"Reason":null,"FieldPath":"","OptionalOldSelf":null}: cel expression must evaluate to a bool'),
        ({"type": "integer", "x-kubernetes-validations": rule(rule="self > 1", reason="Bad")},
         'P.x-kubernetes-validations[0].reason: Unsupported value: "Bad": supported values: "FieldValueDuplicate", '
         '"FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"'),
        ({"type": "array", "maxItems": 2, "items": {"type": "integer", "x-kubernetes-validations": rule(rule="self == oldSelf")}},  # noqa: E501
         'P.items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the '
         "uncorrelatable portion of the schema within P"),
        ({"type": "integer", "x-kubernetes-validations": rule(rule="self > 1", optionalOldSelf=True)},
         "P.x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"),  # noqa: E501
        ({"type": "integer", "x-kubernetes-validations": rule(rule="self > 1", fieldPath=".a")},
         'P.x-kubernetes-validations[0].fieldPath: Invalid value: ".a": must be a valid path'),
        ({"type": "string", "x-kubernetes-list-type": "set"},
         'P.type: Invalid value: "string": must be array if x-kubernetes-list-type is specified'),
    ],
)  # fmt: skip
def test_each_rule_has_its_message(schema: dict[str, Any], expected: str) -> None:
    assert errors(schema) == [expected]


@pytest.mark.parametrize(
    "schema",
    [
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}, "default": {}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"required": ["a"]}]},
        {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10},
         "x-kubernetes-validations": rule(rule="self.all(x, self.exists_one(y, x == y))")},
    ],
)  # fmt: skip
def test_sound_schemas(schema: dict[str, Any]) -> None:
    assert errors(schema) == []


UNBOUNDED = {
    "type": "array",
    "items": {"type": "string"},
    "x-kubernetes-validations": rule(rule="self.all(x, self.all(y, x != y))"),
}


def test_rules_may_not_cost_too_much() -> None:
    found = errors(UNBOUNDED)
    assert "estimated rule cost exceeds budget by factor of more than 100x" in found[0]
    assert found[1].startswith(
        "P.x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total"
    )
    assert found[2].startswith("S: Forbidden: x-kubernetes-validations estimated rule cost total for entire")


def test_an_unchanged_rule_may_go_on_costing() -> None:
    assert not any("estimated rule cost exceeds" in error for error in errors(UNBOUNDED, old=UNBOUNDED))


def test_roots() -> None:
    def root(schema: dict[str, Any], **options: Any) -> list[str]:
        return [f"{error.field}: {error.message}" for error in schema_errors(schema, "S", **options)]

    assert root({"type": "string"}) == ['S.type: Invalid value: "string": must be object at the root']
    assert root({"type": "object", "nullable": True}) == ["S.nullable: Forbidden: nullable cannot be true at the root"]
    metadata = {"type": "object", "properties": {"labels": {"type": "object"}}}
    (error,) = root({"type": "object", "properties": {"metadata": metadata}})
    assert error.startswith("S.properties[metadata]: Forbidden: must not specify anything other than name")
    names = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}
    assert root({"type": "object", "properties": {"metadata": names}}) == []
    (error,) = root({"type": "object", "maxProperties": 3}, has_status=True)
    assert error.endswith("fields are allowed at the root of the schema if the status subresource is enabled")
