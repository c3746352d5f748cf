from typing import Any

import pytest

from fairlead.embedded.apiserver.schema.structural import compile_value_schema
from fairlead.embedded.apiserver.schema.validate import validate


def errors(schema: dict[str, Any], value: Any, *, old: Any = None) -> list[str]:
    """ "field: message" of each error of a value at `spec.p`."""
    compiled = compile_value_schema(
        {"type": "object", "properties": {"spec": {"type": "object", "properties": {"p": schema}}}}
    )
    before = None if old is None else {"spec": {"p": old}}
    return [f"{error.field}: {error.message}" for error in validate({"spec": {"p": value}}, compiled, before)]


KEYED = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["k"],
    "items": {
        "type": "object",
        "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 2}},
    },
}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "string"}, 3, 'spec.p: Invalid value: "integer": spec.p in body must be of type string: "integer"'),
        ({"type": "integer"}, 1.5, 'spec.p: Invalid value: "number": spec.p in body must be of type integer: "number"'),
        ({"type": "boolean"}, None, 'spec.p: Invalid value: "null": spec.p in body must be of type boolean: "null"'),
        ({"x-kubernetes-int-or-string": True}, True,
         'spec.p: Invalid value: "boolean": spec.p in body must be of type integer,string: "boolean"'),
        ({"type": "string", "maxLength": 2}, "abc", "spec.p: Too long: may not be more than 2 bytes"),
        ({"type": "string", "minLength": 2}, "é",
         'spec.p: Invalid value: "é": spec.p in body should be at least 2 chars long'),
        ({"type": "string", "pattern": "^a+$"}, "b", "spec.p: Invalid value: \"b\": spec.p in body should match '^a+$'"),  # noqa: E501
        ({"type": "string", "enum": ["b", "a"]}, "c", 'spec.p: Unsupported value: "c": supported values: "b", "a"'),
        ({"type": "integer", "enum": [1]}, 2, 'spec.p: Unsupported value: 2: supported values: "1"'),
        ({"type": "number", "minimum": 1.5}, 1,
         "spec.p: Invalid value: 1: spec.p in body should be greater than or equal to 1.5"),
        ({"type": "integer", "maximum": 5, "exclusiveMaximum": True}, 5,
         "spec.p: Invalid value: 5: spec.p in body should be less than 5"),
        ({"type": "integer", "multipleOf": 3}, 4, "spec.p: Invalid value: 4: spec.p in body should be a multiple of 3"),
        ({"type": "integer", "format": "int32"}, 1 << 31,
         '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.p'),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, [],
         "spec.p: Invalid value: 0: spec.p in body should have at least 1 items"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["a", "b"],
         "spec.p: Too many: 2: must have at most 1 items"),
        ({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}, {},
         "spec.p: Invalid value: 0: spec.p in body should have at least 1 properties"),
        ({"type": "object", "required": ["a"]}, {}, "spec.p.a: Required value"),
        ({"type": "string", "not": {"enum": ["x"]}}, "x",
         '<nil>: Invalid value: "": "spec.p" must not validate the schema (not)'),
        ({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}, ["a", "a"],
         'spec.p[1]: Duplicate value: "a"'),
        (KEYED, [{"k": "a"}, {"k": "a", "v": "x"}], 'spec.p[1]: Duplicate value: {"k":"a"}'),
        ({"type": "string", "format": "ipv4"}, "::1",
         'spec.p: Invalid value: "::1": spec.p in body must be of type ipv4: "::1"'),
    ],
)  # fmt: skip
def test_each_keyword_has_its_message(schema: dict[str, Any], value: Any, expected: str) -> None:
    assert errors(schema, value) == [expected]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1.0),
        ({"type": "number"}, 1),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True}, "50%"),
        ({"x-kubernetes-preserve-unknown-fields": True}, {"x": [1]}),
        ({"type": "string", "format": "no-such-format"}, "x"),
        ({"type": "string", "maxLength": 3}, "ééé"),
    ],
)
def test_valid_values(schema: dict[str, Any], value: Any) -> None:
    assert errors(schema, value) == []


