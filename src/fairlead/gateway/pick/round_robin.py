"""Round robin: the endpoint that has waited longest for a request.

The turn is read from the endpoints themselves (`Candidate.last_pick`), so it needs no state of its own and survives
endpoints that come and go: a new one is first in line, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest

from fairlead.gateway.pick.candidate import Candidate, NoPick, Pick
from fairlead.gateway.pick.profile import MAX_FALLBACKS


def pick_round_robin(candidates: Sequence[Candidate], max_fallbacks: int = MAX_FALLBACKS) -> Pick | NoPick:
    """Reachable endpoints first; among them the one with the oldest pick, then by address."""
    if not candidates:
        return NoPick("no_ready_endpoints", "no replica is ready")
    turns = nsmallest(1 + max_fallbacks, [(not c.reachable, c.last_pick, c.address) for c in candidates])
    return Pick(turns[0][2], tuple(t[2] for t in turns[1:]), f"next in turn of {len(candidates)} endpoints")
