"""Summaries from JSON, which has no number that is none: what a run did not have a value for is null there, and NaN
here."""

from __future__ import annotations

import math
import types
import typing
from typing import Any

import msgspec

from fairlead.bench.summary import RunSummary

_decoder = msgspec.json.Decoder(RunSummary)


def decode_summary(data: bytes) -> RunSummary:
    """Raises msgspec.ValidationError and msgspec.DecodeError."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        # Rare, and many times as slow: another tool's report, whose client says nothing of itself.
        return summary_from(msgspec.json.decode(data))


def summary_from(document: object) -> RunSummary:
    """Of plain data. Raises msgspec.ValidationError."""
    return msgspec.convert(_with_nan(document, RunSummary), RunSummary, strict=False)


def _with_nan(value: Any, kind: Any) -> Any:
    """Null is NaN where a number has to be."""
    if kind is float:
        return math.nan if value is None else value
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if not isinstance(value, dict):
            return value
        kinds = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        return {name: _with_nan(inner, kinds.get(name, Any)) for name, inner in value.items()}
    origin, inner_kinds = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        rest = [one for one in inner_kinds if one is not type(None)]
        return value if value is None or len(rest) != 1 else _with_nan(value, rest[0])
    if origin is dict and isinstance(value, dict):
        return {name: _with_nan(inner, inner_kinds[1]) for name, inner in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        return [_with_nan(inner, inner_kinds[0]) for inner in value]
    return value
