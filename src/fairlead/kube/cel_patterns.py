"""Regular expressions for CEL in the RE2 dialect and in time linear in the text, which Python's engine cannot promise.

They run on the CEL runtime's own RE2. A malformed pattern raises ValueError.
"""

from __future__ import annotations

import functools
from typing import Any

from cel_expr_python import cel

_EXTENSIONS = """
extensions:
- name: optional
- name: regex
"""
_MATCHES = "text.matches(pattern)"
_FIRST = 'regex.extract(text, pattern).orValue("")'
_ALL = "regex.extractAll(text, pattern)"


@functools.lru_cache(maxsize=65536)
def matches(text: str, pattern: str) -> bool:
    """Whether the pattern is found anywhere in the text."""
    return bool(_evaluate(_MATCHES, text, pattern))


@functools.lru_cache(maxsize=4096)
def find(text: str, pattern: str) -> str:
    """The first piece of the text that the pattern matches, or ""."""
    return str(_evaluate(_FIRST, text, without_groups(pattern)))


@functools.lru_cache(maxsize=4096)
def find_all(text: str, pattern: str) -> tuple[str, ...]:
    """All pieces that the pattern matches, one after the other."""
    return tuple(_evaluate(_ALL, text, without_groups(pattern)))


@functools.lru_cache(maxsize=4096)
def is_pattern(pattern: str) -> bool:
    try:
        _evaluate(_MATCHES, "", pattern)
    except ValueError:
        return False
    return True


def without_groups(pattern: str) -> str:
    """The same pattern with groups that capture nothing, for the runtime gives a captured group where there is one."""
    parts: list[str] = []
    place, in_class = 0, False
    while place < len(pattern):
        char = pattern[place]
        width = 1
        if pattern.startswith("\\Q", place):
            end = pattern.find("\\E", place)
            width = len(pattern) - place if end < 0 else end + 2 - place
        elif char == "\\":
            width = 2
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            width += pattern.startswith("^", place + 1)
            width += pattern.startswith("]", place + width)
        elif char == "(":
            opening, width = _opening(pattern, place)
            parts.append(opening)
            place += width
            continue
        parts.append(pattern[place : place + width])
        place += width
    return "".join(parts)


def _opening(pattern: str, place: int) -> tuple[str, int]:
    """What a parenthesis becomes, and how much of the pattern that replaces."""
    for prefix in ("(?P<", "(?<"):
        end = pattern.find(">", place)
        if pattern.startswith(prefix, place) and end > 0:
            return "(?:", end + 1 - place
    if pattern.startswith("(?", place):
        return "(", 1
    return "(?:", 1


@functools.cache
def _programs() -> dict[str, Any]:
    environment = cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(_EXTENSIONS),
        variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING},
    )
    return {expression: environment.compile(expression) for expression in (_MATCHES, _FIRST, _ALL)}


def _evaluate(expression: str, text: str, pattern: str) -> Any:
    try:
        result = _programs()[expression].eval(data={"text": text, "pattern": pattern})
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    if result.type() == cel.Type.ERROR:
        raise ValueError(str(result.value()))
    return result.plain_value()
