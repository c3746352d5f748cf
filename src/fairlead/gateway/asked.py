"""One request on its way through the director: what was asked, what it was resolved to, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fairlead.gateway.errors import Shape
from fairlead.gateway.flow import Rejection
from fairlead.gateway.flow.gate import Waiting
from fairlead.gateway.observe.requests import RequestSeries
from fairlead.gateway.pick import Query
from fairlead.gateway.plan import PoolPlan
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.requests import InferenceRequest
from fairlead.gateway.resolve import Resolved
from fairlead.gateway.route import Held, Outcome, RequestHead

if TYPE_CHECKING:
    from fairlead.gateway.director import Director


class Asked:
    """State of a request from its parse to its end. `turn` is what its gate calls."""

    __slots__ = (
        "blocks", "body", "decided", "director", "head", "if_available", "leg", "matched_tokens", "pick_id",
        "picked_s", "plan", "query", "request", "resolved", "series", "shape", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        director: Director,
        head: RequestHead,
        shape: Shape,
        body: bytes,
        request: InferenceRequest,
        resolved: Resolved,
        plan: PoolPlan,
        query: Query,
        blocks: PromptBlocks | None,
        series: RequestSeries,
        decided: Callable[[Outcome], None],
    ) -> None:
        self.director = director
        self.head = head
        self.shape = shape
        self.body = body
        self.request = request
        self.resolved = resolved
        self.plan = plan
        self.query = query
        self.blocks = blocks
        self.series = series
        self.decided = decided
        self.waiting: Waiting | None = None
        self.leg: Held | None = None
        """The prefill that is computed for it elsewhere."""
        self.pick_id = ""
        self.picked_s = 0.0
        self.matched_tokens = 0
        self.if_available = False
        """It may only go where the beginning of its prompt is cached."""

    def turn(self, rejection: Rejection | None) -> None:
        """The gate's word: it may go on, or is refused."""
        self.waiting = None
        self.director.take_turn(self, rejection)

    def abandon(self) -> None:
        """The client has gone before a decision was made."""
        if self.waiting is not None:
            self.waiting.abandon()
            self.waiting = None
        if self.leg is not None:
            self.leg.abandon()
            self.leg = None
            self.director.abandoned(self)
