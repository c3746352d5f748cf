"""Structured outputs: what a request demands of the text, as something that makes such a text."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from fairlead.simulator.server.bodies.errors import ApiError, invalid
from fairlead.simulator.server.text.pattern_text import matching_text
from fairlead.simulator.server.text.schema_text import json_text

Constraint = Callable[[random.Random], str]
"""A text for a seeded generator. Raises ApiError."""

_ANY_OBJECT = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "score": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["answer", "score"],
}
_SHOWN: dict[str, Any] = {
    "json": None,
    "regex": None,
    "choice": None,
    "grammar": None,
    "json_object": None,
    "disable_any_whitespace": False,
    "disable_additional_properties": False,
    "whitespace_pattern": None,
    "structural_tag": None,
    "_backend": None,
    "_backend_was_auto": False,
}
"""What vLLM shows of a constraint, in its order."""
_KINDS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")


def constraint_of(body: dict[str, Any]) -> Constraint | None:
    """The constraint of a checked body; None where the text is free. Raises ApiError."""
    chosen = body.get("response_format")
    if chosen is not None and chosen["type"] != "text":
        if chosen["type"] == "json_object":
            return _json(_ANY_OBJECT)
        if chosen["type"] == "json_schema":
            return _json(chosen["json_schema"].get("schema") or {})
        raise ApiError(400, "the simulated engine generates no structural tags: take json_schema")
    structured = body.get("structured_outputs")
    return None if structured is None else _structured(structured)


def _structured(wanted: dict[str, Any]) -> Constraint:
    given = [kind for kind in _KINDS if wanted.get(kind) is not None]
    if len(given) != 1:
        wrong = "multiple" if given else "none"
        shown = {name: wanted.get(name, default) for name, default in _SHOWN.items()}
        raise invalid(
            f"You {'can only' if given else 'must'} use one kind of structured outputs constraint but {wrong} are "
            f"specified: {shown}"
        )
    kind = given[0]
    value = wanted[kind]
    if kind == "json":
        return _json(_parsed(value) if isinstance(value, str) else value)
    if kind == "json_object":
        return _json(_ANY_OBJECT)
    if kind == "choice":
        if not value:
            raise ApiError(400, f"Choice '{value}' cannot be an empty list")
        return lambda generator: str(generator.choice(value))
    if kind == "regex":
        return _guarded(lambda generator: matching_text(value, generator))
    raise ApiError(400, f"the simulated engine generates no text by {kind}: take json, regex or choice")


def _json(schema: Any) -> Constraint:
    return _guarded(lambda generator: json_text(schema, generator))


def _guarded(make: Constraint) -> Constraint:
    def made(generator: random.Random) -> str:
        try:
            return make(generator)
        except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
            raise ApiError(400, f"Grammar error: {error}") from error

    return made


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ApiError(400, "Invalid JSON grammar specification.") from error