def test_combinations_tell_the_closest_alternative() -> None:
    either = {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    message = '<nil>: Invalid value: "": "spec.p" must validate one and only one schema (oneOf). '
    assert errors(either, {}) == [message + "Found none valid", "spec.p.a: Required value"]
    assert errors(either, {"a": 1, "b": 1}) == [message + "Found 2 valid alternatives"]
    assert errors({"type": "string", "allOf": [{"minLength": 2}]}, "a")[-1].endswith("(allOf). None validated")


def test_properties_come_in_order_and_required_last() -> None:
    schema = {"type": "object", "required": ["z"], "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
    assert [error.split(":")[0] for error in errors(schema, {"b": 1, "a": 1})] == ["spec.p.a", "spec.p.b", "spec.p.z"]


def test_unchanged_values_may_stay_invalid() -> None:
    short = {"type": "string", "maxLength": 2}
    assert errors(short, "long", old="long") == []
    assert errors(short, "other", old="long") != []
    lists = {"type": "array", "items": short}
    assert errors(lists, ["long"], old=["long"]) == []
    assert errors(lists, ["long", "x"], old=["long"]) != []
    assert errors(KEYED, [{"k": "b"}, {"k": "a", "v": "long"}], old=[{"k": "a", "v": "long"}]) == []


def test_patterns_cannot_backtrack() -> None:
    assert errors({"type": "string", "pattern": "^(a+)+$"}, "a" * 5000 + "!") != []


def test_status_errors_carry_the_prefix_in_the_field_only() -> None:
    schema = compile_value_schema({"type": "object", "properties": {"s": {"type": "integer"}}}, is_root=False)
    (error,) = validate({"s": "x"}, schema, {"s": 1}, prefix="status")
    assert error.field == "status.s"
    assert error.message == 'Invalid value: "string": s in body must be of type integer: "string"'


RULED = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]},
        "a-b": {"type": "number"},
        "t": {"type": "string", "format": "date-time"},
        "list": KEYED
        | {"x-kubernetes-validations": [{"rule": "self.all(x, x.k != 'bad')", "message": "no bad keys"}]},
    },
    "x-kubernetes-validations": [
        {"rule": "!has(self.a__dash__b) || self.a__dash__b < 2.5", "fieldPath": ".a-b", "reason": "FieldValueForbidden",
         "messageExpression": "'too much: ' + string(self.a__dash__b)"},
        {"rule": "!has(self.t) || self.t < timestamp('2030-01-01T00:00:00Z')", "message": "too late"},
    ],
}  # fmt: skip


def test_rules_see_typed_values_and_name_their_field() -> None:
    assert errors(RULED, {"n": 1, "a-b": 2, "t": "2020-01-01T00:00:00Z"}) == []
    assert errors(RULED, {"a-b": 3}) == ["spec.p.a-b: Forbidden: too much: 3"]
    assert errors(RULED, {"t": "2031-01-01T00:00:00Z"}) == ["spec.p: Invalid value: too late"]
    assert errors(RULED, {"list": [{"k": "bad"}]}) == ["spec.p.list: Invalid value: no bad keys"]


def test_transition_rules_run_on_updates_only() -> None:
    assert errors(RULED, {"n": 0}) == []
    assert errors(RULED, {"n": 0}, old={"n": 1}) == ["spec.p.n: Invalid value: 0: failed rule: self >= oldSelf"]


def test_rules_wait_for_values_to_be_well_formed() -> None:
    found = errors(RULED, {"n": "x", "a-b": 3})
    assert found[0].startswith('spec.p.n: Invalid value: "string"')
    assert found[1].startswith("<nil>: Invalid value: null: some validation rules were not checked")


def test_optional_old_values() -> None:
    once = {
        "type": "string",
        "x-kubernetes-validations": [{"rule": "oldSelf.hasValue() || self == 'init'", "optionalOldSelf": True}],
    }
    assert errors(once, "init") == []
    assert errors(once, "later", old="init") == []
    assert len(errors(once, "later")) == 1


def test_failing_rules_tell_why() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "string"},
              "x-kubernetes-validations": [{"rule": "self['x'] == 'y'"}]}  # fmt: skip
    assert errors(schema, {}) == ["spec.p: Invalid value: \"object\": no such key: x evaluating rule: self['x'] == 'y'"]
