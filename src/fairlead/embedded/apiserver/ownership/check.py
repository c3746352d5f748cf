"""Whether an applied configuration fits its schema, with structured-merge-diff's wording."""

from __future__ import annotations

from typing import Any

from fairlead.embedded.apiserver.ownership.path_element import describe
from fairlead.embedded.apiserver.ownership.typed import (
    RAW,
    ElementError,
    child_schema,
    is_associative_list,
    item_element,
)
from fairlead.embedded.apiserver.patches.json_value import go_print, go_syntax, go_type
from fairlead.embedded.apiserver.schema.node import Schema

_DUPLICATE = "duplicate entries for key "


def misfits(value: Any, schema: Schema, *, duplicates: bool = False) -> list[str]:
    """Everything that does not fit, each as `path: reason`; empty where all does. `duplicates` lets those pass."""
    found: list[str] = []
    _check(value, schema, "", found)
    return [one for one in found if not duplicates or _DUPLICATE not in one]


def describe_misfits(found: list[str]) -> str:
    return found[0] if len(found) == 1 else "\n".join(["errors:", *(f"  {one}" for one in found)])


def _check(value: Any, schema: Schema, path: str, found: list[str]) -> None:
    if value is None or not schema.type or schema.go_type == RAW:
        return
    if schema.type == "object":
        if type(value) is not dict:
            found.append(_at(path, f"expected map, got &{{{go_print(value)}}}"))
        else:
            _check_members(value, schema, path, found)
    elif schema.type == "array":
        if type(value) is not list:
            found.append(_at(path, f"expected list, got &{{{go_print(value)}}}"))
        else:
            _check_items(value, schema, path, found)
    elif reason := _scalar_misfit(value, schema):
        found.append(_at(path, reason))


def _check_members(value: dict[str, Any], schema: Schema, path: str, found: list[str]) -> None:
    for key, item in value.items():
        child = child_schema(schema, key)
        if child is None:
            found.append(f"{path}.{key}: field not declared in schema")
            return
        _check(item, child, f"{path}.{key}", found)


def _check_items(value: list[Any], schema: Schema, path: str, found: list[str]) -> None:
    associative, seen = is_associative_list(schema), set()
    for position, item in enumerate(value):
        shown = f"[{position}]"
        if associative:
            try:
                element = item_element(item, schema)
            except ElementError as error:
                found.append(_at(path, f"element {position}: {error}"))
                return
            shown = describe(element)
            if element in seen:
                found.append(_at(path, _DUPLICATE + shown))
            seen.add(element)
        if schema.items is not None:
            _check(item, schema.items, path + shown, found)


def _scalar_misfit(value: Any, schema: Schema) -> str:
    if schema.format and schema.format != "byte" and schema.type == "string":
        if type(value) is dict or type(value) is list:
            return f"expected any scalar, got &{{{go_print(value)}}}"
    elif schema.type == "string":
        if type(value) is not str:
            return f"expected string, got &value.valueUnstructured{{Value:{go_syntax(value)}}}"
    elif schema.type == "boolean":
        if type(value) is not bool:
            return f"expected boolean, got &{{{go_print(value)}}}"
    elif type(value) is not int and type(value) is not float:
        return f"expected numeric (int or float), got {go_type(value)}"
    return ""


def _at(path: str, reason: str) -> str:
    return f"{path}: {reason}" if path else reason
