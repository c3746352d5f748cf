"""JSON paths as `additionalPrinterColumns` and kubectl write them: fields, indexes, slices, wildcards, filters, unions.

A path is compiled once into steps; each step maps the values found so far to the next ones. A missing field yields
nothing. Negative indexes count from the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Step = Callable[[list[Any]], list[Any]]

_NAME = re.compile(r"(?:\\.|[^\s.\[\]{}'\"()@$,|\\])+")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(-?\d+)?)?")
_INTEGER = re.compile(r"-?\d+")
_OPERATOR = re.compile(r"==|!=|<=|>=|<|>|=")


class PathError(ValueError):
    """A path that is no JSON path of this language."""


def compile_path(text: str) -> Callable[[Any], list[Any]]:
    """A function from an object to the values at a path such as `.spec.items[0].name`. Raises PathError."""
    stripped = text.strip()
    if stripped.startswith("{") and stripped.endswith("}"):
        stripped = stripped[1:-1].strip()
    steps = _Parser(stripped).steps()

    def find(obj: Any) -> list[Any]:
        values = [obj]
        for step in steps:
            values = step(values)
        return values

    return find


@dataclass(slots=True)
class _Parser:
    text: str
    at: int = 0

    def steps(self) -> tuple[Step, ...]:
        if self.text[:1] in ("$", "@"):
            self.at = 1
        return tuple(self._all_steps())

    def _all_steps(self) -> Iterator[Step]:
        while self.at < len(self.text):
            if self.text.startswith("..", self.at):
                self.at += 2
                yield _descend
                if self.at < len(self.text) and self.text[self.at] != "[":
                    yield self._field()
            elif self.text[self.at] == ".":
                self.at += 1
                if self.at < len(self.text) and self.text[self.at] != "[":
                    yield self._field()
            elif self.text[self.at] == "[":
                yield self._bracket()
            elif self.at == 0:
                yield self._field()
            else:
                raise PathError(f"unexpected {self.text[self.at]!r} at position {self.at} of {self.text!r}")

    def _field(self) -> Step:
        match = _NAME.match(self.text, self.at)
        if match is None:
            raise PathError(f"no field name at position {self.at} of {self.text!r}")
        self.at = match.end()
        name = re.sub(r"\\(.)", r"\1", match.group())
        return _wildcard if name == "*" else _field_step(name)

    def _bracket(self) -> Step:
        inner = self._inside_brackets()
        if inner.startswith("?(") and inner.endswith(")"):
            return _filter_step(inner[2:-1])
        choices = [_choice(part.strip()) for part in _split_outside_quotes(inner, ",")]
        return choices[0] if len(choices) == 1 else _union(choices)

    def _inside_brackets(self) -> str:
        depth, quote, start = 0, "", self.at
        for position in range(start, len(self.text)):
            character = self.text[position]
            if quote:
                if character == quote and self.text[position - 1] != "\\":
                    quote = ""
            elif character in "'\"":
                quote = character
            elif character == "[":
                depth += 1
            elif character == "]":
                depth -= 1
                if depth == 0:
                    self.at = position + 1
                    return self.text[start + 1 : position].strip()
        raise PathError(f"unterminated [ at position {start} of {self.text!r}")


def _split_outside_quotes(text: str, separator: str) -> list[str]:
    parts, quote, start = [], "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == separator:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _choice(text: str) -> Step:
    if text == "*":
        return _wildcard
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        return _field_step(text[1:-1])
    if _INTEGER.fullmatch(text):
        return _index_step(int(text))
    match = _SLICE.fullmatch(text)
    if match is None:
        raise PathError(f"invalid array index {text!r}")
    start, stop, step = (None if group is None else int(group) for group in match.groups())
    if step is not None and step <= 0:
        raise PathError(f"slice step must be positive, not {step}")
    return _slice_step(slice(start, stop, step))


def _field_step(name: str) -> Step:
    return lambda values: [value[name] for value in values if isinstance(value, dict) and name in value]


def _index_step(index: int) -> Step:
    return lambda values: [v[index] for v in values if isinstance(v, list) and -len(v) <= index < len(v)]


def _slice_step(part: slice) -> Step:
    return lambda values: [item for value in values if isinstance(value, list) for item in value[part]]


def _union(steps: Sequence[Step]) -> Step:
    return lambda values: [found for step in steps for found in step(values)]


def _wildcard(values: list[Any]) -> list[Any]:
    return [child for value in values for child in _children(value)]


def _descend(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found.append(value)
        found += _descend(_children(value))
    return found


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


def _filter_step(text: str) -> Step:
    """`?(left operator right)`, or `?(path)` for items that have the path."""
    match = next(iter(_operators_outside_quotes(text)), None)
    if match is None:
        exists = _operand(text.strip())
        return lambda values: [item for item in _items(values) if exists(item)]
    left, right = _operand(text[: match.start()].strip()), _operand(text[match.end() :].strip())
    holds = _COMPARISONS[match.group()]

    def chosen(item: Any) -> bool:
        found, wanted = left(item), right(item)
        return bool(found) and bool(wanted) and holds(found[0], wanted[0])

    return lambda values: [item for item in _items(values) if chosen(item)]


def _operators_outside_quotes(text: str) -> Iterator[re.Match[str]]:
    quoted = [match.span() for match in re.finditer(r"'[^']*'|\"[^\"]*\"", text)]
    for match in _OPERATOR.finditer(text):
        if not any(start < match.start() < end for start, end in quoted):
            yield match


def _items(values: list[Any]) -> list[Any]:
    return [item for value in values for item in (value if isinstance(value, list) else _children(value))]


def _operand(text: str) -> Callable[[Any], list[Any]]:
    if text[:1] in ("@", "$", "."):
        return compile_path(text)
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        literal: Any = text[1:-1]
    else:
        try:
            literal = json.loads(text)
        except ValueError:
            raise PathError(f"cannot read {text!r} in a filter") from None
    return lambda item: [literal]


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def check(left: Any, right: Any) -> bool:
        try:
            return compare(left, right)
        except TypeError:
            return False

    return check


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": _same,
    "=": _same,
    "!=": lambda left, right: not _same(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
}
