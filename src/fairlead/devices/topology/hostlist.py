"""Host lists as Slurm and Topograph's models write them: "node[01-03,7],gpu5".

A bracket holds numbers and ranges; leading zeros count ("[08-10]" is 08, 09, 10). Several brackets in one name
multiply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fairlead.devices.topology.errors import SourceError

_MOST = 100_000
_MOST_DIGITS = 18
"""A longer run of digits is a word: an id, no number that people count by."""
_NUMBERS = re.compile(r"([0-9]{1,18})")
_MOST_BRACKETS = 8
_LONGEST = 1024


def expand(texts: str | Iterable[str]) -> list[str]:
    """All names, in the order written, each once. Raises SourceError for an open bracket, a range that runs
    backwards, more than 100,000 names (a name that is written twice counts twice) or 8 brackets in one."""
    found: dict[str, None] = {}
    made = 0
    for text in [texts] if isinstance(texts, str) else texts:
        for item in _items(text):
            # Brackets are counted before names are: each nests a generator.
            if item.count("[") > _MOST_BRACKETS:
                raise SourceError(f'host list "{text[:60]}": more than {_MOST_BRACKETS} brackets in one name')
            for name in _names(item, text):
                if len(name) > _LONGEST:
                    raise SourceError(f'host list "{text[:60]}": a name is longer than {_LONGEST} characters')
                found[name] = None
                made += 1
                if made > _MOST:
                    raise SourceError(f'host list "{text[:60]}": stands for more than {_MOST:,} names')
    return list(found)


class HostLists:
    """The host lists of one file, with one limit over all of them: few lines can stand for many names."""

    def __init__(self, most: int = 3 * _MOST) -> None:
        self._most = most
        self._made = 0

    def expand(self, texts: str | Iterable[str]) -> list[str]:
        """Raises SourceError as `expand`, and where the file's limit is reached."""
        names = expand(texts)
        self._made += len(names) + 1
        if self._made > self._most:
            raise SourceError(f"the file's host lists stand for more than {self._most:,} names")
        return names


def _items(text: str) -> Iterator[str]:
    """Split at commas outside brackets."""
    depth = start = 0
    for index, character in enumerate(text):
        if character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:index].strip()
            start = index + 1
        if depth not in (0, 1):
            break
    if depth:
        raise SourceError(f'host list "{text[:60]}": a bracket is not closed')
    yield text[start:].strip()


def _names(item: str, text: str) -> Iterator[str]:
    if not item:
        return
    before, bracket, rest = item.partition("[")
    if not bracket:
        yield item
        return
    inner, _, after = rest.partition("]")
    for part in inner.split(","):
        for number in _numbers(part.strip(), text):
            for tail in _names(after, text) if after else ("",):
                yield before + number + tail


def _numbers(part: str, text: str) -> Iterator[str]:
    first, dash, last = part.partition("-")
    if len(part) > 40 or not first.isdecimal() or (dash and not last.isdecimal()):
        raise SourceError(f'host list "{text[:60]}": "{part[:40]}" is neither a number nor a range such as 1-8')
    low, high = int(first), int(last or first)
    if high < low:
        raise SourceError(f'host list "{text[:60]}": the range "{part}" runs backwards')
    if high - low > _MOST:
        raise SourceError(f'host list "{text[:60]}": stands for more than {_MOST:,} names')
    for number in range(low, high + 1):
        yield str(number).zfill(len(first))


def compact(names: Iterable[str]) -> str:
    """The names as one host list, ordered by prefix and number: ["n2", "n1", "n4"] is "n[1-2,4]"."""
    groups: dict[tuple[str, int], list[int]] = {}
    parts: list[tuple[str, int, str]] = []
    for name in sorted(set(names)):
        prefix = name.rstrip("0123456789")
        digits = name[len(prefix) :]
        if not 0 < len(digits) <= _MOST_DIGITS:
            parts.append((name, -1, name))
            continue
        # Numbers of one width go together when any of them has a leading zero; others whatever their width.
        width = len(digits) if digits.startswith("0") and len(digits) > 1 else 0
        groups.setdefault((prefix, width), []).append(int(digits))
    padded = {(prefix, width) for prefix, width in groups if width}
    for prefix, width in padded:
        # 09 and 10 belong to one list of width two.
        plain = groups.get((prefix, 0), [])
        same = [number for number in plain if len(str(number)) == width]
        if same:
            groups[prefix, width] += same
            groups[prefix, 0] = [number for number in plain if len(str(number)) != width]
    for (prefix, width), numbers in groups.items():
        if numbers:
            parts.append((prefix, min(numbers), prefix + _bracket(sorted(numbers), width)))
    return ",".join(text for _, _, text in sorted(parts))


def _bracket(numbers: list[int], width: int) -> str:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    texts = [str(low).zfill(width) + (f"-{str(high).zfill(width)}" if high > low else "") for low, high in runs]
    return texts[0] if len(numbers) == 1 else f"[{','.join(texts)}]"


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key by which leaf2 comes before leaf10."""
    return tuple(
        (0, int(part), "") if part.isascii() and part.isdecimal() else (1, 0, part)
        for part in _NUMBERS.split(name)
        if part
    )
