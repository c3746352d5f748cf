"""What pods are told: why they wait, where room is made for them, where they went. Never in the way of a commit.

Only what changed is written, the newest state only, and so many a second: ten thousand pods that wait for the same
reason are told one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.kube.objects.meta import find_condition
from fairlead.kube.rate_limit import RateLimit
from fairlead.kube.store import Store
from fairlead.scheduling.commit.faults import CommitFailedError, Requests
from fairlead.scheduling.snapshot import PodView

_LOG = logging.getLogger("fairlead.scheduling")

WRITES_PER_S: Final = 100.0
BURST: Final = 200
REWORD_S: Final = 10.0
"""How long a reason stands before it is put in other words: counts of nodes change all the time."""
EVENTS_WAIT_S: Final = 10.0
"""How long news of bindings waits for a pause between bindings."""
PASSING_S: Final = 2.0
"""How long a pod waits before it is told of what should have come in a moment: its claims, the rest of its gang."""
# The recorder drops what comes faster than it can write.
_EVENTS_AT_A_TIME: Final = 20
_IDLE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Waits:
    """Why a pod has no node."""

    pod: PodView
    reason: str
    message: str
    nominated: str | None = None
    """The node that is being cleared for it; None to leave that as it is."""
    is_passing: bool = False
    """It waits for something that most likely comes in a moment: told only where that takes longer."""


@dataclass(frozen=True, slots=True)
class _Told:
    at_s: float
    reason: str
    message: str


class Reports:
    """What is still to be told. `run` writes it."""

    def __init__(
        self,
        client: Client,
        pods: Store[Pod],
        requests: Requests,
        events: EventRecorder,
        is_busy: Callable[[], bool],
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        """`is_busy`: whether pods are being bound, which comes first."""
        self._client = client
        self._pods = pods
        self._requests = requests
        self._events = events
        self._is_busy = is_busy
        self._clock = clock
        self._limit = RateLimit(WRITES_PER_S, BURST, clock=clock)
        self._waits: dict[str, tuple[float, Waits]] = {}  # uid -> since when there is news, and the newest
        self._told: dict[str, _Told] = {}
        self._bound: deque[tuple[float, PodView, str]] = deque()
        self._news = asyncio.Event()

    def waits(self, news: Waits) -> None:
        """A pod stays pending."""
        told = self._told.get(news.pod.uid)
        if told is not None and (told.reason, told.message) == (news.reason, news.message) and news.nominated is None:
            self._waits.pop(news.pod.uid, None)
            return
        known = self._waits.get(news.pod.uid)
        since_s = self._clock.monotonic_s() if known is None else known[0]
        self._waits[news.pod.uid] = since_s, news
        self._news.set()

    def bound(self, pod: PodView, node: str) -> None:
        """A pod has a node."""
        self.forget(pod.uid)
        self._bound.append((self._clock.monotonic_s(), pod, node))
        self._news.set()

    def forget(self, uid: str) -> None:
        """A pod needs no more reasons."""
        self._waits.pop(uid, None)
        self._told.pop(uid, None)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not self._waits and not self._bound:
                self._news.clear()
                await self._news.wait()
            self._tell_bound()
            news = self._next()
            if news is None:
                await self._clock.sleep(_IDLE_S)
                continue
            await self._limit.take()
            await self._write(news)

    def flush(self) -> None:
        """Hand over what is known of bindings at once; for the end."""
        self._tell_bound(at_once=True)

    def _tell_bound(self, *, at_once: bool = False) -> None:
        oldest_s = self._clock.monotonic_s() - EVENTS_WAIT_S
        left = len(self._bound) if at_once else _EVENTS_AT_A_TIME
        while self._bound and left and (at_once or not self._is_busy() or self._bound[0][0] < oldest_s):
            left -= 1
            _, pod, node = self._bound.popleft()
            copy = self._pods.get(pod.name, pod.namespace)
            if copy is not None and copy.metadata.uid == pod.uid:
                text = f"Successfully assigned {pod.full_name} to {node}"
                self._events.normal(PODS, copy, "Scheduled", text, action="Binding")

    def _next(self) -> Waits | None:
        """The next news that may be told now."""
        now_s = self._clock.monotonic_s()
        for uid, (since_s, news) in self._waits.items():
            if now_s >= self._not_before_s(since_s, news):
                del self._waits[uid]
                return news
        return None

    def _not_before_s(self, since_s: float, news: Waits) -> float:
        told = self._told.get(news.pod.uid)
        if news.nominated is not None:
            return since_s
        if told is not None and told.reason == news.reason:
            return told.at_s + REWORD_S
        return since_s + PASSING_S if news.is_passing else since_s

    async def _write(self, news: Waits) -> None:
        pod = news.pod
        copy = self._pods.get(pod.name, pod.namespace)
        if copy is None or copy.metadata.uid != pod.uid or copy.spec.node_name or copy.metadata.is_deleting:
            self._told.pop(pod.uid, None)
            return
        self._told[pod.uid] = _Told(self._clock.monotonic_s(), news.reason, news.message)
        body = self._change(copy, news)
        if not body:
            return
        try:
            await self._requests.send(
                lambda: self._client.patch(
                    PODS, pod.name, {"metadata": {"uid": pod.uid}, "status": body}, pod.namespace,
                    kind="strategic", subresource="status",
                ),
                f"pod {pod.full_name}",
            )  # fmt: skip
        except NotFound:
            return
        except (ApiError, CommitFailedError) as error:
            _LOG.warning("the reason of pod %s is not written: %s", pod.full_name, error)
            self._told.pop(pod.uid, None)
            return
        if news.reason == "Unschedulable" and "conditions" in body:
            self._events.warning(PODS, copy, "FailedScheduling", news.message, action="Scheduling")

    def _change(self, copy: Pod, news: Waits) -> dict[str, Any]:
        """What is different in the pod's status."""
        body: dict[str, Any] = {}
        if news.nominated is not None and news.nominated != copy.status.nominated_node_name:
            body["nominatedNodeName"] = news.nominated or None
        current = find_condition(copy.status.conditions, "PodScheduled")
        if current is None or (current.status, current.reason, current.message) != ("False", news.reason, news.message):
            is_new = current is None or current.status != "False"
            now = format_time(self._clock.wall_s())
            body["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": news.reason,
                    "message": news.message,
                    "lastProbeTime": None,
                    "lastTransitionTime": now if is_new or current is None else current.last_transition_time or now,
                }
            ]
        return body
