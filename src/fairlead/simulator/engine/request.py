"""A request to a simulated engine, and its state there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from fairlead.simulator.engine.block_run import Run


@dataclass(slots=True)
class Request:
    """What the engine needs to know of a request.

    `chain` names the content of its tokens, prompt first: 8 bytes per full block, each a hash that covers its own and
    all earlier blocks, so that two requests share a prefix of n blocks exactly when their first 8n bytes are equal.
    Blocks beyond the chain are content that nobody else has.
    """

    id: str | int
    prompt_tokens: int
    output_tokens: int
    """Tokens to generate, at least 1."""
    chain: bytes = b""
    adapter: str = ""
    """LoRA adapter; empty for the base model."""
    remote_kv: bool = False
    """The prompt's KV cache is fetched from a prefill engine (decode role)."""
    hold_kv: bool = False
    """Keep the prompt's KV cache after the end until `Engine.release` (prefill role)."""


class State(IntEnum):
    """Where a sequence is."""

    WAITING = 0
    FETCHING = 1
    """Its KV cache is on the way from another engine."""
    PREFILL = 2
    DECODE = 3
    HELD = 4
    """Finished; its KV cache waits to be fetched."""
    FINISHED = 5
    ABORTED = 6


class Sequence:
    """A request in an engine: progress and moments (seconds on the engine's clock; -1 = not yet)."""

    __slots__ = (
        "arrived_s", "base", "blocks", "cached_tokens", "computed_tokens", "copies", "eligible_step",
        "finish_depth", "finished_s", "first_token_s", "generated_tokens", "held_blocks", "last_token_s",
        "order", "preemptions", "request", "scheduled_s", "state", "tail", "target_tokens",
    )  # fmt: skip

    def __init__(self, request: Request, arrived_s: float) -> None:
        self.request = request
        self.state = State.WAITING
        self.arrived_s = arrived_s
        self.scheduled_s = -1.0
        """First admission to a batch."""
        self.first_token_s = -1.0
        self.last_token_s = -1.0
        """Of a preempted sequence, when its last token came."""
        self.finished_s = -1.0
        self.preemptions = 0
        self.cached_tokens = 0
        """Prompt tokens found in the prefix cache at the first admission."""
        self.generated_tokens = 0
        """Exact while the sequence does not decode; see `Engine.tokens_of`."""
        self.computed_tokens = 0
        """Tokens whose KV is there; exact while the sequence does not decode."""
        self.target_tokens = request.prompt_tokens
        """Tokens to compute before the next one can be generated."""
        self.blocks = 0
        """KV blocks; exact while the sequence does not decode."""
        self.held_blocks = 0
        """Of these, the leading ones that are in the prefix index."""
        self.tail: Run | None = None
        """The run that holds its last stored blocks, while it alone made it."""
        self.copies: dict[int, Run] | None = None
        """Its stored blocks, by position, that somebody else had stored before."""
        self.eligible_step = 0
        self.order = 0
        """Number of its admission to the batch."""
        self.base = 0
        """Computed tokens minus the engine's depth, while it decodes."""
        self.finish_depth = 0

    def __repr__(self) -> str:
        return f"Sequence({self.request.id!r}, {self.state.name}, {self.generated_tokens} generated)"
