"""Collecting field errors: validators append to one list, so that the common valid object costs no allocations.

Also the forms in which the API shows values of its internal types: all fields by their Go names, absent ones included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, not_supported, required

Errors = list[FieldError]

NOT_NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than zero"
IMMUTABLE = "field is immutable"

Layout = Sequence[tuple[str, str, Any]]
"""Fields of an internal type in order: Go name, JSON name, and what an absent field shows."""


def add_each(errors: Errors, path: str, value: Any, messages: Iterable[str]) -> None:
    """One "Invalid value" per message."""
    for message in messages:
        errors.append(invalid(path, value, message))


def check_not_negative(errors: Errors, value: Any, path: str) -> None:
    """A number that may be absent but not below zero."""
    if value is not None and value < 0:
        errors.append(invalid(path, value, NOT_NEGATIVE))


def check_one_of(errors: Errors, value: Any, supported: Sequence[str], path: str) -> None:
    """A required value out of a list, reported as missing or as unsupported."""
    if not value:
        errors.append(required(path))
    elif value not in supported:
        errors.append(not_supported(path, value, supported))


def check_immutable(errors: Errors, new: Any, old: Any, path: str) -> None:
    if new != old:
        errors.append(invalid(path, new, IMMUTABLE))


def internal_form(value: Mapping[str, Any] | None, layout: Layout) -> dict[str, Any]:
    """A value laid out as the API's internal type prints it."""
    value = value or {}
    return {go: value.get(name, absent) for go, name, absent in layout}


def duplicate_with_detail(path: str, value: Any, detail: str) -> FieldError:
    shown = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return FieldError("FieldValueDuplicate", path, f"Duplicate value: {shown}: {detail}")


def sorted_map(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A map in the order in which the API prints maps; None for an absent one."""
    return None if value is None else dict(sorted(value.items()))
