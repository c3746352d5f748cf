"""Fields of a multipart form, found without reading the files in it.

The boundary is taken from the body's first line, where every client puts it. Source: RFC 7578, RFC 2046.
"""

from __future__ import annotations

from typing import Final

_MAX_BOUNDARY: Final = 72
"""Two hyphens and the 70 characters of RFC 2046."""
_MAX_HEAD_BYTES: Final = 4096
_MAX_VALUE_BYTES: Final = 4096
_MAX_PARTS: Final = 256


def form_field(body: bytes, name: bytes) -> tuple[int, int, bytes] | None:
    """(start, end, value) of the last field of that name that is no file; None where there is none."""
    line = body.find(b"\r\n", 0, _MAX_BOUNDARY + 2)
    delimiter = body[:line]
    if line < 3 or not delimiter.startswith(b"--"):
        return None
    found = None
    at = line + 2
    for _ in range(_MAX_PARTS):
        head_end = body.find(b"\r\n\r\n", at, at + _MAX_HEAD_BYTES)
        if head_end < 0:
            return found
        start = head_end + 4
        end = body.find(b"\r\n" + delimiter, start)
        if end < 0:
            return found
        if end - start <= _MAX_VALUE_BYTES and _names(body[at:head_end], name):
            found = (start, end, body[start:end])
        at = end + 2 + len(delimiter) + 2
    return found


def _names(head: bytes, name: bytes) -> bool:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            words = [word.strip() for word in value.split(b";")]
            if any(word.lower().startswith((b"filename=", b"filename*=")) for word in words):
                return False
            return b'name="' + name + b'"' in words or b"name=" + name in words
    return False
