"""From the hash ids of a trace to the block chains of an engine, for any block size of either.

A chain has 8 bytes per full block of the engine (see `simulator.engine.request`). The ids of a trace name larger blocks
(Mooncake: 512 tokens); block j of id n becomes mix(running(n), j), where running(n) covers ids 0…n. Two requests share
a prefix of the chain exactly as far as their ids are equal from the start, in whole blocks of the engine. It starts from
the size of the ids' blocks and the adapter: what an adapter computes, others cannot use (vLLM hashes its name into every
block). `mix` is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), a bijection of 64-bit words.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from fairlead.simulator.traces.request import TraceError, TraceRequest

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
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
    running, value = [], _mix(id_tokens)
    if adapter:
        value ^= int.from_bytes(blake2b(adapter.encode(), digest_size=8).digest(), "little")
    for number in ids:
        value = _mix((value + _GOLDEN) ^ (number & _MASK))
        running.append(value)
    if id_tokens % block_tokens == 0:
        words = np.array(running, dtype="<u8")
        steps = np.arange(id_tokens // block_tokens, dtype="<u8") * np.uint64(_GOLDEN)
        return _mix_all((words[:, None] + steps[None, :]).ravel()).tobytes()
    if block_tokens % id_tokens == 0:
        every = block_tokens // id_tokens
        return np.array(running[every - 1 :: every], dtype="<u8").tobytes()
    raise TraceError(
        f"the trace names blocks of {id_tokens} tokens and the engine has blocks of {block_tokens}: one of the "
        "two must divide the other"
    )


def _mix(value: int) -> int:
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _mix_all(values: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """`_mix` of every element; products wrap around."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
