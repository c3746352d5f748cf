"""YAML into strict structs, with errors that name the path, the value and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

import msgspec
import yaml

from fairlead.devices.errors import DeviceError

T = TypeVar("T")

_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_SHOWN = 60


class FleetError(DeviceError):
    """A fleet's description cannot be used; the message names the file, the path in it, the value and the remedy."""


def decode(text: str, type_: type[T], source: str) -> T:
    """The document of a text. `source` is named in errors. Raises FleetError."""
    try:
        raw = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise FleetError(f"{source}: {where}not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(raw, Mapping):
        found = "nothing" if raw is None else type(raw).__name__
        raise FleetError(f'{source}: expected a mapping with "nodes", found {found}')
    try:
        return msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        raise FleetError(f"{source}: {_explain(str(error), raw, type_)}") from error


def near(name: str, known: Sequence[str]) -> str:
    """The rest of a sentence about a name that is not known: what it may have been, or what there is."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known are {', '.join(known)}" if known else "there are none"


def show(value: Any) -> str:
    """A value as short text."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _explain(message: str, raw: Any, type_: type) -> str:
    matched = _MESSAGE.fullmatch(message)
    what, path = (matched["what"], matched["path"] or "$") if matched else (message, "$")
    where = path.removeprefix("$").removeprefix(".")
    inside = f"{where}." if where else ""
    if unknown := _UNKNOWN.fullmatch(what):
        fields = _fields(type_, path)
        return f"{inside}{unknown[1]}: there is no such field; {near(unknown[1], fields)}"
    if missing := _MISSING.fullmatch(what):
        return f"{inside}{missing[1]}: is missing"
    said = what.replace("`", "").replace("Expected", "expected")
    got, found = _look(raw, path)
    # msgspec says "got `str`"; the value itself tells more.
    said = re.sub(r", got [a-z]+$", "", said)
    return f"{where or 'document'}: {said}" + (f", got {show(got)}" if found else "")


def _look(raw: Any, path: str) -> tuple[Any, bool]:
    for step in _STEP.finditer(path.removeprefix("$")):
        key: Any = step[1] if step[1] is not None else step[2]
        try:
            raw = raw[int(key)] if isinstance(raw, list) else raw[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return None, False
    return raw, True


def _fields(type_: Any, path: str) -> list[str]:
    """The names that the struct at a path knows."""
    for step in _STEP.finditer(path.removeprefix("$")):
        if step[1] is not None:
            found = [f.type for f in msgspec.structs.fields(type_) if f.encode_name == step[1]]
            type_ = found[0] if found else type_
        type_ = _struct(type_) or type_
    struct = _struct(type_)
    return [field.encode_name for field in msgspec.structs.fields(struct)] if struct is not None else []


def _struct(type_: Any) -> Any:
    """The struct in a type such as tuple[Struct, ...] or Struct | None."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return type_
    return next((found for part in get_args(type_) if (found := _struct(part)) is not None), None)
