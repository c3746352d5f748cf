"""Where a process under test dies, and the gate in front of its API calls that makes the place exact.

Calls pass the gate one at a time, so that "the first k were carried out and no other" is a state that can be had on
purpose. Of calls that wait together (a reconcile's `gather`), `order` says which goes first: any subset of them may be
what a killed process leaves behind, and permutations reach the subsets.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")
When = Literal["never", "before", "after", "suspended"]


@dataclass(frozen=True, slots=True)
class Kill:
    """`before`: as call number `at` is about to be sent. `after`: the server has carried it out and its answer is not
    seen. `suspended`: at the await number `at` of the reconciles that really suspends. Numbers count from 1."""

    when: When = "never"
    at: int = 0
    order: int = 0
    """0: calls that wait together go in the order in which they came; any other number seeds a shuffle."""

    def __str__(self) -> str:
        return f"{self.when} {self.at}" + (f", order {self.order}" if self.order else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def die() -> None:
    """As kill -9 does it: no handler, no `finally`, no flush."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(slots=True)
class _Waiting:
    name: str
    turn: asyncio.Future[int]


@dataclass(slots=True)
class Gate:
    """`pass_through` around each call; armed late, so that what comes before a test's own change does not count."""

    tell: Callable[[int, str], None] = lambda number, name: None
    """Told of each call before it is sent."""
    kill: Kill = field(default_factory=Kill)
    calls: int = 0
    suspensions: int = 0
    total: int = 0
    """Calls since the start, armed or not."""
    _waiting: list[_Waiting] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _pump: asyncio.Task[None] | None = None
    _random: random.Random = field(default_factory=random.Random)

    def arm(self, kill: Kill) -> None:
        self.kill = kill
        self.calls = self.suspensions = 0
        self._random = random.Random(kill.order)

    @property
    def is_open(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self._pump is None

    async def pass_through(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(name, loop.create_future())
        self._waiting.append(waiting)
        if self._pump is None:
            self._pump = loop.create_task(self._let_pass())
        number = await waiting.turn
        try:
            answer = await call()
            if self.kill.when == "after" and self.kill.at == number:
                die()
            return answer
        finally:
            self._over.set()

    async def _let_pass(self) -> None:
        while self._waiting:
            for _ in range(5):
                # Siblings of the same gather come in the next turns of the loop.
                await asyncio.sleep(0)
            chosen = self._random.randrange(len(self._waiting)) if self.kill.order else 0
            waiting = self._waiting.pop(chosen)
            self.calls += 1
            self.total += 1
            self.tell(self.calls, waiting.name)
            if self.kill.when == "before" and self.kill.at == self.calls:
                die()
            self._over.clear()
            waiting.turn.set_result(self.calls)
            await self._over.wait()
        self._pump = None

    def counted(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """The same coroutine, each of its suspensions counted."""
        return _Stepped(self, work)

    def suspended(self) -> None:
        self.suspensions += 1
        if self.kill.when == "suspended" and self.kill.at == self.suspensions:
            die()


class _Stepped(Awaitable[T]):
    def __init__(self, gate: Gate, work: Coroutine[Any, Any, T]) -> None:
        self._gate = gate
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        error: BaseException | None = None
        while True:
            try:
                waits_for = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            self._gate.suspended()
            error = None
            try:
                yield waits_for
            except BaseException as thrown:
                error = thrown
