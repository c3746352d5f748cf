"""Where a value stands in a JSON body, so that it can be replaced while every other byte stays as it was."""

from __future__ import annotations

import msgspec
import numpy as np

_WHITESPACE = b" \t\n\r"


def offset_in(part: msgspec.Raw | memoryview[int], whole: bytes | memoryview[int]) -> int:
    """Position of `part`, which was decoded from `whole` and therefore shares its memory."""
    return _address(part) - _address(whole)


def with_key(body: bytes, start: int, end: int) -> tuple[int, int]:
    """The span of a member of an object with its key and one comma, from the span of its value.

    The key must have no quotation mark in it. Without this span the object is valid JSON still.
    """
    colon = body.rindex(b":", 0, start)
    closing = body.rindex(b'"', 0, colon)
    opening = body.rindex(b'"', 0, closing)
    after = _skip_whitespace(body, end)
    if body[after : after + 1] == b",":
        return opening, _skip_whitespace(body, after + 1)
    before = _skip_back(body, opening)
    return (_skip_back(body, before - 1) if body[before - 1 : before] == b"," else opening), end


def _skip_whitespace(body: bytes, at: int) -> int:
    while at < len(body) and body[at] in _WHITESPACE:
        at += 1
    return at


def _skip_back(body: bytes, at: int) -> int:
    while body[at - 1] in _WHITESPACE:
        at -= 1
    return at


def _address(buffer: msgspec.Raw | bytes | memoryview[int]) -> int:
    interface = np.frombuffer(buffer, np.uint8).__array_interface__
    address: int = interface["data"][0]
    return address
