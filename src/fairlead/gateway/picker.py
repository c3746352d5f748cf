"""The picker of endpoints: a profile's decision over what is known of endpoints, and the memory of what was decided.

No I/O and no clock. The live gateway and the simulated fleet run this same class; they differ in who tells it the time,
the engines' reports and the ends of requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fairlead.gateway.latency.predictor import LatencyPredictor
from fairlead.gateway.load import InFlight, LoadTable
from fairlead.gateway.pick import Context, NoPick, Pick, Profile, Query, decide
from fairlead.gateway.prefix.index import PrefixIndex, PromptBlocks


class Picked(NamedTuple):
    """A pick that is counted as in flight under `pick_id`."""

    pick: Pick
    pick_id: str
    matched_tokens: int


class EndpointPicker:
    """Decides for any number of pools, whose endpoints share the tables."""

    def __init__(self, loads: LoadTable, prefixes: PrefixIndex, predictor: LatencyPredictor) -> None:
        self.loads = loads
        self.prefixes = prefixes
        self.predictor = predictor

    def context(
        self, query: Query, blocks: PromptBlocks | None, addresses: Sequence[str], now_s: float, draw: float
    ) -> Context:
        """What a decision on this request sees."""
        candidates = self.loads.candidates(addresses, now_s)
        if blocks is None:
            return Context(query, candidates, [0] * len(candidates), now_s, draw)
        held = self.prefixes.match(blocks)
        matched = [held.get(a, 0) for a in addresses] if held else [0] * len(candidates)
        return Context(query, candidates, matched, now_s, draw, int(len(blocks.hashes) * blocks.block_tokens))

    def pick(
        self, profile: Profile, query: Query, blocks: PromptBlocks | None, addresses: Sequence[str], now_s: float,
        draw: float,
    ) -> Picked | NoPick:  # fmt: skip
        """Decide and count the request as in flight at the endpoint it gets. `draw` is from 0 to below 1."""
        context = self.context(query, blocks, addresses, now_s, draw)
        pick = decide(profile, context)
        if isinstance(pick, NoPick):
            return pick
        matched = context.matched[addresses.index(pick.address)]
        return self.commit(pick, query, blocks, matched, now_s, cold=not any(context.matched))

    def commit(
        self, pick: Pick, query: Query, blocks: PromptBlocks | None, matched_tokens: int, now_s: float,
        tag: object = None, *, cold: bool = False,
    ) -> Picked:  # fmt: skip
        """Remember that the request goes where a decision says. `tag` is found again in what `ended` returns; `cold`:
        no endpoint holds anything of the prompt."""
        pick_id = self.loads.picked(
            pick.address, now_s, prompt_tokens=query.prompt_tokens, matched_tokens=matched_tokens,
            output_tokens=query.output_tokens, adapter=query.adapter, cold=cold, tag=tag,
        )  # fmt: skip
        if blocks is not None:
            self.prefixes.sent(pick.address, blocks)
        return Picked(pick, pick_id, matched_tokens)

    def ended(
        self, pick_id: str, *, ttft_s: float | None = None, itl_s: float | None = None,
        cached_tokens: int | None = None, whole_s: float | None = None, output_tokens: int | None = None,
    ) -> InFlight | None:  # fmt: skip
        """The request is over; where its times are known the endpoint's speed is learned from them.

        `ttft_s` is from the pick to the first token, `itl_s` the mean time between tokens, `cached_tokens` what the
        engine says it had in its prefix cache. `whole_s` is from the pick to the end, for answers that came as one
        piece.
        """
        request = self.loads.ended(pick_id)
        if request is not None and request.counted and (ttft_s is not None or itl_s is not None or whole_s is not None):
            speed = self.predictor.observe(
                request, ttft_s, itl_s, cached_tokens=cached_tokens, whole_s=whole_s, output_tokens=output_tokens
            )
            self.loads.of(request.address).candidate.speed = speed
        return request

    def forget(self, address: str) -> None:
        """The endpoint exists no more."""
        self.loads.forget(address)
        self.prefixes.forget(address)
        self.predictor.forget(address)
