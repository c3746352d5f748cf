"""The director's hooks: tells the scraper, outlier detection, the journal and traces of each request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fairlead.clock import Clock
from fairlead.gateway.load import InFlight
from fairlead.gateway.observe.hooks import Headers
from fairlead.gateway.observe.journal import Journal
from fairlead.gateway.observe.tracing import Traces
from fairlead.gateway.pick import Context
from fairlead.gateway.picker import Picked
from fairlead.gateway.route import Completion
from fairlead.gateway.scrape.recovery import Recovery
from fairlead.gateway.scrape.scraper import Scraper

if TYPE_CHECKING:
    from fairlead.gateway.asked import Asked

REQUEST_ID = "x-request-id"
REFUSALS = frozenset((429, 500, 502, 503, 504))
"""Answers of engines that cannot serve, or not now."""


class Watcher:
    """Tells each what it wants to know, and nobody what costs more than it is worth."""

    def __init__(self, scraper: Scraper, recovery: Recovery, journal: Journal, traces: Traces, clock: Clock) -> None:
        self._scraper = scraper
        self._recovery = recovery
        self._journal = journal
        self._traces = traces
        self._clock = clock
        self.on_unknown_end: Callable[[Completion], None] = lambda completion: None
        """Called with the end of a request that this picker did not send."""
        self.on_picked: Callable[[Asked, Picked], None] | None = None

    def deciding(self, context: Context) -> Context | None:
        return self._journal.snapshot(context)

    def picked(self, asked: Asked, context: Context, picked: Picked, seen: Context | None) -> Headers:
        self._scraper.picked(picked.pick.address)
        if seen is not None:
            self._journal.keep(asked, seen, picked)
        if self.on_picked is not None:
            self.on_picked(asked, picked)
        if self._traces.wants(asked.head.headers, context.draw):
            return self._traced(asked, context, picked)
        return ()

    def ended(self, request: InFlight, completion: Completion) -> None:
        failed = completion.connect_failed or completion.died
        if not failed and completion.code in REFUSALS and completion.served == request.address:
            self._recovery.refused(request.address)
        elif failed or not completion.client_left:
            self._recovery.ended(request.address, failed=failed)

    def unknown_end(self, completion: Completion) -> None:
        self.on_unknown_end(completion)

    def _traced(self, asked: Asked, context: Context, picked: Picked) -> Headers:
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        query, pick = asked.query, picked.pick
        return self._traces.span(
            "gateway.pick",
            asked.head.headers,
            wall_s - (now_s - asked.head.received_s),
            wall_s,
            {
                "gen_ai.request.model": asked.request.model,
                "fairlead.target_model": query.model,
                "fairlead.pool": asked.plan.pool.key,
                "fairlead.endpoint": pick.address,
                "fairlead.fallbacks": pick.fallbacks,
                "fairlead.reason": pick.reason,
                "fairlead.profile": asked.plan.settings.profile.name,
                "fairlead.candidates": len(context.candidates),
                "fairlead.prompt_tokens": query.prompt_tokens,
                "fairlead.matched_tokens": picked.matched_tokens,
                "fairlead.priority": query.priority,
                "fairlead.fairness_id": query.fairness_id,
                "fairlead.waited_s": max(0.0, context.now_s - asked.head.received_s),
                "fairlead.pick_id": picked.pick_id,
                "http.request.id": asked.head.headers.get(REQUEST_ID, ""),
            },
        )
