"""Following a benchmark from outside the cluster: its state from the object, its progress and figures from the log of
the pod that coordinates.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from fairlead.api.benchmark import BENCHMARKS, Benchmark, BenchmarkStatus
from fairlead.bench.cluster import lines
from fairlead.bench.summary import RunSummary
from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.pods import follow_log, read_log
from fairlead.kube.transport import Unreachable
from fairlead.kube.waiting import wait_for

FOREVER_S = 10 * 365 * 86_400.0
RETRY_S = 0.5
UNSEEN_S = 10.0
REST_S = 10.0
"""After the end, for the last lines of a log that is being followed."""
TAIL_LINES = 12_000
Hear = Callable[[lines.Said | lines.Look], None]


class Followed(msgspec.Struct, frozen=True):
    """How it ended. `summary` None: there is none, or the log has been lost."""

    status: BenchmarkStatus
    summary: RunSummary | None


class Vanished(RuntimeError):
    """The benchmark was deleted while it was followed, or was never there."""


async def follow(client: Client, namespace: str, name: str, hear: Hear) -> Followed:
    """Until it has ended, or was refused. What it says on the way goes to `hear`. Raises Vanished and ApiError."""
    following = _Following(client, namespace, name, hear)
    watching = asyncio.ensure_future(following.log())
    wondering = asyncio.ensure_future(following.wonder())
    try:
        raw = await wait_for(client, BENCHMARKS, name, namespace, following.sees, timeout_s=FOREVER_S)
        if raw is None:
            raise Vanished(f"there is no benchmark {namespace}/{name}")
        status = _status(raw)
        if status.run:
            await asyncio.wait((watching,), timeout=REST_S)
            await following.read_again(status)
        return Followed(status, following.assembly.summary())
    finally:
        wondering.cancel()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def ask_to_end(client: Client, namespace: str, name: str) -> None:
    """Nothing more is sent, and what ran is reported. Raises ApiError."""
    await client.patch(BENCHMARKS, name, {"spec": {"stop": True}}, namespace)


class _Following:
    def __init__(self, client: Client, namespace: str, name: str, hear: Hear) -> None:
        self._client, self._namespace, self._name, self._hear = client, namespace, name, hear
        self._said = ""
        self._is_looked_at = False
        self._pod: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.assembly = lines.Assembly()

    def sees(self, raw: dict[str, Any] | None) -> bool:
        """Whether it is over; called with each state of the object."""
        if raw is None:
            return True
        status = _status(raw)
        self._is_looked_at = bool(status.conditions)
        if status.coordinator and not self._pod.done():
            self._pod.set_result(status.coordinator)
        running = next((c for c in status.conditions if c.type == "Running"), None)
        # What is waited for is told as it changes; that it runs, once.
        said = running.message if running is not None and status.state != "Running" else status.state
        if running is not None and said != self._said and not status.completion_time:
            self._said = said
            self._hear(lines.Said(f"{status.state}: {running.message}"))
        return bool(status.completion_time) or is_refused(status)

    async def wonder(self) -> None:
        """Say so when no controller has seen it."""
        await SYSTEM.sleep(UNSEEN_S)
        if not self._is_looked_at:
            self._hear(lines.Said("nobody has looked at it yet: does `fairlead controllers` run in this cluster?"))

    async def log(self) -> None:
        """The coordinator's log, from its beginning to its end; again where it is cut off."""
        pod = await self._pod
        while True:
            try:
                async for text in follow_log(self._client, self._namespace, pod):
                    self._take(text)
                return
            except NotFound:
                return
            except (ApiError, Unreachable):  # it has not begun, or the connection was cut
                await SYSTEM.sleep(RETRY_S)

    async def read_again(self, status: BenchmarkStatus) -> None:
        """What was missed of the figures."""
        with contextlib.suppress(ApiError, Unreachable):
            if self._whole() is None:
                text = await read_log(self._client, self._namespace, status.coordinator, tail_lines=TAIL_LINES)
                for line in text.splitlines():
                    self._take(line)

    def _whole(self) -> RunSummary | None:
        with contextlib.suppress(ValueError):
            return self.assembly.summary()
        return None

    def _take(self, text: str) -> None:
        line = lines.read(text)
        if isinstance(line, lines.Part):
            self.assembly.add(line)
        elif line is not None:
            self._hear(line)


def is_refused(status: BenchmarkStatus) -> bool:
    """Whether it will not begin as it is written."""
    return any(c.type == "Accepted" and c.status == "False" for c in status.conditions)


def why(status: BenchmarkStatus) -> str:
    """Why there is nothing good to tell, in words."""
    for kind in ("Accepted", "Failed", "Finished"):
        for condition in status.conditions:
            if condition.type == kind and (kind != "Accepted" or condition.status == "False") and condition.message:
                return condition.message
    return status.state or "nothing is known of it"


def _status(raw: dict[str, Any]) -> BenchmarkStatus:
    return msgspec.convert(raw, Benchmark).status
