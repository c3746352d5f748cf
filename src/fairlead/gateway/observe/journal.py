"""Decisions kept to be looked at and replayed: the newest ones, at most so many a second, with all they were made on.

Keeping one costs a copy of each candidate, so under load only a sample is kept.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fairlead.gateway.pick import Context, Pick, Profile
from fairlead.gateway.pick.explain import DecisionRecord

if TYPE_CHECKING:
    from fairlead.gateway.asked import Asked
    from fairlead.gateway.picker import Picked

KEPT = 512
PER_S = 20.0
"""Decisions kept in a second, on average; twice as many in a burst."""


class Kept(NamedTuple):
    """One decision."""

    request_id: str
    pick_id: str
    pool: str
    model: str
    profile: Profile
    context: Context
    pick: Pick
    matched_tokens: int

    def record(self) -> DecisionRecord:
        """The decision in the form that can be replayed anywhere."""
        return DecisionRecord.of(self.profile, self.context, self.pick, request_id=self.request_id, pool=self.pool)


class Summary(msgspec.Struct, frozen=True):
    """One line of the list of decisions."""

    request_id: str
    pick_id: str
    pool: str
    model: str
    prompt_tokens: int
    matched_tokens: int
    endpoint: str
    reason: str


class Journal:
    """The newest decisions, by the id of their pick."""

    def __init__(self, kept: int = KEPT, per_s: float = PER_S) -> None:
        self._limit = kept
        self._per_s = per_s
        self._allowance = 2 * per_s
        self._at_s = 0.0
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def snapshot(self, context: Context) -> Context | None:
        """What the decision sees, as it is now; None when this one is not to be kept."""
        elapsed_s, self._at_s = context.now_s - self._at_s, context.now_s
        self._allowance = min(2 * self._per_s, self._allowance + elapsed_s * self._per_s)
        if self._allowance < 1.0:
            return None
        self._allowance -= 1.0
        seen = copy.copy(context)
        seen.candidates = [copy.copy(c) for c in context.candidates]
        for candidate in seen.candidates:
            # The one thing of a candidate that is changed in place, not replaced.
            candidate.speed = copy.copy(candidate.speed)
        return seen

    def keep(self, asked: Asked, seen: Context, picked: Picked) -> None:
        """Remember what was decided on a snapshot."""
        self._kept[picked.pick_id] = Kept(
            asked.head.headers.get("x-request-id", ""),
            picked.pick_id,
            asked.plan.pool.key,
            asked.request.model,
            asked.profile,
            seen,
            picked.pick,
            picked.matched_tokens,
        )
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def summaries(self, pool: str, limit: int) -> list[Summary]:
        """The newest first; `pool` empty = of all."""
        chosen = [kept for kept in reversed(self._kept.values()) if not pool or kept.pool == pool][:limit]
        return [
            Summary(
                k.request_id, k.pick_id, k.pool, k.model, k.context.query.prompt_tokens, k.matched_tokens,
                k.pick.address, k.pick.reason,
            )
            for k in chosen
        ]  # fmt: skip

    def find(self, name: str) -> Kept | None:
        """By the id of the request or of the pick; `last` is the newest."""
        if name == "last":
            return next(reversed(self._kept.values()), None)
        if (kept := self._kept.get(name)) is not None:
            return kept
        return next((kept for kept in reversed(self._kept.values()) if kept.request_id == name), None)
