"""Scorers of what the gateway itself knows to be on its way to each endpoint, exact between two reports of engines."""

from __future__ import annotations

from typing import Any

from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.profile import Scorer
from fairlead.gateway.pick.query import Context
from fairlead.gateway.pick.scorers.unknown import fill_unknown

TOKEN_THRESHOLD = 4_194_304


class ActiveRequestParameters(Parameters, frozen=True):
    """Of `active-request-scorer`."""

    idle_threshold: int = 0
    """Requests up to which an endpoint counts as idle and scores 1."""
    max_busy_score: float = 1.0
    """What the least busy of the others can reach."""
    request_timeout: str = ""
    """Accepted and ignored: a request counts until its end is known."""
    in_flight_load_producer_name: str = ""
    """Accepted and ignored: there is one count."""


def active_requests(parameters: ActiveRequestParameters) -> Scorer:
    """Idle: 1; the busiest: 0; between them in proportion to the busiest, up to `maxBusyScore`."""
    idle = max(0, parameters.idle_threshold)
    top = parameters.max_busy_score if 0.0 <= parameters.max_busy_score <= 1.0 else 1.0

    def score(context: Context) -> list[float]:
        others = fill_unknown([c.others for c in context.candidates]) or [0.0] * len(context.candidates)
        counts = [c.in_flight + other for c, other in zip(context.candidates, others, strict=True)]
        most = max(counts)
        if most <= idle:
            return [1.0] * len(counts)
        return [1.0 if n <= idle else (most - n) / most * top for n in counts]

    return score


class TokenLoadParameters(Parameters, frozen=True):
    """Of `token-load-scorer`."""

    queue_threshold_tokens: int = TOKEN_THRESHOLD
    """Tokens in flight from which on the score is 0; 0 or less stands for the default."""
    in_flight_load_producer_name: str = ""
    """Accepted and ignored: there is one count."""


def token_load(parameters: TokenLoadParameters) -> Scorer:
    """1 for no tokens, falling to 0 at the threshold; the request's own uncached tokens are counted in."""
    threshold = parameters.queue_threshold_tokens if parameters.queue_threshold_tokens > 0 else TOKEN_THRESHOLD

    def score(context: Context) -> list[float]:
        prompt = context.query.prompt_tokens
        loads = [
            c.in_flight_tokens + (prompt - m if prompt > m else 0)
            for c, m in zip(context.candidates, context.matched, strict=True)
        ]
        return [1.0 - n / threshold if n < threshold else 0.0 for n in loads]

    return score


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType("active-request-scorer", ActiveRequestParameters, scorer=active_requests),
    PluginType("token-load-scorer", TokenLoadParameters, scorer=token_load),
)
