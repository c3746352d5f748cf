"""Deterministic text: the same seed gives the same words, and counting tokens needs no tokenizer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

BYTES_PER_TOKEN = 4
"""English text averages about four bytes a token; gateways estimate with the same figure."""

_TEXT = """
the a of to in and is on for with that by it as from placement engine batch token cache queue prefill decode
replica gateway latency device memory request model weight block prefix stream hardware topology schedule
because when while every first next close far fast slow free full shared warm cold holds keeps finds serves
waits moves reads knows decides
"""
_WORDS = tuple(_TEXT.split())


def count_tokens(text: str) -> int:
    """Estimated tokens of a text: UTF-8 bytes over `BYTES_PER_TOKEN`, rounded up."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def seed_of(parts: Sequence[str], seed: int | None) -> int:
    """The 32-bit seed of an answer, from the prompt's texts and the request's own seed."""
    value = 0 if seed is None else zlib.crc32(seed.to_bytes(8, "little", signed=True))
    for part in parts:
        value = zlib.crc32(part.encode(), value)
    return value


def token_text(seed: int, position: int) -> str:
    """The text of the token at `position` (from 0): one word, with a leading space after the first."""
    mixed = (seed + 0x9E3779B1 * (position + 1)) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 0x85EBCA6B) & 0xFFFFFFFF
    word = _WORDS[(mixed >> 7) % len(_WORDS)]
    return f" {word}" if position else word.capitalize()


def natural_length(seed: int, low: int = 32, high: int = 160) -> int:
    """After how many tokens the answer ends by itself, between `low` and `high`."""
    mixed = ((seed ^ 0x5BD1E995) * 0x27D4EB2F) & 0xFFFFFFFF
    return low + (mixed >> 8) % (high - low + 1)
