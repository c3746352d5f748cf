"""A request as the gateway reads it: no lengths of answers, and a prompt whose tokens may only be estimated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.workload import Chains, Slo, TraceRequest

BLOCK_TOKENS = 64
"""Tokens of a block of prompt text in the gateway's index."""

_OWN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_SPACES = 4096
"""Names of models and adapters whose hashes are kept."""


@dataclass(slots=True)
class Asked:
    """What a policy knows of a request before it is served."""

    number: int
    model: str
    adapter: str
    session: str
    tenant: str
    priority: int
    slo: Slo | None
    """As the client asks for it; the objectives of a study are not told."""
    prompt_tokens: int
    blocks: PromptBlocks


class Reader:
    """Reads requests. `token_error` is the standard deviation of ln(estimated / true tokens); 0 = a tokenizer is at
    hand."""

    def __init__(self, token_error: float, rng: random.Random) -> None:
        self._error = token_error
        self._rng = rng
        self._chains = Chains(BLOCK_TOKENS)
        self._spaces: dict[tuple[str, str], int] = {}

    def read(self, number: int, request: TraceRequest) -> Asked:
        """The request with this number in the fleet. Content that the trace does not name is nobody else's."""
        factor = self._rng.lognormvariate(0.0, self._error) if self._error else 1.0
        whole = request.prompt_tokens // BLOCK_TOKENS
        chain = self._chains.of(request)[: 8 * whole]
        own = whole - len(chain) // 8
        hashes = np.frombuffer(chain, dtype=np.uint64)
        if own:
            first = (number * _OWN) & _MASK & ~0xFFFF
            hashes = np.concatenate((hashes, np.arange(first, first + own, dtype=np.uint64)))
        return Asked(
            number, request.model, request.adapter, request.session, request.tenant, request.priority, request.slo,
            max(1, round(request.prompt_tokens * factor)),
            PromptBlocks(hashes, BLOCK_TOKENS * factor, self._space(request.model, request.adapter)),
        )  # fmt: skip

    def _space(self, model: str, adapter: str) -> int:
        key = (model, adapter)
        space = self._spaces.get(key)
        if space is None:
            if len(self._spaces) >= _SPACES:
                self._spaces.clear()
            name = f"{model}\0{adapter}".encode()
            space = self._spaces[key] = int.from_bytes(blake2b(name, digest_size=8).digest(), "little")
        return space
