"""Columns of custom resources, from `additionalPrinterColumns` of their CustomResourceDefinition."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.printing.cells import AGE_DESCRIPTION, NAME
from fairlead.embedded.apiserver.printing.duration import age
from fairlead.embedded.apiserver.printing.jsonpath import compile_path
from fairlead.embedded.apiserver.registry import Column, Object

_AGE: Mapping[str, Any] = {
    "name": "Age",
    "type": "date",
    "description": AGE_DESCRIPTION,
    "jsonPath": ".metadata.creationTimestamp",
}


def custom_columns(definitions: Sequence[Mapping[str, Any]] | None) -> tuple[Column, ...]:
    """Name, and a column per definition (Age where there is none). Raises PathError for a malformed path."""
    return (NAME, *(_column(definition) for definition in definitions or (_AGE,)))


def _column(definition: Mapping[str, Any]) -> Column:
    path = definition.get("jsonPath", "")
    return Column(
        definition.get("name", ""),
        definition.get("type", ""),
        definition.get("description") or f"Custom resource definition column (in JSONPath format): {path}",
        _cell(definition.get("type", ""), compile_path(path)),
        format=definition.get("format", ""),
        priority=definition.get("priority", 0),
    )


def _cell(type_: str, find: Callable[[Any], list[Any]]) -> Callable[[Object, float], Any]:
    def cell(obj: Object, now: float) -> Any:
        found = find(obj)
        if not found:
            return None
        if type_ == "string":
            return printed(found[0])
        if type_ == "date":
            return age(found[0], now) if isinstance(found[0], str) else None
        return _typed(type_, found[0])

    return cell


def printed(value: Any) -> str:
    """A value as text: strings as they are, numbers and booleans as in JSON, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _typed(type_: str, value: Any) -> Any:
    if type_ == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if type_ == "integer":
        return int(value)
    return float(value) if type_ == "number" else None
