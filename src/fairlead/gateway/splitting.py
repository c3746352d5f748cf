"""The director's way with pools whose prompts may be computed elsewhere: asks for the split, runs the legs, hands on.

A pool with a configuration that names a disaggregation handler has sidecars, as llm-d's pools do: the legs are told to
them in headers. In any other pool the gateway runs the legs itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fairlead.engines import engine_for
from fairlead.engines.handoff import Handoff
from fairlead.gateway.disaggregation import (
    EncodeLegs,
    Leg,
    LegRequest,
    PrefillLegs,
    Split,
    SplitSettings,
    sidecar_headers,
    split,
    spread_encoders,
)
from fairlead.gateway.observe.requests import MAX_MODELS
from fairlead.gateway.observe.series import Capped
from fairlead.gateway.pick import Context, NoPick, Pick
from fairlead.gateway.picker import EndpointPicker
from fairlead.gateway.requests import Api

if TYPE_CHECKING:
    from fairlead.gateway.asked import Asked

SPLIT_APIS = frozenset((Api.CHAT, Api.COMPLETIONS, Api.RESPONSES, Api.ANTHROPIC))

Headers = tuple[tuple[str, str], ...]
Proceed = Callable[[bytes | None, Headers], None]
"""Called with the body for the answering endpoint (None = as it was) and headers to send with it."""

Refuse = Callable[[str], None]
"""Called with a sentence for the client."""

_NO_PREFILL = "No prefill endpoint computed the prompt, and the endpoint that answers cannot. Try again later."

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Legs:
    """What is computed elsewhere for one request, under way or done."""

    task: asyncio.Task[None]
    request: LegRequest | None = None
    leg: Leg | None = None

    def abandon(self) -> None:
        """The client has gone."""
        self.task.cancel()


class Splitter:
    """One for all pools. `decision` counts by model what was decided."""

    def __init__(self, picker: EndpointPicker, legs: PrefillLegs, encode: EncodeLegs) -> None:
        self._picker = picker
        self._legs = legs
        self._encode = encode
        self.decisions: dict[tuple[str, str], int] = {}  # (model, decision) -> requests
        self._model = Capped(MAX_MODELS)

    async def close(self) -> None:
        """Give up what is under way."""
        await self._legs.close()
        await self._encode.close()

    def begin(self, asked: Asked, context: Context, pick: Pick, body: bytes, proceed: Proceed, refuse: Refuse) -> bool:
        """Whether something is computed elsewhere first; then `proceed` or `refuse` is called once, now or later,
        unless `asked.leg` is abandoned before. `body` is the client's, with the target's name in it."""
        plan = asked.plan
        if asked.request.api not in SPLIT_APIS:
            return False
        endpoint = plan.by_address[pick.address]
        handoff = engine_for(endpoint.runtime or plan.pool.runtime).handoff
        must = handoff is not None and handoff.concurrent and endpoint.role == "decode"
        chosen = self._split(asked, context, pick, handoff, must)
        if must and chosen is None:
            refuse(_NO_PREFILL)
            return True
        media = asked.request.media if plan.encoding else 0
        encoders = spread_encoders(plan.beside(pick.address).encoding, media, context.draw)
        self._count(asked.query.model, chosen is not None, bool(encoders))
        if chosen is None and not encoders:
            return False
        if chosen is not None:
            asked.is_split = True
            self._picker.loads.computed_elsewhere(asked.pick_id)
        if plan.settings.sidecars:
            proceed(None, sidecar_headers(chosen.prefill.address if chosen else "", encoders))
            return True
        task = asyncio.get_running_loop().create_task(
            self._run(asked, pick, body, chosen, handoff, encoders, proceed, refuse if must else None), name="legs"
        )
        asked.leg = Legs(task)
        return True

    def ended(self, legs: Legs, *, fetched: bool) -> None:
        """The answer is over. `fetched`: the answering endpoint was reached, so it has taken what it was left."""
        if legs.leg is None or legs.request is None:
            return
        self._legs.ended(legs.leg)
        if not fetched:
            self._legs.release(legs.request, legs.leg)

    def _split(self, asked: Asked, context: Context, pick: Pick, handoff: Handoff | None, must: bool) -> Split | None:
        plan = asked.plan
        addresses = plan.beside(pick.address).prefilling
        if handoff is None or not addresses:
            return None
        settings = plan.settings
        prefilling = self._picker.context(asked.query, asked.blocks, addresses, context.now_s, context.draw)
        chosen = split(
            context,
            pick,
            prefilling,
            settings.prefill_profile or settings.profile,
            SplitSettings(settings.remote_prefill_from_tokens, settings.remote_prefill_from_prompt_tokens),
            must=must,
        )
        if isinstance(chosen, NoPick):
            _log.warning("a request for %s cannot be split: %s", asked.query.model, chosen.message)
            return None
        return chosen if isinstance(chosen, Split) else None

    async def _run(
        self,
        asked: Asked,
        pick: Pick,
        body: bytes,
        chosen: Split | None,
        handoff: Handoff | None,
        encoders: tuple[str, ...],
        proceed: Proceed,
        refuse: Refuse | None,
    ) -> None:
        """`refuse` is there when the answering endpoint cannot compute the prompt itself."""
        legs = asked.leg
        assert isinstance(legs, Legs)
        sent = body
        try:
            if encoders:
                sent = (await self._encode.run(body, asked.head.headers, encoders)).body
            if chosen is not None and handoff is not None:
                request = legs.request = LegRequest(
                    asked.request.api, asked.head.target, sent, asked.head.headers, asked.query, pick.address,
                    asked.blocks,
                )  # fmt: skip
                leg = legs.leg = await self._legs.run(request, chosen, handoff)
                sent = leg.body
                # Kept until the answer is over, which needs neither.
                legs.request = replace(request, body=b"", blocks=None)
                if leg.failures:
                    _log.warning("prefill for a request to %s: %s", asked.query.model, "; ".join(leg.failures))
        except Exception:
            # The answering engine can do it all: a request is never lost to its legs.
            _log.exception("the legs of a request to %s failed", asked.query.model)
            sent = body
        if refuse is not None and (legs.leg is None or not legs.leg.prefill):
            asked.leg = None
            refuse(_NO_PREFILL)
            return
        proceed(sent, ())

    def _count(self, model: str, prefill: bool, encode: bool) -> None:
        if prefill:
            decision = "encode-prefill-decode" if encode else "prefill-decode"
        else:
            decision = "encode-decode" if encode else "decode-only"
        key = (self._model(model), decision)
        self.decisions[key] = self.decisions.get(key, 0) + 1
