"""What a decision sees of a request."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairlead.gateway.pick.candidate import Candidate


@dataclass(slots=True)
class Query:
    """A request at the moment of a decision."""

    model: str
    """As the engine is asked for it."""
    adapter: str = ""
    """The LoRA adapter that `model` names; empty for the base model."""
    prompt_tokens: int = 0
    """Exact where a tokenizer was at hand, estimated otherwise."""
    output_tokens: float = 0.0
    """Answer tokens to be expected."""
    priority: int = 0
    """Higher goes first; below 0 may be shed."""
    fairness_id: str = ""
    session: str = ""
    """Identity of the conversation; empty = unknown."""
    session_endpoint: str = ""
    """Address or namespace/pod the client's session token asks for."""
    ttft_slo_s: float | None = None
    itl_slo_s: float | None = None
    subset: frozenset[str] | None = None
    """Addresses (ip:port or ip) it may go to; None = all."""


@dataclass(slots=True)
class Context:
    """Everything a filter, scorer or picker may look at. `matched` and `candidates` are in the same order."""

    query: Query
    candidates: list[Candidate]
    matched: list[int]
    """Prompt tokens that each candidate is believed to have in its prefix cache."""
    now_s: float = 0.0
    """Monotonic time of the decision."""
    draw: float = 0.0
    """A number from 0 to below 1, drawn anew for each decision."""
    matchable_tokens: int = 0
    """Tokens in whole blocks of the prompt, the most that `matched` can be; 0 = not known, the whole prompt."""

    def only(self, kept: list[int]) -> Context:
        """The context of the candidates at these positions."""
        candidates, matched = self.candidates, self.matched
        return Context(
            self.query, [candidates[i] for i in kept], [matched[i] for i in kept], self.now_s, self.draw,
            self.matchable_tokens,
        )  # fmt: skip


@dataclass(slots=True)
class Step:
    """One plugin's part in a decision, for `explain`: filters say whom they kept, scorers what they gave."""

    plugin: str
    kind: str
    """filter, scorer or picker."""
    weight: float = 1.0
    values: dict[str, float] = field(default_factory=dict)
    """address -> score from 0 to 1, or 1 for kept and 0 for dropped."""
    note: str = ""
