"""Arguments of a command in plain form, read without the command-line library's own reading of them, which imports a
validation framework: a sixth of the time that a benchmark takes to start, and 10 MB for as long as it runs.

What is not plain (help, a mistake, an abbreviation, values that begin with a dash) is left to the library, which says
what there is to say of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

_FLOAT, _INT = re.compile(r"\d+(\.\d+)?"), re.compile(r"\d+")


def quickly(command: Callable[..., Any], arguments: Sequence[str]) -> dict[str, Any] | None:
    """The parameters of a typer command but its context, by name; None: the library is to read these arguments."""
    hints = get_type_hints(command, include_extras=True)
    options: dict[str, str] = {}  # as it is given -> parameter
    position: str | None = None
    kinds: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if get_origin(hints[name]) is not Annotated:
            continue  # the context
        kind, info = get_args(hints[name])
        kinds[name], found[name] = _plain(kind), parameter.default
        if isinstance(info, ArgumentInfo) and position is None:
            position = name
        elif isinstance(info, OptionInfo) and not _is_special(info):
            options.update(dict.fromkeys(_names(info) or [f"--{name.replace('_', '-')}"], name))
        else:
            return None
    given: set[str] = set()
    rest = iter(arguments)
    for argument in rest:
        name, equals, text = argument.partition("=")
        if not argument.startswith("-"):
            if position is None or position in given:
                return None
            target, text = position, argument
        elif name not in options or (equals and not name.startswith("--")):
            return None
        else:
            target = options[name]
            if kinds[target] is bool:
                text = "" if not equals else "="
            elif not equals:
                text = next(rest, "-")
        value = _value(kinds[target], text)
        if value is None or (target in given and not isinstance(value, list)):
            return None
        found[target] = [*(found[target] or []), *value] if isinstance(value, list) else value
        given.add(target)
    return found


def _plain(kind: Any) -> Any:
    """Without None."""
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    return kind


def _names(info: OptionInfo) -> list[str]:
    """As they were given; the first stands where a default would, which an annotation does not have."""
    return [*([info.default] if isinstance(info.default, str) else []), *(info.param_decls or ())]


def _is_special(info: OptionInfo) -> bool:
    """Whether more is asked of its values than their type."""
    return any(
        (
            info.callback, info.envvar, info.parser, info.count, info.prompt, info.exists, info.resolve_path,
            info.min is not None, info.max is not None, any("/" in name for name in _names(info)),
        )
    )  # fmt: skip


def _value(kind: Any, text: str) -> Any:
    """None for what is not plainly one."""
    if kind is bool:
        return True if text == "" else None
    if text.startswith("-"):
        return None
    if get_origin(kind) is list:
        (each,) = get_args(kind)
        value = _value(each, text)
        return None if value is None else [value]
    if get_origin(kind) is Literal:
        return text if text in get_args(kind) else None
    if kind is float:
        return float(text) if _FLOAT.fullmatch(text) else None
    if kind is int:
        return int(text) if _INT.fullmatch(text) else None
    return Path(text) if kind is Path else text if kind is str else None
