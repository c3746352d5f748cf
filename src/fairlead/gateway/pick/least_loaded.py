"""Least loaded: the endpoint with the fewest requests, counted exactly where possible.

load = in_flight + others: what this gateway knows to be there at this instant, plus what the engine reported beyond
that at its last scrape. An endpoint whose report is unknown is assumed to have as many others as its peers on average,
so that silence is neither rewarded nor punished. Equal loads: the less full KV cache, then the one that has waited
longest for a request, then the address; a burst therefore goes round.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.gateway.pick.candidate import Candidate, NoPick, Pick
from fairlead.gateway.pick.profile import MAX_FALLBACKS

_KV_STEPS = 10
"""KV usage is compared in tenths: finer differences are noise between two scrapes."""


def pick_least_loaded(candidates: Sequence[Candidate], max_fallbacks: int = MAX_FALLBACKS) -> Pick | NoPick:
    """Reachable endpoints first; unreachable ones are only tried when nothing else is left."""
    if not candidates:
        return NoPick("no_ready_endpoints", "no replica is ready")
    expected_others = _mean_others(candidates)
    # Plain tuples sort without calls into Python; addresses differ, so the position is never compared.
    ordered = [
        (
            not c.reachable,
            c.in_flight + (expected_others if c.others is None else c.others),
            0 if c.kv_cache_usage_ratio is None else int(c.kv_cache_usage_ratio * _KV_STEPS),
            c.last_pick,
            c.address,
            position,
        )
        for position, c in enumerate(candidates)
    ]
    ordered.sort()
    best = candidates[ordered[0][-1]]
    fallbacks = tuple([entry[4] for entry in ordered[1 : 1 + max_fallbacks]])
    if not best.reachable:
        return Pick(
            best.address, fallbacks, f"none of {len(candidates)} endpoints accepted its last connection; trying"
        )
    if len(candidates) == 1:
        return Pick(best.address, (), f"the only ready endpoint; {_told(best)}")
    usable = len(candidates) - sum([entry[0] for entry in ordered])
    return Pick(best.address, fallbacks, f"least loaded of {usable} reachable endpoints; {_told(best)}")


def _mean_others(candidates: Sequence[Candidate]) -> float:
    known = [c.others for c in candidates if c.others is not None]
    return sum(known) / len(known) if known else 0.0


def _told(candidate: Candidate) -> str:
    others = "an unknown number of" if candidate.others is None else str(candidate.others)
    return f"{candidate.in_flight} in flight, {others} others"
