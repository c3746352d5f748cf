"""Which endpoint served a session before: what `session-affinity-scorer` with `strategy: session_id` asks for.

The one who decides looks a session up before a decision, gives the address in `Query.session_endpoint`, and tells here
where the request went. No clock: times are given. Bounded: the sessions not heard of for longest are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict

TTL_S = 300.0
MOST_SESSIONS = 100_000
"""About 20 MB."""

_EXPIRED_AT_ONCE = 2
"""Sessions that each new one may push out for their age, so that memory shrinks without a sweep."""


class SessionTable:
    """session -> endpoint. A session stays bound while it is used at least every `ttl_s`."""

    def __init__(self, ttl_s: float = TTL_S, most_sessions: int = MOST_SESSIONS) -> None:
        if not ttl_s > 0.0 or most_sessions < 1:
            raise ValueError(f"ttl_s ({ttl_s}) must be above 0 and most_sessions ({most_sessions}) at least 1")
        self._ttl_s = ttl_s
        self._most_sessions = most_sessions
        self._bound: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        """(pool, session) -> address and when it was last used; longest unused first."""

    def __len__(self) -> int:
        return len(self._bound)

    def endpoint_of(self, pool: str, session: str, now_s: float) -> str:
        """The address that served it; empty when that is not known, or was too long ago."""
        bound = self._bound.get((pool, session)) if session else None
        return bound[0] if bound is not None and now_s - bound[1] <= self._ttl_s else ""

    def served(self, pool: str, session: str, address: str, now_s: float) -> None:
        """A request of the session goes to this address."""
        if not session:
            return
        bound = self._bound
        bound[pool, session] = (address, now_s)
        bound.move_to_end((pool, session))
        if len(bound) > self._most_sessions:
            bound.popitem(last=False)
        for _ in range(_EXPIRED_AT_ONCE):
            oldest = next(iter(bound))
            if now_s - bound[oldest][1] <= self._ttl_s:
                return
            del bound[oldest]
