"""Requests for LoRA adapters that no engine of their pool has: they wait until one has, for a while.

Whoever loads adapters hears of them through `wanted`, which is called again every few seconds while requests wait. A
request that got its turn once does not queue again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.errors import Reply
from fairlead.gateway.plan import PoolPlan
from fairlead.gateway.resolve import Resolved

if TYPE_CHECKING:
    from fairlead.gateway.asked import Asked

WAIT_S: Final = 30.0
"""An adapter is loaded within seconds; who waits longer waits for one that will not come."""
ASK_AGAIN_S: Final = 2.0
MAX_WAITING: Final = 1000
"""Of all pools together: their bodies are kept meanwhile."""

Go = Callable[[str], None]
"""Called once: with nothing when the adapter is there, else with the sentence for the client."""


class Parked:
    """A request that waits for its adapter."""

    __slots__ = ("_wait", "adapter", "deadline_s", "go", "pool")

    def __init__(self, wait: AdapterWait, pool: str, adapter: str, deadline_s: float, go: Go) -> None:
        self._wait = wait
        self.pool = pool
        self.adapter = adapter
        self.deadline_s = deadline_s
        self.go = go

    def abandon(self) -> None:
        """The client has gone; `go` will not be called."""
        self._wait.drop(self)


class AdapterWait:
    """Of all pools. Belongs to the running event loop once something waits."""

    def __init__(self, clock: Clock = SYSTEM, *, wait_s: float = WAIT_S, ask_again_s: float = ASK_AGAIN_S) -> None:
        self._clock = clock
        self._wait_s = wait_s
        self._ask_again_s = ask_again_s
        self._parked: dict[str, dict[Parked, None]] = {}  # pool -> in order of their coming
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self.wanted: Callable[[str, str], None] = lambda pool, adapter: None
        """Told that requests of a pool wait for an adapter."""

    def __len__(self) -> int:
        return self._count

    def waiting(self, pool: str) -> dict[str, int]:
        """Adapter -> requests of the pool that wait for it."""
        found: dict[str, int] = {}
        for parked in self._parked.get(pool, ()):
            found[parked.adapter] = found.get(parked.adapter, 0) + 1
        return found

    def hold(self, asked: Asked, anew: Callable[[], Resolved | Reply]) -> Literal["", "waits", "moved"]:
        """What becomes of a request that no endpoint can take: it waits where its adapter is on none of them, and goes
        on where `anew` leads it to another version. Empty: it has to be refused."""
        plan, adapter = asked.plan, asked.query.adapter
        if not adapter or asked.if_available or not plan.answering or has_adapter(plan, adapter):
            return ""
        if adapter not in plan.pool.adapters and _moves_on(asked, anew()):
            return "moved"
        asked.leg = self.park(plan.pool.key, adapter, asked.adapter_came)
        return "waits" if asked.leg is not None else ""

    def park(self, pool: str, adapter: str, go: Go) -> Parked | None:
        """Let a request wait. None when too many do already."""
        if self._count >= MAX_WAITING:
            return None
        parked = Parked(self, pool, adapter, self._clock.monotonic_s() + self._wait_s, go)
        of_pool = self._parked.setdefault(pool, {})
        is_first = all(other.adapter != adapter for other in of_pool)
        of_pool[parked] = None
        self._count += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._ask_again_s, self._look)
        if is_first:
            self.wanted(pool, adapter)
        return parked

    def drop(self, parked: Parked) -> bool:
        """It waits no more. False when it did not."""
        of_pool = self._parked.get(parked.pool)
        if of_pool is None or parked not in of_pool:
            return False
        del of_pool[parked]
        if not of_pool:
            del self._parked[parked.pool]
        self._count -= 1
        return True

    def changed(self, pool: str, plan: PoolPlan | None) -> None:
        """The pool has another plan, or none any more: those go on whose adapter is there now."""
        for parked in list(self._parked.get(pool, ())):
            if plan is None:
                self._end(parked, "The model's pool was removed.")
            elif has_adapter(plan, parked.adapter):
                self._end(parked, "")

    def _end(self, parked: Parked, refusal: str) -> None:
        if self.drop(parked):
            parked.go(refusal)

    def _look(self) -> None:
        self._timer = None
        now_s = self._clock.monotonic_s()
        asked: dict[tuple[str, str], None] = {}
        for parked in [p for of_pool in self._parked.values() for p in of_pool]:
            if parked.deadline_s <= now_s:
                self._end(parked, f"No engine has loaded the adapter `{parked.adapter}` within {self._wait_s:.0f} s.")
            else:
                asked[parked.pool, parked.adapter] = None
        for pool, adapter in asked:
            self.wanted(pool, adapter)
        if self._count and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._ask_again_s, self._look)


def _moves_on(asked: Asked, resolved: Resolved | Reply) -> bool:
    """Whether a request goes on under another name than the one it waited under: its adapter's version has given way
    to a newer one meanwhile, and a rule leads there."""
    if isinstance(resolved, Reply) or not asked.resolved.rule or resolved.pool.key != asked.plan.pool.key:
        return False
    if resolved.model == asked.query.model:
        return False
    asked.resolved = resolved
    asked.query.model, asked.query.adapter = resolved.model, resolved.adapter
    return True


def has_adapter(plan: PoolPlan, adapter: str) -> bool:
    """Whether an endpoint that answers has it, or may have it."""
    return any(
        (adapters := plan.by_address[address].adapters) is None or adapter in adapters for address in plan.answering
    )
