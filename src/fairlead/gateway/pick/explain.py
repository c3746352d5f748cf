"""Why a request went where it went: a decision on record, and its replay with every plugin's part.

A record holds all that the decision saw and what its profile was built of, so that any process can replay it later;
`decide` itself gives the parts, there is no second account of how it works. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairlead.gateway.pick.candidate import Candidate, NoPick, Pick
from fairlead.gateway.pick.predict import predicted
from fairlead.gateway.pick.profile import PASSED_OVER, Profile, Use, decide
from fairlead.gateway.pick.query import Context, Query, Step
from fairlead.gateway.pick.registry import build_profile


class DecisionRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A decision as it was taken. `to_json` right away: the candidates in a context go on changing."""

    profile: str
    uses: tuple[Use, ...]
    """What the profile was built of."""
    query: Query
    candidates: list[Candidate]
    matched: list[int]
    matchable_tokens: int = 0
    now_s: float = 0.0
    draw: float = 0.0
    picked: str = ""
    """Empty when nobody was."""
    fallbacks: tuple[str, ...] = ()
    told: str = ""
    """The reason, in the decision's own words."""
    request_id: str = ""
    pool: str = ""

    @classmethod
    def of(
        cls, profile: Profile, context: Context, pick: Pick | NoPick, *, request_id: str = "", pool: str = ""
    ) -> DecisionRecord:
        """The record of a decision on this context. Raises ValueError for a profile that was not built of plugins."""
        if not profile.uses:
            raise ValueError(f"profile {profile.name!r} was put together by hand: build it with build_profile")
        picked, fallbacks, told = ("", (), pick.message) if isinstance(pick, NoPick) else _parts(pick)
        return cls(
            profile=profile.name, uses=profile.uses, query=context.query, candidates=context.candidates,
            matched=context.matched, matchable_tokens=context.matchable_tokens, now_s=context.now_s, draw=context.draw,
            picked=picked, fallbacks=fallbacks, told=told, request_id=request_id, pool=pool,
        )  # fmt: skip

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> DecisionRecord:
        """Raises msgspec.DecodeError."""
        return msgspec.json.decode(data, type=cls)

    def context(self) -> Context:
        """What the decision saw."""
        return Context(self.query, self.candidates, self.matched, self.now_s, self.draw, self.matchable_tokens)

    def replay(self, steps: list[Step] | None = None) -> Pick | NoPick:
        """The decision, taken again."""
        return decide(build_profile(self.profile, self.uses, guards=()), self.context(), steps)


class Explanation(msgspec.Struct, kw_only=True):
    """A replayed decision, for people."""

    picked: str
    sentence: str
    same: bool
    """Whether the replay came to what is on record; if not, the plugins are not those that decided then."""
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    """One for each endpoint, the picked one first, then by total; as long as the header."""


_SEEN = ("endpoint", "in flight", "queue", "KV", "cached", "backlog", "TTFT", "ITL")


def explain(record: DecisionRecord) -> Explanation:
    """Replay the decision and say how it came about."""
    steps: list[Step] = []
    decision = record.replay(steps)
    picked, fallbacks = (decision.address, decision.fallbacks) if isinstance(decision, Pick) else ("", ())
    scorers = [s for s in steps if s.kind == "scorer"]
    totals = steps[-1].values if steps and steps[-1].kind == "picker" else {}
    header = (*_SEEN, *[_title(s) for s in scorers], "total", "")
    seen = _seen(record.context())
    rows = []
    for candidate in record.candidates:
        address = candidate.address
        scores = [_number(s.values.get(address)) for s in scorers]
        rows.append((*seen[address], *scores, _number(totals.get(address)), _outcome(address, picked, steps)))
    rows.sort(key=lambda row: (row[0] != picked, -totals.get(row[0], -1.0), row[0]))
    sentence = decision.message if isinstance(decision, NoPick) else _sentence(picked, steps, scorers, totals)
    same = (picked, fallbacks) == (record.picked, record.fallbacks)
    return Explanation(picked=picked, sentence=sentence, same=same, header=header, rows=rows)


def _parts(pick: Pick) -> tuple[str, tuple[str, ...], str]:
    return pick.address, pick.fallbacks, pick.reason


def _title(step: Step) -> str:
    return step.plugin if step.weight == 1.0 else f"{step.plugin} x{step.weight:g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _seen(context: Context) -> dict[str, tuple[str, ...]]:
    """address -> what the decision knew of it; "?" for what nobody told."""
    if not context.candidates:
        return {}
    ttfts, itls = predicted(context)
    found: dict[str, tuple[str, ...]] = {}
    for candidate, matched, ttft_s, itl_s in zip(context.candidates, context.matched, ttfts, itls, strict=True):
        others = "?" if candidate.others is None else str(candidate.others)
        usage = candidate.kv_cache_usage_ratio
        found[candidate.address] = (
            candidate.address,
            f"{candidate.in_flight}+{others}",
            "?" if candidate.waiting is None else str(candidate.waiting),
            "?" if usage is None else f"{usage:.0%}",
            f"{matched} tokens",
            f"{candidate.prefill_backlog_tokens:.0f} tokens",
            _seconds(ttft_s),
            _seconds(itl_s),
        )
    return found


def _seconds(value_s: float) -> str:
    return f"{value_s:.2f} s" if value_s >= 1.0 else f"{value_s * 1e3:.1f} ms"


def _outcome(address: str, picked: str, steps: Sequence[Step]) -> str:
    """What became of the endpoint."""
    if address == picked:
        return "picked"
    for step in steps:
        if step.kind == "filter" and step.values.get(address) == 0.0 and not _passed_over(step):
            return f"dropped by {step.plugin}"
    return ""


def _sentence(picked: str, steps: Sequence[Step], scorers: Sequence[Step], totals: dict[str, float]) -> str:
    """Who was left, and what made the difference to the next best."""
    dropped = [
        f"{step.plugin} dropped {count}"
        for step in steps
        if step.kind == "filter" and not _passed_over(step) and (count := sum([v == 0.0 for v in step.values.values()]))
    ]
    passed_over = [f"{step.plugin} would have left nobody and was passed over" for step in steps if _passed_over(step)]
    before = "; ".join([*dropped, *passed_over])
    before = f"{before}; " if before else ""
    others = {address: total for address, total in totals.items() if address != picked}
    if not others:
        return f"{before}{picked} was the only endpoint left"
    rival = max(others, key=lambda address: others[address])
    lead = totals[picked] - others[rival]
    if not scorers or abs(lead) <= 1e-9:
        return f"{before}{picked} and {rival} had the same total of {totals[picked]:.3f}; {steps[-1].plugin} chose"
    leads = {s.plugin: s.weight * (s.values[picked] - s.values[rival]) for s in scorers}
    decisive = max(leads, key=lambda name: leads[name]) if lead > 0 else min(leads, key=lambda name: leads[name])
    if lead < 0:
        return (
            f"{before}{steps[-1].plugin} chose {picked} with a total of {totals[picked]:.3f} over {rival} with "
            f"{others[rival]:.3f}"
        )
    return (
        f"{before}{picked} had the best total of {len(totals)} endpoints, {totals[picked]:.3f}, before {rival} with "
        f"{others[rival]:.3f}; {decisive} made the largest difference, {leads[decisive]:+.3f}"
    )


def _passed_over(step: Step) -> bool:
    return step.note == PASSED_OVER
