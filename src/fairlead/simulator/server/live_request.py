"""A request as the live server puts it into an engine: with its tokens and the answer it will get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.simulator.engine import Request
from fairlead.simulator.server.answers.outcome import LENGTH, Outcome


@dataclass(slots=True)
class LiveRequest(Request):
    """One sequence. `index` is its place among the choices of the answer."""

    outcome: Outcome = field(default_factory=lambda: Outcome([], [], LENGTH))
    prompt_ids: Sequence[int] = ()
    index: int = 0
    n: int = 1
    max_tokens: int | None = None
    """As the request gave it."""
    salt: str = ""
