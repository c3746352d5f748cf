"""A reader of Prometheus text pages that finds only the series it is asked for.

A page of a real engine is 60 kB of which a gateway needs a dozen lines, many times a second: each wanted name is
searched for in the whole page, and only the lines of its samples are taken apart. Samples of one name stand together
(the format demands it). Format: Prometheus text exposition 0.0.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb'\\([\\n"])')
_UNESCAPED = {b"\\": b"\\", b"n": b"\n", b'"': b'"'}


class Sample(NamedTuple):
    """One line: the text between its braces, undecoded (see `labels_of`), and its value, which may be NaN."""

    label_text: bytes
    value: float


def read_samples(page: bytes, names: Iterable[bytes]) -> dict[bytes, list[Sample]]:
    """Name -> samples, for those of `names` that the page has. Lines that cannot be read are left out."""
    text = b"\n" + page
    found: dict[bytes, list[Sample]] = {}
    for name in names:
        samples = _samples_of(text, name)
        if samples:
            found[name] = samples
    return found


def labels_of(sample: Sample) -> Mapping[str, str]:
    """The labels of a sample, unescaped."""
    return {
        key.decode(): _ESCAPE.sub(lambda m: _UNESCAPED[m[1]], value).decode("utf-8", "replace")
        for key, value in _LABEL.findall(sample.label_text)
    }


def _samples_of(text: bytes, name: bytes) -> list[Sample]:
    start = b"\n" + name
    samples: list[Sample] = []
    at = text.find(start)
    while at >= 0:
        after = at + len(start)
        end = text.find(b"\n", after)
        if end < 0:
            end = len(text)
        sample = _sample(text[after:end])
        if sample is not None:
            samples.append(sample)
        # The next sample of this name follows at once; anything else means a longer name or the end of its block.
        if text.startswith(start, end):
            at = end
        elif samples:
            break
        else:
            at = text.find(start, end)
    return samples


def _sample(rest: bytes) -> Sample | None:
    """A sample from what follows the name in its line, or None for another name or an unreadable line."""
    if rest[:1] == b"{":
        close = rest.rfind(b"}")
        label_text, value = rest[1:close], rest[close + 1 :]
    elif rest[:1] in (b" ", b"\t"):
        label_text, value = b"", rest
    else:
        return None
    parts = value.split(None, 1)
    try:
        return Sample(label_text, float(parts[0]))
    except (ValueError, IndexError):
        return None
