"""What Go's JSON scanner says about malformed JSON, and the duplicate fields of well-formed JSON."""

from __future__ import annotations

import json
import re
from typing import Any

_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERALS = {b"t": b"true", b"f": b"false", b"n": b"null"}
_SPACE = b" \t\r\n"
_KIND_NAMES = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}


class _Malformed(Exception):
    pass


def syntax_error(data: bytes) -> str | None:
    """Go's message for malformed JSON, without a prefix; None for well-formed JSON."""
    try:
        end = _skip_space(data, _Scanner(data).value(_skip_space(data, 0)))
        if end < len(data):
            return f"invalid character {_quoted(data[end])} after top-level value"
    except _Malformed as error:
        return str(error)
    except RecursionError:
        return "exceeded max depth"
    return None


def kind_name(value: Any) -> str:
    """The JSON kind of a value as Go's decoding errors name it."""
    return "object" if isinstance(value, dict) else _KIND_NAMES.get(type(value), "null")


def duplicate_fields(data: bytes) -> list[str]:
    """One `duplicate field "path"` per repeated field of well-formed JSON, in the order of the text."""
    found: list[str] = []
    root = json.loads(data, object_pairs_hook=_Pairs)
    _find_duplicates(root, "", found)
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs, told apart from an array."""


def _find_duplicates(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        reported: set[str] = set()
        for key, child in value:
            child_path = f"{path}.{key}" if path else key
            if key in seen and key not in reported:
                found.append(f'duplicate field "{child_path}"')
                reported.add(key)
            seen.add(key)
            _find_duplicates(child, child_path, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _find_duplicates(item, f"{path}[{index}]", found)


def operation_problems(data: bytes) -> list[str]:
    """What strictness refuses in a JSON patch: unknown and repeated members of its operations, in their order."""
    operations = json.loads(data, object_pairs_hook=_Pairs)
    found: dict[str, None] = {}
    for index, operation in enumerate(operations if type(operations) is list else ()):
        seen: set[str] = set()
        for key, value in operation if isinstance(operation, _Pairs) else ():
            path = f"[{index}].{key}"
            if key in seen:
                found[f'json patch duplicate field "{path}"'] = None
            elif key not in _OPERATION_MEMBERS:
                found[f'json patch unknown field "{path}"'] = None
            seen.add(key)
            inner: list[str] = []
            _find_duplicates(value, path, inner)
            found.update(dict.fromkeys(f"json patch {each}" for each in inner))
    return list(found)


_OPERATION_MEMBERS = frozenset({"op", "path", "from", "value"})


def _quoted(char: int) -> str:
    if char == ord("'"):
        return r"'\''"
    if char == ord('"'):
        return "'\"'"
    if 0x20 <= char < 0x7F:
        return f"'{chr(char)}'" if char != ord("\\") else r"'\\'"
    return {9: r"'\t'", 10: r"'\n'", 13: r"'\r'"}.get(char, f"'\\x{char:02x}'" if char < 0x80 else f"'{chr(char)}'")


def _skip_space(data: bytes, at: int) -> int:
    while at < len(data) and data[at] in _SPACE:
        at += 1
    return at


class _Scanner:
    """Recursive descent over JSON text; each method returns the position after what it read."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def value(self, at: int) -> int:
        char = self._at(at)
        if char == b"{":
            return self.object(at + 1)
        if char == b"[":
            return self.array(at + 1)
        if char == b'"':
            return self.string(at + 1)
        if char in _LITERALS:
            return self.literal(at, _LITERALS[char])
        if char == b"-" or char.isdigit():
            return self.number(at)
        raise self._unexpected(at, "looking for beginning of value")

    def object(self, at: int) -> int:
        at = _skip_space(self.data, at)
        if self._at(at) == b"}":
            return at + 1
        while True:
            if self._at(at) != b'"':
                raise self._unexpected(at, "looking for beginning of object key string")
            at = _skip_space(self.data, self.string(at + 1))
            if self._at(at) != b":":
                raise self._unexpected(at, "after object key")
            at = _skip_space(self.data, self.value(_skip_space(self.data, at + 1)))
            char = self._at(at)
            if char == b"}":
                return at + 1
            if char != b",":
                raise self._unexpected(at, "after object key:value pair")
            at = _skip_space(self.data, at + 1)

    def array(self, at: int) -> int:
        at = _skip_space(self.data, at)
        if self._at(at) == b"]":
            return at + 1
        while True:
            at = _skip_space(self.data, self.value(at))
            char = self._at(at)
            if char == b"]":
                return at + 1
            if char != b",":
                raise self._unexpected(at, "after array element")
            at = _skip_space(self.data, at + 1)

    def string(self, at: int) -> int:
        while True:
            char = self._at(at)
            if char == b'"':
                return at + 1
            if char == b"\\":
                at = self.escape(at + 1)
            elif char[0] < 0x20:
                raise self._unexpected(at, "in string literal")
            else:
                at += 1

    def escape(self, at: int) -> int:
        char = self._at(at)
        if char == b"u":
            for offset in range(1, 5):
                if self._at(at + offset) not in b"0123456789abcdefABCDEF":
                    raise self._unexpected(at + offset, "in \\u hexadecimal character escape")
            return at + 5
        if char not in b'"\\/bfnrt':
            raise self._unexpected(at, "in string escape code")
        return at + 1

    def literal(self, at: int, word: bytes) -> int:
        for offset in range(1, len(word)):
            if self._at(at + offset) != word[offset : offset + 1]:
                expecting = chr(word[offset])
                raise self._unexpected(at + offset, f"in literal {word.decode()} (expecting '{expecting}')")
        return at + len(word)

    def number(self, at: int) -> int:
        match = _NUMBER.match(self.data, at)
        if match is None:
            raise self._unexpected(at + 1, "in numeric literal")
        end = match.end()
        following = self.data[end : end + 1]
        if following == b"." and b"." not in match[0]:
            raise self._unexpected(end + 1, "after decimal point in numeric literal")
        if following in (b"e", b"E") and b"e" not in match[0].lower():
            raise self._unexpected(end + 1, "in exponent of numeric literal")
        return end

    def _at(self, at: int) -> bytes:
        if at >= len(self.data):
            raise _Malformed("unexpected end of JSON input")
        return self.data[at : at + 1]

    def _unexpected(self, at: int, context: str) -> _Malformed:
        char = self._at(at)
        return _Malformed(f"invalid character {_quoted(char[0])} {context}")
