"""Random: any endpoint, all with the same probability. The yardstick that every other decision must beat."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.gateway.pick.candidate import Candidate, NoPick, Pick
from fairlead.gateway.pick.profile import MAX_FALLBACKS


def pick_random(candidates: Sequence[Candidate], draw: float, max_fallbacks: int = MAX_FALLBACKS) -> Pick | NoPick:
    """The endpoint at `draw` (uniform, from 0 to below 1) of the reachable ones; of all when none is reachable.

    Fallbacks are those that follow it in the order given.
    """
    if not candidates:
        return NoPick("no_ready_endpoints", "no replica is ready")
    usable = [c for c in candidates if c.reachable] or candidates
    index = min(int(draw * len(usable)), len(usable) - 1)
    fallbacks = tuple(usable[(index + n) % len(usable)].address for n in range(1, min(1 + max_fallbacks, len(usable))))
    return Pick(usable[index].address, fallbacks, f"drawn at random from {len(usable)} endpoints")
