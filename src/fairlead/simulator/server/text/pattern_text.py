"""A text that a regular expression matches, drawn by a seeded generator.

Walks the parse tree of Python's own `re`. Look-arounds, back-references into themselves and other things that a walk
cannot satisfy are refused; what is made is checked against the pattern before it is returned.
"""

from __future__ import annotations

import random
import re
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_MORE = 3
"""Repetitions beyond the least, at most: answers stay short."""
_MOST_ITEMS = 20_000
"""Of one text: all streams of a server wait while it is made."""
_PRINTABLE = [chr(code) for code in range(32, 127)]
_ANY = "abcdefghijklmnopqrstuvwxyz"
_CATEGORIES = {
    codes.CATEGORY_DIGIT: "0123456789",
    codes.CATEGORY_WORD: _ANY + "0123456789_",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_DIGIT: _ANY,
    codes.CATEGORY_NOT_WORD: " -.,",
    codes.CATEGORY_NOT_SPACE: _ANY,
}


class PatternError(ValueError):
    """A pattern that is malformed or beyond what can be generated."""


def matching_text(pattern: str, generator: random.Random, *, whole: bool = True) -> str:
    """A text that `pattern` matches: all of it, or with `whole=False` somewhere in it. Raises PatternError."""
    try:
        compiled = re.compile(pattern)
        tree = parser.parse(pattern)
        if _most_items(tree) > _MOST_ITEMS:
            raise PatternError(
                f"the regex {pattern:.60} repeats to more than {_MOST_ITEMS} characters: make it shorter"
            )
        made = _sequence(tree, generator, {})
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"invalid regex {pattern!r}: {error}") from error
    found = compiled.fullmatch(made) if whole else compiled.search(made)
    if found is None:
        raise PatternError(f"no text can be generated for the regex {pattern!r}")
    return made


def _most_items(items: Any) -> int:
    """How many items a walk goes through, at most."""
    total = 1
    for code, argument in items:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            least, most, inner = argument
            total += min(most, least + _MORE) * _most_items(inner)
        elif code is codes.SUBPATTERN:
            total += _most_items(argument[3])
        elif code is codes.BRANCH:
            total += max(map(_most_items, argument[1]))
        else:
            total += _most_items(argument) if code is codes.ATOMIC_GROUP else 1
    return total


def _sequence(items: Any, generator: random.Random, groups: dict[int, str]) -> str:
    return "".join(_item(code, argument, generator, groups) for code, argument in items)


def _item(code: Any, argument: Any, generator: random.Random, groups: dict[int, str]) -> str:
    if code is codes.LITERAL:
        return chr(argument)
    if code is codes.NOT_LITERAL:
        return next(each for each in _ANY if ord(each) != argument)
    if code is codes.ANY:
        return generator.choice(_ANY)
    if code is codes.IN:
        return generator.choice(_members(argument))
    if code is codes.BRANCH:
        return _sequence(generator.choice(argument[1]), generator, groups)
    if code is codes.SUBPATTERN:
        number, _, _, inner = argument
        made = _sequence(inner, generator, groups)
        if number is not None:
            groups[number] = made
        return made
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        least, most, inner = argument
        count = generator.randint(least, min(most, least + _MORE))
        return "".join(_sequence(inner, generator, groups) for _ in range(count))
    return _rare_item(code, argument, generator, groups)


def _rare_item(code: Any, argument: Any, generator: random.Random, groups: dict[int, str]) -> str:
    if code is codes.AT:
        return ""
    if code is codes.GROUPREF:
        return groups.get(argument, "")
    if code is codes.ATOMIC_GROUP:
        return _sequence(argument, generator, groups)
    raise PatternError(f"a regex with {str(code).lower()} cannot be generated: leave it out")


def _members(items: Any) -> list[str]:
    """Characters of a set such as [a-z0-9] or [^"]; printable ASCII where there is a choice."""
    negated = items[0][0] is codes.NEGATE
    members: list[str] = []
    for code, argument in items[1:] if negated else items:
        if code is codes.LITERAL:
            members.append(chr(argument))
        elif code is codes.RANGE:
            low, high = argument
            members.extend(chr(each) for each in range(low, min(high, low + 255) + 1))
        elif code is codes.CATEGORY:
            members.extend(_CATEGORIES[argument])
    if not negated:
        return [each for each in members if each in _PRINTABLE] or members
    excluded = frozenset(members)
    return [each for each in _PRINTABLE if each not in excluded] or ["\u00e9"]
