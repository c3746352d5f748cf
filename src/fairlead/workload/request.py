"""One request of a trace, in the form that every reader yields, every generator makes and Fairlead writes."""

from __future__ import annotations

from typing import Annotated

import msgspec

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a request must keep to be a good one; None = no such objective.

    `itl_s` bounds the mean gap between the tokens of the request (its exclusive TPOT), `ttft_s` the time to its first
    token, `e2e_s` the time to its last.
    """

    ttft_s: Seconds | None = None
    itl_s: Seconds | None = None
    e2e_s: Seconds | None = None

    def __bool__(self) -> bool:
        return self.ttft_s is not None or self.itl_s is not None or self.e2e_s is not None


class TraceRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A request that arrives `time_s` after the trace begins. One JSON object per line is Fairlead's own trace format.

    `hash_ids` name the content in blocks of `block_tokens` tokens, from the first token on: requests whose ids begin
    alike share that much of a prefix. Ids as many as the prompt has blocks (the last one may be partial) name the
    prompt; further ids name the answer, which is how the next turn of a conversation shares it. Content without ids is
    nobody else's. Requests of one `session` follow each other: a turn is sent when its time has come and the turn
    before it has ended.
    """

    time_s: Seconds
    prompt_tokens: PositiveInt
    output_tokens: PositiveInt
    model: str = ""
    adapter: str = ""
    session: str = ""
    tenant: str = ""
    priority: int = 0
    hash_ids: tuple[int, ...] = ()
    block_tokens: PositiveInt = 512
    slo: Slo | None = None


class TraceError(ValueError):
    """A trace that cannot be read; the message names file, line, field, value and what would be right."""


class BrokenLine(ValueError):
    """One line that is not a request: which field, what it holds, what it should hold."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        super().__init__(f"{field} is {shown}, expected {expected}")
        self.field = field
