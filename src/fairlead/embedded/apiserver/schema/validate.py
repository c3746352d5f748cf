"""Validation of custom resources against the value schema of their CRD, with the API server's messages.

Order and wording follow `k8s.io/kube-openapi` (type, combinations, string, format, number, list, enum, object). On
updates, errors of a value that is equal to the old one are dropped ("ratcheting").
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, duplicate, invalid, required, too_many, type_invalid
from fairlead.embedded.apiserver.schema import formats
from fairlead.embedded.apiserver.schema.node import UNSET, Schema, StructuralConstraints
from fairlead.embedded.apiserver.schema.rules import RuleSet, evaluate_rules
from fairlead.kube import cel

_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_BLOCKING = frozenset({"FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"})
_INTEGER_FORMATS = frozenset({"int32", "int64"})


def validate(obj: Any, schema: Schema, old: Any = None, *, prefix: str = "") -> list[FieldError]:
    """Every error of an object: values, list sets and maps, then rules.

    `schema` comes from `compile_value_schema`. With `old`, what was invalid before and did not change is let be.
    `prefix` is put before the fields of errors, but not into messages (the `status` of a status update).
    """
    previous = UNSET if old is None else old
    errors = [_prefixed(error, prefix) for error in _value_errors(obj, schema, "", previous).errors]
    if previous is UNSET or not list_errors(previous, schema, prefix):
        errors += list_errors(obj, schema, prefix)
    if has_rules(schema):
        if any(error.reason in _BLOCKING for error in errors):
            errors.append(FieldError("FieldValueInvalid", "<nil>", f"Invalid value: null: {_NOT_CHECKED}"))
        else:
            _rule_errors(obj, schema, prefix, previous, errors)
    return errors


def _prefixed(error: FieldError, prefix: str) -> FieldError:
    if not prefix or error.field == "<nil>":
        return error
    separator = "" if error.field.startswith("[") or not error.field else "."
    return FieldError(error.reason, f"{prefix}{separator}{error.field}", error.message)


@dataclass(slots=True)
class _Result:
    errors: list[FieldError] = field(default_factory=list)
    matches: int = 0
    """How many checks applied, to tell which alternative of anyOf or oneOf came closest."""

    def merge(self, other: _Result) -> None:
        self.errors += other.errors
        self.matches += other.matches


def json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, list):
        return "array"
    return "null" if value is None else "object"


def _value_errors(value: Any, schema: Schema, path: str, old: Any) -> _Result:
    result = _check(value, schema, path, old)
    if result.errors and old is not UNSET and _equal(value, old):
        result.errors = []
    return result


def _check(value: Any, schema: Schema, path: str, old: Any) -> _Result:
    result = _Result()
    type_errors = _type_errors(value, schema, path)
    result.errors += type_errors
    result.matches += not type_errors
    constraints = schema.constraints
    if value is None:
        if constraints is not None and constraints.enum is not None:
            result.errors += _enum_errors(value, constraints.enum, path)
        return result
    if constraints is not None:
        _check_combinations(value, constraints, path, result)
    if isinstance(value, str):
        result.errors += _string_errors(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        result.errors += _number_errors(value, schema, path)
    elif isinstance(value, list):
        _check_list(value, schema, path, old, result)
    if constraints is not None and constraints.enum is not None:
        result.errors += _enum_errors(value, constraints.enum, path)
    if isinstance(value, dict):
        _check_object(value, schema, path, old, result)
    return result


def _type_errors(value: Any, schema: Schema, path: str) -> list[FieldError]:
    if schema.format == "int-or-string":
        expected: tuple[str, ...] = ("integer", "string")
    elif schema.type:
        expected = (schema.type,)
    else:
        return []
    found = json_type(value)
    if found in expected or (found == "null" and schema.nullable):
        return []
    if found == "number" and "integer" in expected and float(value).is_integer():
        return []
    if found == "integer" and "number" in expected:
        return []
    wanted = ",".join(expected)
    if found not in ("string", "array", "null") and schema.format and schema.format != "int-or-string":
        go_format = {"integer": "int64", "number": "double"}.get(found, "")
        message = f'{path} in body must be of type {schema.format}: "{go_format}"'
        return [type_invalid(_field(path), go_format, message)]
    return [type_invalid(_field(path), found, f'{path} in body must be of type {wanted}: "{found}"')]


def _field(path: str) -> str:
    return path.removeprefix(".") or "<nil>"


def _check_combinations(value: Any, constraints: StructuralConstraints, path: str, result: _Result) -> None:
    if constraints.any_of:
        tried = [_check(value, each, path, UNSET) for each in constraints.any_of]
        if all(each.errors for each in tried):
            result.errors.append(_whole(f'"{path}" must validate at least one schema (anyOf)'))
            result.merge(max(tried, key=lambda each: each.matches))
    if constraints.one_of:
        tried = [_check(value, each, path, UNSET) for each in constraints.one_of]
        valid = sum(not each.errors for each in tried)
        if valid != 1:
            found = "Found none valid" if valid == 0 else f"Found {valid} valid alternatives"
            result.errors.append(_whole(f'"{path}" must validate one and only one schema (oneOf). {found}'))
            if valid == 0:
                result.merge(max(tried, key=lambda each: each.matches))
    if constraints.all_of:
        tried = [_check(value, each, path, UNSET) for each in constraints.all_of]
        for each in tried:
            result.merge(each)
        failed = sum(bool(each.errors) for each in tried)
        if failed:
            none = ". None validated" if failed == len(tried) else ""
            result.errors.append(_whole(f'"{path}" must validate all the schemas (allOf){none}'))
    if constraints.not_ is not None and not _check(value, constraints.not_, path, UNSET).errors:
        result.errors.append(_whole(f'"{path}" must not validate the schema (not)'))


def _whole(message: str) -> FieldError:
    return invalid("<nil>", "", message)


def _string_errors(value: str, schema: Schema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    constraints = schema.constraints
    name = _field(path)
    if constraints is not None:
        if constraints.max_length is not None and len(value) > constraints.max_length:
            limit = constraints.max_length
            errors.append(FieldError("FieldValueTooLong", name, f"Too long: may not be more than {limit} bytes"))
        if constraints.min_length is not None and len(value) < constraints.min_length:
            limit = constraints.min_length
            errors.append(invalid(name, value, f"{path} in body should be at least {limit} chars long"))
        if constraints.pattern is not None and not compile_pattern(constraints.pattern)(value):
            errors.append(invalid(name, value, f"{path} in body should match '{constraints.pattern}'"))
    if schema.format and schema.format != "int-or-string" and not formats.is_valid(schema.format, value):
        errors.append(type_invalid(name, value, f"{path} in body must be of type {schema.format}: {json.dumps(value)}"))
    return errors


_PATTERN_VARIABLES = {"text": cel.STRING, "pattern": cel.STRING}


@functools.lru_cache(maxsize=1)
def _pattern_program() -> cel.Program:
    return cel.Environment(_PATTERN_VARIABLES).compile("text.matches(pattern)")


@functools.lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A search for an RE2 pattern, the syntax of `pattern`; it never backtracks. Raises ValueError."""
    program = _pattern_program()

    def search(text: str) -> bool:
        return program.evaluate({"text": text, "pattern": pattern}) is True

    try:
        search("")
    except cel.EvaluationError as error:
        raise ValueError(str(error)) from error
    return search


