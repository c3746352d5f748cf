"""Checks of request bodies that accept, convert and complain as the model server's own checks do.

vLLM checks bodies with Pydantic 2: numbers may come as text, whole floats are integers, and every complaint has a type,
a place and a message. Clients and gateways see them in the error body, so this module speaks the same language for the
kinds of fields that occur: `Check`s are built once and called with a value, its place and the list of complaints.

Protocol: Pydantic 2 (lax mode; `strict` first for unions), vLLM 0.32 `exception_handling/handlers/validation.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fairlead.simulator.server.bodies.errors import ApiError

MAX_REPORTED = 10
_MAX_INPUT_CHARS = 200
_MAX_COMPLAINT_CHARS = 1000
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_Value = TypeVar("_Value")


class Complaints:
    """What is wrong with a body, in order of the fields."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, type: str, place: str, message: str, value: object, **context: object) -> None:
        entry: dict[str, object] = {"type": type, "loc": place, "msg": message, "input": _shown(value)}
        if context:
            entry["ctx"] = context
        text = str(entry)
        if len(text) > _MAX_COMPLAINT_CHARS:
            text = text[:_MAX_COMPLAINT_CHARS] + "...[truncated]"
        self._all.append((place, text))

    def extend(self, other: Complaints) -> None:
        self._all.extend(other._all)

    def error(self) -> ApiError:
        """All of them as one answer."""
        count = len(self._all)
        label = "error" if count == 1 else "errors"
        lines = [f"{count} validation {label}:", *(f"  {text}" for _, text in self._all[:MAX_REPORTED])]
        if count > MAX_REPORTED:
            lines.append(f"  ...and {count - MAX_REPORTED} more {label}")
        return ApiError(400, "\n".join(lines), type="Bad Request", param=self._all[0][0])


Check = Callable[[Any, str, Complaints, bool], Any]
"""(value, place, complaints, strict) -> the value as the request has it; meaningless where it complained."""


def checked(check: Check, body: Any, place: str = "body") -> Any:
    """The body as the check makes it. Raises ApiError."""
    complaints = Complaints()
    value = check(body, place, complaints, False)
    if complaints:
        raise complaints.error()
    return value


