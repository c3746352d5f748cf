"""A reader of Prometheus text pages that finds only the series it is asked for.

A page of a real engine is 60 kB of which a gateway needs a few dozen lines, many times a second. The samples of one
metric stand together and no comment stands among them (the format demands it), so a name is searched for only until
its group is found, and only the lines of that group are taken apart. Names are searched for from where the one before
was found: in the order of the page, all of them cost one pass. Any other order costs time, never samples.

Format: Prometheus text exposition 0.0.4; samples of OpenMetrics 1.0 read alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb'\\([\\n"])')
_AFTER_NAME = frozenset((b"{", b" ", b"\t"))
_UNESCAPED = {b"\\": b"\\", b"n": b"\n", b'"': b'"'}


class Sample(NamedTuple):
    """One line: the text between its braces, undecoded (see `labels_of`), and its value, which may be NaN."""

    label_text: bytes
    value: float


class MetricsPage:
    """A page whose series are looked up by name, each at most once."""

    def __init__(self, page: bytes) -> None:
        self._text = b"\n" + page
        self._group = 0
        """Where the group of the last name found begins."""
        self._lines: dict[bytes, list[tuple[bytes, bytes]]] = {}

    def samples(self, name: bytes) -> list[Sample]:
        """All samples of exactly this name, in the order of the page; none when it is not there or cannot be read."""
        lines = self.lines(name)
        try:
            return [Sample(label_text, float(value)) for label_text, value in lines]
        except ValueError:
            return [Sample(label_text, float(value)) for label_text, value in lines if _is_number(value)]

    def lines(self, name: bytes) -> list[tuple[bytes, bytes]]:
        """The same as undecoded pairs of what is between the braces and what follows them, numbers or not."""
        lines = self._lines.get(name)
        if lines is None:
            lines = self._lines[name] = self._read(name)
        return lines

    def _read(self, name: bytes) -> list[tuple[bytes, bytes]]:
        text, start = self._text, self._group
        at = _find(text, name, start, len(text))
        if at < 0:
            at = _find(text, name, 0, start + len(name) + 2)
            if at < 0:
                return []
            start = 0
        # The parts of a histogram alternate within its group, so that the next name may begin before this one.
        self._group = max(start, text.rfind(b"\n#", start, at))
        end = text.find(b"\n#", at)
        return _lines_of(name).findall(text, at, len(text) if end < 0 else end)


def labels_of(sample: Sample) -> Mapping[str, str]:
    """The labels of a sample, unescaped."""
    return _labels(sample.label_text)


@lru_cache(maxsize=4096)
def _labels(label_text: bytes) -> Mapping[str, str]:
    """From the text between the braces, which for most series is the same in every scrape."""
    return MappingProxyType(
        {
            key.decode(): _ESCAPE.sub(lambda m: _UNESCAPED[m[1]], value).decode("utf-8", "replace")
            for key, value in _LABEL.findall(label_text)
        }
    )


def _find(text: bytes, name: bytes, start: int, end: int) -> int:
    """Where the first line of exactly this name begins (its line break), or -1."""
    line_start = b"\n" + name
    at = text.find(line_start, start, end)
    # What follows tells the name from longer ones that begin alike.
    while at >= 0 and text[at + len(line_start) : at + len(line_start) + 1] not in _AFTER_NAME:
        at = text.find(line_start, at + len(line_start), end)
    return at


@lru_cache(maxsize=1024)
def _lines_of(name: bytes) -> re.Pattern[bytes]:
    """Matches the lines of a name: labels as far as the last brace of the line, value."""
    return re.compile(rb"\n" + re.escape(name) + rb"(?:\{(.*)\}[ \t]*|[ \t]+)(\S+)")


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
