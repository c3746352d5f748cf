"""Requests and engines with short names, for the tests of this room."""

from __future__ import annotations

from fairlead.perf.step import LinearCost
from fairlead.simulator.engine import Engine, EngineSettings, Request

COST = LinearCost(base_s=0.01, prefill_token_s=1e-4, prefill_pair_s=0.0, decode_token_s=1e-3, context_s=1e-6)
FOREVER_S = 1e9


def chain(*names: int) -> bytes:
    """The chain of blocks with these contents, one after another."""
    value, parts = 0, []
    for name in names:
        value = hash((value, name)) & (2**64 - 1)
        parts.append(value.to_bytes(8, "little"))
    return b"".join(parts)


def request(name: str | int, prompt: int, output: int, blocks: bytes = b"", **fields: object) -> Request:
    return Request(name, prompt, output, blocks, **fields)  # type: ignore[arg-type]


def engine(cost: LinearCost = COST, **fields: object) -> Engine:
    made: dict[str, object] = {"num_blocks": 1000, "block_tokens": 4, "async_scheduling": False, **fields}
    return Engine(EngineSettings(**made), cost)  # type: ignore[arg-type]
