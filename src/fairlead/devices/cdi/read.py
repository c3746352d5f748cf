"""Spec files as values: JSON and YAML, checked in full.

A file is a spec only if it has no unknown fields, no duplicate keys, the right types, and breaks none of the rules;
every deviation is reported. Decisions where the prose, the schema and the reference implementation (in Go) differ:

- Field names are matched exactly. The prose once writes `additionalGIDs`, and Go's decoder ignores case; the schema
  and what Go writes have `additionalGids`.
- `.json` files hold JSON and `.yaml` files YAML. Go reads both as YAML, and turns numbers and booleans into text where
  text is expected, which hides mistakes (an unquoted 010 becomes "8"): here that is refused.
- A field that is null is absent, as in Go.
- What is JSON but not YAML (the escape "\\/", say) is refused, as no runtime that is built on the Go implementation
  could read it.

JSON takes the short way: decoded straight into the values. Duplicate keys, which decoders drop in silence, show in
that way as a difference between the text without white space and what the values encode to; only then is the slow
parser used.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fairlead.devices.cdi.errors import Problem, SpecError
from fairlead.devices.cdi.rules import find_problems
from fairlead.devices.cdi.shape import read_shape
from fairlead.devices.cdi.spec import Spec
from fairlead.devices.cdi.yaml_values import YamlError, load_yaml

SUFFIXES = (".json", ".yaml")
MAX_SPEC_BYTES = 32 * 1024 * 1024

_ATTEMPTS = 5
_DECODER = msgspec.json.Decoder(Spec)
_VALUES = msgspec.json.Decoder()
# Escapes that only JSON has (a slash, half of a surrogate pair) and characters that only JSON takes bare.
_NOT_IN_YAML = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:/|u[dD][89abAB][0-9a-fA-F]{2}))|([\x7f-\x9f\ufffe\uffff])")


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a change of a file is seen without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_spec(path: Path | str) -> Spec:
    """The spec in a file. Raises SpecError with every problem, FileNotFoundError where there is no file."""
    return read_stamped(Path(path))[0]


def read_stamped(path: Path) -> tuple[Spec, Stamp]:
    """The spec in a file and the state of the file that it was read in. Raises as `read_spec`."""
    if path.suffix not in SUFFIXES:
        raise SpecError(str(path), [Problem("", f"expected a file name that ends with {' or '.join(SUFFIXES)}")])
    raw, stamp = read_bytes(path)
    return parse_spec(raw, str(path), is_yaml=path.suffix == ".yaml"), stamp


def read_bytes(path: Path) -> tuple[bytes, Stamp]:
    """What is in a file, all of one state: a file that is written while it is read is read again. Raises SpecError for
    what is no ordinary file, too large, or cannot be read; FileNotFoundError where there is no file."""
    try:
        for _ in range(_ATTEMPTS):
            read = _read_once(path)
            if read is not None:
                return read
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SpecError(str(path), [Problem("", f"cannot be read: {error.strerror}")]) from error
    raise SpecError(str(path), [Problem("", "changes while it is read; write specs to another name and rename them")])


def _read_once(path: Path) -> tuple[bytes, Stamp] | None:
    # Not to wait for the other end of a pipe that someone put there.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise SpecError(str(path), [Problem("", "is not an ordinary file")])
        raw = file.read(MAX_SPEC_BYTES + 1)
        if len(raw) > MAX_SPEC_BYTES:
            raise SpecError(str(path), [Problem("", f"is larger than {MAX_SPEC_BYTES} bytes")])
        after = os.fstat(descriptor)
    if len(raw) != before.st_size or Stamp.of(before) != Stamp.of(after):
        return None
    return raw, Stamp.of(before)


def parse_spec(raw: bytes, source: str = "spec", *, is_yaml: bool = False) -> Spec:
    """A spec from the text of a file. Raises SpecError with every problem."""
    spec, problems = _parse_yaml(raw) if is_yaml else _parse_json(raw)
    if spec is not None:
        # What stands in for a wrong value is no second mistake.
        wrong = {problem.path for problem in problems}
        problems.extend(p for p in find_problems(spec) if not (wrong and _is_below(p.path, wrong)))
    if problems:
        raise SpecError(source, problems)
    assert spec is not None
    return spec


def _parse_json(raw: bytes) -> tuple[Spec | None, list[Problem]]:
    try:
        spec = _DECODER.decode(raw)
        if msgspec.json.encode(_VALUES.decode(raw)) == msgspec.json.format(raw, indent=-1):
            return spec, _unreadable_as_yaml(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return _parse_json_slowly(raw)


def _parse_json_slowly(raw: bytes) -> tuple[Spec | None, list[Problem]]:
    if not raw.strip():
        return None, [Problem("", "is empty")]
    pairs = _Pairs()
    try:
        data = json.loads(raw.decode(), object_pairs_hook=pairs.take, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        return None, [Problem("", f"not UTF-8 (byte {error.start})")]
    except json.JSONDecodeError as error:
        return None, [Problem("", f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}")]
    except RecursionError:
        return None, [Problem("", "nested too deep")]
    except ValueError as error:
        return None, [Problem("", f"not JSON: {error}")]
    return _checked(data, pairs.duplicates(data) + _unreadable_as_yaml(raw))


def _unreadable_as_yaml(raw: bytes) -> list[Problem]:
    """The first place where JSON is none to a parser of YAML, if there is one."""
    if raw.isascii() and b"\\" not in raw and b"\x7f" not in raw:
        return []
    text = raw.decode()
    found = _NOT_IN_YAML.search(text)
    if found is None:
        return []
    what = found[1] or found[2]
    start = found.end() - len(what)
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    shown = found[1] or f"character U+{ord(what):04X}"
    return [
        Problem(
            "", f"line {line}, column {column}: {shown} is JSON, but runtimes read it as YAML, where it is not valid"
        )
    ]


def _parse_yaml(raw: bytes) -> tuple[Spec | None, list[Problem]]:
    if not raw.strip():
        return None, [Problem("", "is empty")]
    try:
        data, duplicates = load_yaml(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return None, [Problem("", f"not UTF-8 (byte {error.start})")]
    except YamlError as error:
        return None, [error.problem]
    if data is None:
        return None, [Problem("", "is empty")]
    return _checked(data, duplicates)


def _checked(data: Any, found: list[Problem]) -> tuple[Spec | None, list[Problem]]:
    """A spec of plain values; `found` is what is wrong with the text that they come from."""
    if not found:
        try:
            return msgspec.convert(data, Spec), []
        except msgspec.ValidationError:
            pass
    spec, problems = read_shape(data)
    return spec, found + problems


def _is_below(path: str, wrong: set[str]) -> bool:
    """Whether a path is one of these or inside one."""
    if path in wrong:
        return True
    return any(path[index] in ".[" and path[:index] in wrong for index in range(1, len(path)))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


class _Pairs:
    """Notes the objects that had a key twice; where they are is found afterwards, as the parser does not say."""

    def __init__(self) -> None:
        self._repeated: dict[int, tuple[dict[str, Any], list[str]]] = {}  # id of the object -> it, its repeated keys

    def take(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            keys = [key for key, _ in pairs]
            self._repeated[id(made)] = (made, [key for key in made if keys.count(key) > 1])
        return made

    def duplicates(self, data: Any) -> list[Problem]:
        if not self._repeated:
            return []
        found: list[Problem] = []
        reached: set[int] = set()
        stack: list[tuple[Any, str]] = [(data, "")]
        while stack:
            value, path = stack.pop()
            if isinstance(value, dict):
                reached.add(id(value))
                for key in self._repeated.get(id(value), (value, []))[1]:
                    found.append(Problem(f"{path}.{key}" if path else key, "the key is there twice; remove one"))
                stack.extend((item, f"{path}.{key}" if path else key) for key, item in value.items())
            elif isinstance(value, list):
                stack.extend((item, f"{path}[{index}]") for index, item in enumerate(value))
        for identity, (_, keys) in self._repeated.items():
            if identity not in reached:  # inside a value that a later duplicate replaced
                found.extend(Problem("", f'the key "{key}" is twice in one object') for key in keys)
        return sorted(found, key=lambda problem: problem.path)
