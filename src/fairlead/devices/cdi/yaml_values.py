"""YAML as plain values, strictly and within bounds.

Values are built from the parser's events, not by the library's composer: that one recurses in C without a limit (deep
nesting ends the process), lets the last of duplicate keys win, and turns dates into objects. Here nesting is bounded,
duplicate keys are found, aliases count at their full size (a small file cannot unfold into a large one), and plain
words become null, booleans and numbers as in YAML 1.1, the version of the reference implementation; all else is text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from fairlead.devices.cdi.errors import Problem

MAX_DEPTH = 32
MAX_VALUES = 2_000_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {
    form: value
    for value, words in ((True, ("y", "yes", "true", "on")), (False, ("n", "no", "false", "off")))
    for word in words
    for form in (word, word.capitalize(), word.upper())
}
YAML_WORDS = frozenset(word.lower() for word in (*_NULL, *_BOOL))
"""Words, in lower case, that without quotes are not text."""
# Of text without its underscores, which may stand anywhere in a number but before it.
_INT = re.compile(r"[-+]?(?:0[bB][01]+|0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_NUMBER = 40  # characters; a longer one stays text
_COLLECTION_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class YamlError(Exception):
    """The text is not YAML, or beyond the bounds. `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def load_yaml(text: str, *, letters: bool = True) -> tuple[Any, list[Problem]]:
    """The one document of a text, and its duplicate keys. `letters`: whether a bare y or n is a boolean, as in YAML
    1.1; most parsers take it for text. Raises YamlError."""
    builder = _Builder(letters)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlError(Problem("", f"{where}not YAML: {error.problem or error.context}")) from error
    except yaml.YAMLError as error:
        raise YamlError(Problem("", f"not YAML: {error}")) from error
    return builder.document, builder.duplicates


class _Open:
    """A collection that is being read. `key` is the mapping's key that waits for its value."""

    __slots__ = ("anchor", "has_key", "key", "path", "start", "value")

    def __init__(self, value: dict[str, Any] | list[Any], path: str, anchor: str | None, start: int) -> None:
        self.value = value
        self.path = path
        self.anchor = anchor
        self.start = start
        self.has_key = False
        self.key = ""


class _Builder:
    def __init__(self, letters: bool) -> None:
        self._letters = letters
        self.document: Any = None
        self.duplicates: list[Problem] = []
        self._documents = 0
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}  # anchor -> value, how many values are in it
        self._count = 0

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._open(event, {})
        elif kind is yaml.SequenceStartEvent:
            self._open(event, [])
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._close()
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                raise _refused(event, "expected one document, found a second one")

    def _scalar(self, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and not top.has_key:
            self._key(top, event)
            return
        is_text = not event.implicit[0] or (not self._letters and len(event.value) == 1 and event.value.isalpha())
        value = _tagged(event) if is_text else _plain(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._place(event, value, 1)

    def _key(self, top: _Open, event: Any) -> None:
        key = event.value
        if key == "<<" and event.implicit[0]:
            raise _refused(event, "merge keys (<<) are not understood: write the fields out")
        if key in top.value:
            path = f"{top.path}.{key}" if top.path else key
            line = event.start_mark.line + 1
            self.duplicates.append(Problem(path, f"the key is there twice (again on line {line}); remove one"))
        top.key = key
        top.has_key = True

    def _open(self, event: Any, value: dict[str, Any] | list[Any]) -> None:
        if event.tag not in _COLLECTION_TAGS:
            raise _refused(event, f"tag {event.tag} is not understood: leave it out")
        if len(self._stack) >= MAX_DEPTH:
            raise _refused(event, f"nested more than {MAX_DEPTH} levels deep")
        path = self._path_of_next()
        start = self._count
        self._place(event, value, 1)
        self._stack.append(_Open(value, path, event.anchor, start))

    def _close(self) -> None:
        done = self._stack.pop()
        if done.anchor:
            self._anchors[done.anchor] = (done.value, self._count - done.start)

    def _alias(self, event: Any) -> None:
        # An anchor counts once its collection is complete, so that nothing contains itself.
        if event.anchor not in self._anchors:
            raise _refused(event, f"alias *{event.anchor} refers to nothing before it")
        value, size = self._anchors[event.anchor]
        self._place(event, value, size)

    def _path_of_next(self) -> str:
        if not self._stack:
            return ""
        top = self._stack[-1]
        if isinstance(top.value, list):
            return f"{top.path}[{len(top.value)}]"
        return f"{top.path}.{top.key}" if top.path else top.key

    def _place(self, event: Any, value: Any, size: int) -> None:
        self._count += size
        if self._count > MAX_VALUES:
            raise _refused(event, f"more than {MAX_VALUES} values")
        if not self._stack:
            self.document = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.has_key:
            top.value[top.key] = value
            top.has_key = False
        else:
            raise _refused(event, "a key must be text")


def _plain(event: Any) -> Any:
    text = event.value
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _MAX_NUMBER or text[0] not in "+-.0123456789":
        return text
    if _NO_NUMBER.fullmatch(text):
        return float(text.replace(".", ""))
    digits = text.replace("_", "")
    if _INT.fullmatch(digits):
        return _integer(digits)
    return float(digits) if _FLOAT.fullmatch(digits) else text


def _integer(digits: str) -> int:
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits.removeprefix("+"))
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _tagged(event: Any) -> Any:
    """A quoted scalar, or one with an explicit tag."""
    if event.tag in (None, "!", "tag:yaml.org,2002:str"):
        return event.value
    raise _refused(event, f"tag {event.tag} is not understood: leave it out")


def _refused(event: Any, reason: str) -> YamlError:
    mark = event.start_mark
    return YamlError(Problem("", f"line {mark.line + 1}, column {mark.column + 1}: {reason}"))