def _go_number(value: float) -> str:
    if isinstance(value, int) or value.is_integer():
        return str(int(value)) if abs(value) < 1e21 else f"{value:g}"
    return repr(value)


def _number_errors(value: float, schema: Schema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if schema.type == "integer" and schema.format == "int32" and not -(2**31) <= value < 2**31:
        errors.append(_whole(f"Checked value must be of type integer with format int32 in {path}"))
    constraints = schema.constraints
    if constraints is None:
        return errors
    name = _field(path)
    factor, low, high = constraints.multiple_of, constraints.minimum, constraints.maximum
    if factor is not None and factor > 0 and abs(value / factor - round(value / factor)) > 1e-9:
        errors.append(invalid(name, value, f"{path} in body should be a multiple of {_go_number(factor)}"))
    if low is not None and (value < low or (constraints.exclusive_minimum and value == low)):
        bound = "greater than" if constraints.exclusive_minimum else "greater than or equal to"
        errors.append(invalid(name, value, f"{path} in body should be {bound} {_go_number(low)}"))
    if high is not None and (value > high or (constraints.exclusive_maximum and value == high)):
        bound = "less than" if constraints.exclusive_maximum else "less than or equal to"
        errors.append(invalid(name, value, f"{path} in body should be {bound} {_go_number(high)}"))
    return errors


def _enum_errors(value: Any, allowed: Sequence[Any], path: str) -> list[FieldError]:
    if any(_same_type_equal(value, each) for each in allowed):
        return []
    shown = ", ".join(json.dumps(each if isinstance(each, str) else json.dumps(each)) for each in allowed)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    message = f"Unsupported value: {text}: supported values: {shown}"
    return [FieldError("FieldValueNotSupported", _field(path), message)]


def _same_type_equal(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _check_list(value: list[Any], schema: Schema, path: str, old: Any, result: _Result) -> None:
    if schema.items is not None:
        olds = correlate(value, old, schema)
        for index, item in enumerate(value):
            result.merge(_value_errors(item, schema.items, f"{path}[{index}]", olds[index]))
    constraints = schema.constraints
    if constraints is None:
        return
    if constraints.min_items is not None and len(value) < constraints.min_items:
        message = f"{path} in body should have at least {constraints.min_items} items"
        result.errors.append(invalid(_field(path), len(value), message))
    if constraints.max_items is not None and len(value) > constraints.max_items:
        result.errors.append(too_many(_field(path), len(value), constraints.max_items))


def _check_object(value: dict[str, Any], schema: Schema, path: str, old: Any, result: _Result) -> None:
    constraints = schema.constraints
    if constraints is not None:
        if constraints.min_properties is not None and len(value) < constraints.min_properties:
            message = f"{path} in body should have at least {constraints.min_properties} properties"
            result.errors.append(invalid(_field(path), len(value), message))
        if constraints.max_properties is not None and len(value) > constraints.max_properties:
            result.errors.append(too_many(_field(path), len(value), constraints.max_properties))
    old_values = old if isinstance(old, dict) else {}
    if schema.additional is not None:
        for name in sorted(value):
            if name not in schema.properties:
                child_path = f"{path}.{name}"
                child_old = old_values.get(name, UNSET)
                result.merge(_value_errors(value[name], schema.additional, child_path, child_old))
    for name in sorted(schema.properties):
        if name in value:
            child_path = f"{path}.{name}" if path else name
            child_old = old_values.get(name, UNSET)
            result.merge(_value_errors(value[name], schema.properties[name], child_path, child_old))
    for name in schema.required:
        if name not in value:
            result.errors.append(required(_field(f"{path}.{name}")))


def correlate(value: list[Any], old: Any, schema: Schema) -> list[Any]:
    """For each item, the item of the old list that it stands for: only lists of type map tell; else UNSET."""
    if not isinstance(old, list) or schema.list_type != "map":
        return [UNSET] * len(value)
    by_key = {_list_key(item, schema): item for item in old}
    return [by_key.get(_list_key(item, schema), UNSET) for item in value]


def _list_key(item: Any, schema: Schema) -> str:
    if not isinstance(item, dict):
        return _canonical(item)
    return _canonical({key: item.get(key, _key_default(schema, key)) for key in schema.list_keys})


def _key_default(schema: Schema, key: str) -> Any:
    child = schema.items.properties.get(key) if schema.items is not None else None
    return None if child is None or child.default is UNSET else child.default


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b)


def list_errors(value: Any, schema: Schema, path: str) -> list[FieldError]:
    """Duplicates in lists of type set and map."""
    errors: list[FieldError] = []
    if isinstance(value, dict):
        for name in sorted(value):
            child = schema.properties.get(name) or schema.additional
            if child is not None:
                child_path = f"{path}[{name}]" if name not in schema.properties else f"{path}.{name}" if path else name
                errors += list_errors(value[name], child, child_path)
    elif isinstance(value, list):
        errors += _duplicates(value, schema, path)
        if schema.items is not None:
            for index, item in enumerate(value):
                errors += list_errors(item, schema.items, f"{path}[{index}]")
    return errors


def _duplicates(value: list[Any], schema: Schema, path: str) -> list[FieldError]:
    if schema.list_type == "atomic":
        return []
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        if schema.list_type == "map":
            if not isinstance(item, dict):
                continue
            shown: Any = {key: item[key] for key in sorted(schema.list_keys) if key in item}
        else:
            shown = item
        key = _canonical(shown)
        if key in seen:
            errors.append(duplicate(f"{path}[{index}]", shown))
        seen.add(key)
    return errors


@functools.lru_cache(maxsize=1024)
def has_rules(schema: Schema) -> bool:
    """Whether a rule stands anywhere in a value schema."""
    constraints = schema.constraints
    if constraints is not None and (constraints.rules or any(map(has_rules, constraints.all_of))):
        return True
    children = [*schema.properties.values(), *filter(None, (schema.items, schema.additional))]
    return any(map(has_rules, children))


def _rule_errors(value: Any, schema: Schema, path: str, old: Any, errors: list[FieldError]) -> None:
    if value is None:
        return
    constraints = schema.constraints
    if constraints is not None:
        for rule_set in constraints.rules:
            assert isinstance(rule_set, RuleSet)
            errors += evaluate_rules(rule_set, path, value, old)
        for each in constraints.all_of:
            _rule_errors(value, each, path, old, errors)
    if isinstance(value, list) and schema.items is not None:
        olds = correlate(value, old, schema)
        for index, item in enumerate(value):
            _rule_errors(item, schema.items, f"{path}[{index}]", olds[index], errors)
    elif isinstance(value, dict):
        old_values = old if isinstance(old, dict) else {}
        for name, item in value.items():
            child = schema.properties.get(name)
            if child is not None:
                _rule_errors(item, child, f"{path}.{name}" if path else name, old_values.get(name, UNSET), errors)
            elif schema.additional is not None:
                _rule_errors(item, schema.additional, f"{path}[{name}]", old_values.get(name, UNSET), errors)
