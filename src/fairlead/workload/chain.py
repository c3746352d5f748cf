"""From the hash ids of a trace to the block chains of an engine, for any block size of either.

A chain has 8 bytes per full block of the engine (see `simulator.engine.request`). The ids of a trace name larger blocks
(Mooncake: 512 tokens); block j of id n becomes mix(running(n), j), where running(n) covers ids 0…n:

    running(n) = start + Σ mix(mix(id i) + i · golden) over i = 0…n, modulo 2^64

so two requests share a prefix of the chain exactly as far as their ids are equal from the start, in whole blocks of the
engine. The start comes from the size of the ids' blocks and from the adapter: what one adapter computes, others cannot
use (vLLM hashes its name into every block). `mix` is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fairlead.workload.request import TraceError, TraceRequest

Words: TypeAlias = npt.NDArray[np.uint64]

_MASK = 2**64 - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CACHED = 1024
"""Chains kept: system prompts and the like, whose ids come again and again."""


class Chains:
    """Makes the chains of requests for engines with blocks of `block_tokens` tokens."""

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._made: dict[tuple[tuple[int, ...], int, str], bytes] = {}  # ids, size of their blocks, adapter -> chain

    def of(self, request: TraceRequest) -> bytes:
        """The chain of a request; empty without ids. Raises TraceError when neither block size divides the other."""
        ids = request.hash_ids
        if not ids:
            return b""
        key = (ids, request.block_tokens, request.adapter)
        chain = self._made.get(key)
        if chain is None:
            chain = expand(ids, request.block_tokens, self._block_tokens, request.adapter)
            if len(self._made) >= _CACHED:
                self._made.clear()
            self._made[key] = chain
        return chain[: 8 * (named_tokens(request) // self._block_tokens)]


def named_tokens(request: TraceRequest) -> int:
    """How many tokens, from the first on, the ids name: the prompt's at most, unless ids go on into the answer."""
    prompt, covered = request.prompt_tokens, len(request.hash_ids) * request.block_tokens
    if covered - prompt >= request.block_tokens:
        return min(covered, prompt + request.output_tokens)
    return min(covered, prompt)


def expand(ids: Sequence[int], id_tokens: int, block_tokens: int, adapter: str = "") -> bytes:
    """Chain of whole blocks of `block_tokens` tokens for ids that name `id_tokens` tokens each."""
    if id_tokens % block_tokens and block_tokens % id_tokens:
        raise TraceError(
            f"the trace names blocks of {id_tokens} tokens and the engine has blocks of {block_tokens}: one of the "
            "two must divide the other"
        )
    places = np.arange(len(ids), dtype="<u8") * _GOLDEN
    running = np.cumsum(_mix(_mix(_words(ids)) + places), dtype="<u8") + _start(id_tokens, adapter)
    if block_tokens > id_tokens:
        every = block_tokens // id_tokens
        return _mix(running[every - 1 :: every]).tobytes()
    steps = np.arange(id_tokens // block_tokens, dtype="<u8") * _GOLDEN
    return _mix((running[:, None] + steps[None, :]).ravel()).tobytes()


def _words(ids: Sequence[int]) -> Words:
    """Ids as 64-bit words; larger ones lose their upper bits."""
    try:
        return np.array(ids, dtype="<i8").view("<u8")
    except OverflowError:
        return np.array([number & _MASK for number in ids], dtype="<u8")


def _start(id_tokens: int, adapter: str) -> np.uint64:
    name = f"{id_tokens}/{adapter}".encode()
    return np.uint64(int.from_bytes(blake2b(name, digest_size=8).digest(), "little"))


def _mix(values: Words) -> Words:
    """Every element; products wrap around."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