def anything(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
    return value


def text(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
    if not isinstance(value, str):
        complaints.add("string_type", place, "Input should be a valid string", value)
    return value


_TRUE = frozenset(("true", "t", "yes", "y", "on", "1"))
_FALSE = frozenset(("false", "f", "no", "n", "off", "0"))


def boolean(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
    if isinstance(value, bool):
        return value
    if not strict and isinstance(value, int | float | str):
        word = value.lower() if isinstance(value, str) else str(int(value)) if value in (0, 1) else ""
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        message = "Input should be a valid boolean, unable to interpret input"
        complaints.add("bool_parsing", place, message, value)
    else:
        complaints.add("bool_type", place, "Input should be a valid boolean", value)
    return value


def integer(*, ge: int | None = None, le: int | None = None) -> Check:
    def check(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
        number = _as_integer(value, place, complaints, strict)
        return None if number is None else _within(number, place, complaints, ge, le)

    return check


def number(*, ge: float | None = None, le: float | None = None) -> Check:
    def check(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
        if isinstance(value, bool | int | float) and not (strict and isinstance(value, bool)):
            return float(_within(value, place, complaints, ge, le))
        if isinstance(value, str) and not strict:
            try:
                return _within(float(value), place, complaints, ge, le)
            except ValueError:
                message = "Input should be a valid number, unable to parse string as a number"
                complaints.add("float_parsing", place, message, value)
        else:
            complaints.add("float_type", place, "Input should be a valid number", value)
        return None

    return check


def literal(*choices: str) -> Check:
    quoted = [f"'{choice}'" for choice in choices]
    expected = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"

    def check(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
        if not isinstance(value, str) or value not in choices:
            complaints.add("literal_error", place, f"Input should be {expected}", value, expected=expected)
        return value

    return check


def array(item: Check, *, max_length: int | None = None) -> Check:
    def check(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
        if not isinstance(value, list):
            complaints.add("list_type", place, "Input should be a valid list", value)
            return value
        if max_length is not None and len(value) > max_length:
            complaints.add(
                "too_long",
                place,
                f"List should have at most {max_length} items after validation, not {len(value)}",
                value,
                field_type="List",
                max_length=max_length,
                actual_length=len(value),
            )
            return value
        return [item(each, f"{place}.{index}", complaints, strict) for index, each in enumerate(value)]

    return check


def token_ids(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
    """A list of integers of 0 or more; long ones are common, so the usual case takes no call per item."""
    if isinstance(value, list) and all(type(each) is int and each >= 0 for each in value):
        return value
    return _token_id_list(value, place, complaints, strict)


def mapping(item: Check) -> Check:
    def check(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
        if not isinstance(value, dict):
            complaints.add("dict_type", place, "Input should be a valid dictionary", value)
            return value
        return {name: item(each, f"{place}.{name}", complaints, strict) for name, each in value.items()}

    return check


def optional(item: Check) -> Check:
    def check(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
        return None if value is None else item(value, place, complaints, strict)

    return check


def either(*branches: Check) -> Check:
    """A union: the first branch that takes the value as it is, else the first that can convert it."""

    def check(value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
        for strictly in (True,) if strict else (True, False):
            collected = Complaints()
            for branch in branches:
                own = Complaints()
                result = branch(value, place, own, strictly)
                if not own:
                    return result
                collected.extend(own)
        complaints.extend(collected)
        return value

    return check


class Shape:
    """An object: fields by name, of which `required` must be there. Unknown fields are kept out and no error."""

    def __init__(self, fields: Mapping[str, Check], *, required: tuple[str, ...] = (), is_dict: bool = False) -> None:
        self._fields = dict(fields)
        self._required = frozenset(required)
        self._is_dict = is_dict

    def __call__(self, value: Any, place: str, complaints: Complaints, strict: bool) -> Any:
        if not isinstance(value, dict):
            if self._is_dict:
                complaints.add("dict_type", place, "Input should be a valid dictionary", value)
            else:
                message = "Input should be a valid dictionary or object to extract fields from"
                complaints.add("model_attributes_type", place, message, value)
            return value
        result = {}
        for name, check in self._fields.items():
            if name in value:
                result[name] = check(value[name], f"{place}.{name}", complaints, strict)
            elif name in self._required:
                complaints.add("missing", f"{place}.{name}", "Field required", value)
        return result


def _within(
    value: _Value, place: str, complaints: Complaints, ge: float | None = None, le: float | None = None
) -> _Value:
    if ge is not None and value < ge:  # type: ignore[operator]
        complaints.add(
            "greater_than_equal", place, f"Input should be greater than or equal to {_plain(ge)}", value, ge=ge
        )
    elif le is not None and value > le:  # type: ignore[operator]
        complaints.add("less_than_equal", place, f"Input should be less than or equal to {_plain(le)}", value, le=le)
    return value


def _plain(bound: float) -> float:
    """A whole bound without its fraction."""
    return int(bound) if bound == int(bound) else bound


def _as_integer(value: Any, place: str, complaints: Complaints, strict: bool) -> int | None:
    if isinstance(value, bool):
        if not strict:
            return int(value)
    elif isinstance(value, int):
        return value
    elif isinstance(value, float) and not strict:
        if value.is_integer():
            return int(value)
        message = "Input should be a valid integer, got a number with a fractional part"
        complaints.add("int_from_float", place, message, value)
        return None
    elif isinstance(value, str) and not strict:
        try:
            return int(value)
        except ValueError:
            message = "Input should be a valid integer, unable to parse string as an integer"
            complaints.add("int_parsing", place, message, value)
            return None
    complaints.add("int_type", place, "Input should be a valid integer", value)
    return None


def _shown(value: object) -> str:
    """A value as the error body repeats it: short, and containers only by their size."""
    if isinstance(value, list | dict):
        return f"<{type(value).__name__} of {len(value)} items>"
    shown = str(value)
    return shown if len(shown) <= _MAX_INPUT_CHARS else shown[:_MAX_INPUT_CHARS] + "...[truncated]"


_token_id_list = array(integer(ge=0))
