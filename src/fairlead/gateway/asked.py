"""One request on its way through the director: what was asked, what it was resolved to, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from fairlead.gateway import errors
from fairlead.gateway.errors import Reply, Shape
from fairlead.gateway.flow import Rejection
from fairlead.gateway.flow.gate import Waiting
from fairlead.gateway.observe.requests import RequestSeries
from fairlead.gateway.pick import NoPick, Query
from fairlead.gateway.plan import PoolPlan
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.requests import InferenceRequest
from fairlead.gateway.resolve import Resolved
from fairlead.gateway.route import Completion, Held, Outcome, RequestHead

if TYPE_CHECKING:
    from fairlead.gateway.director import Director

RETRY_AFTER_S = 1
"""What a client without an endpoint is told to wait: local replicas start within seconds."""


class Times(NamedTuple):
    """Times of one answer, seconds; None where its end does not tell."""

    ttft_s: float | None = None
    """From the pick to the first token."""
    itl_s: float | None = None
    """Between tokens."""
    whole_s: float | None = None
    """From the pick to the end, of an answer in one piece."""


NO_TIMES = Times()


def _nobody(outcome: Outcome) -> None:
    """Hears the decision of a request that was decided on: nothing of its client is kept."""


class Asked:
    """State of a request from its parse to its end. `turn` is what its gate calls."""

    __slots__ = (
        "blocks", "body", "decided", "director", "has_waited", "head", "if_available", "is_decided", "is_split", "leg",
        "matched_tokens", "pick_id", "picked_s", "plan", "profile", "query", "request", "resolved", "scores", "series",
        "shape", "waiting",
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
        self.has_waited = False
        self.profile = plan.settings.profile
        """What decided, or will."""
        self.is_decided = False
        self.is_split = False
        """Its prompt is computed by another endpoint than the one that answers."""
        self.leg: Held | None = None
        """The prefill that is computed for it elsewhere."""
        self.pick_id = ""
        self.picked_s = 0.0
        self.matched_tokens = 0
        self.scores: Mapping[str, float] = {}
        self.if_available = False
        """It may only go where the beginning of its prompt is cached."""

    def decide(self, outcome: Outcome) -> None:
        """The decision is made: tell it, once. What only decisions need is let go, as an answer may take long."""
        if self.is_decided:
            return
        self.is_decided = True
        decided, self.decided = self.decided, _nobody
        decided(outcome)
        self.body = b""
        self.blocks = None
        request = self.request
        request.prompt = b""
        if request.token_ids:
            request.token_ids = ()

    def turn(self, rejection: Rejection | None) -> None:
        """The gate's word: it may go on, or is refused."""
        self.has_waited, self.waiting = self.waiting is not None, None
        self.director.take_turn(self, rejection)

    def adapter_came(self, refusal: str) -> None:
        """Its adapter is loaded somewhere by now, or will not be, for the reason given."""
        self.leg = None
        if not refusal:
            self.director.take_turn(self, None)
            return
        message = f"The model `{self.request.model}` has no endpoint: {refusal} Try again later."
        self.director.refuse(self, errors.no_endpoints(message, RETRY_AFTER_S, "adapter_not_loaded"))

    def abandon(self) -> None:
        """The client has gone before a decision was made."""
        if self.waiting is not None:
            self.waiting.abandon()
            self.waiting = None
        if self.leg is not None:
            self.leg.abandon()
            self.leg = None
            self.director.abandoned(self)

    def dropped(self, rejection: Rejection) -> Reply:
        """What the client is told that flow control refuses."""
        if rejection.status == 503:
            message = f"The model `{self.request.model}` has no endpoint: {rejection.message}"
            return errors.no_endpoints(message, rejection.retry_after_s)
        return errors.dropped(rejection.reason.value, rejection.message, rejection.retry_after_s, rejection.status)

    def without_endpoint(self, reason: NoPick) -> Reply:
        """What the client is told when no endpoint can take the request."""
        model = self.request.model
        if self.if_available:
            return errors.not_in_cache(model)
        message = (
            f"The model `{model}` has no endpoint: {reason.message} in pool {self.plan.pool.key}. Try again later."
        )
        return errors.no_endpoints(message, RETRY_AFTER_S, reason.code)

    def times(self, end: Completion) -> Times:
        """What an end tells of the speed of the picked endpoint.

        One that another endpoint gave, or that did not succeed, is no measure of this one, nor is the first token of a
        prompt that another one computed.
        """
        first_s, last_s = end.first_byte_s, end.last_byte_s
        if first_s is None or end.code != 200 or end.connect_failed or end.died or end.client_left:
            return NO_TIMES
        before_s = self.picked_s - self.head.received_s
        if not self.request.stream:
            # Its first byte comes with its last.
            whole_s = None if self.is_split or last_s is None else last_s - before_s
            return Times(whole_s=whole_s)
        ttft_s = None if self.is_split else first_s - before_s
        tokens = end.output_tokens or end.stream_events
        if last_s is None or tokens is None or tokens < 2:
            return Times(ttft_s)
        return Times(ttft_s, (last_s - first_s) / (tokens - 1))
