"""Makes pods leave: those that make room for others, and those that are lost with their gang.

A plan that makes room is carried out whole or, where a disruption budget refuses, not begun: the budgets are asked
first, without effect. A budget that changes its mind in between ends the plan; what has left by then is placed anew
like any other pod.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, Conflict, NotFound, TooManyRequests
from fairlead.kube.events import EventRecorder
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod, PodDisruptionBudget
from fairlead.kube.pods import evict
from fairlead.kube.store import Store
from fairlead.scheduling.commit.faults import CommitFailedError, Requests
from fairlead.scheduling.commit.together import together
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Cleared

_LOG = logging.getLogger("fairlead.scheduling")

_BATCH: Final = 32
"""Evictions at a time: what is not begun when a budget refuses stays."""

PREEMPTED: Final = "PreemptionByScheduler"
"""The reason in the condition DisruptionTarget of pods that leave for others."""


class RefusedByBudgetError(Exception):
    """A disruption budget does not let a pod go."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A pod that is to go, and what is said about it."""

    pod: PodView
    reason: str
    """Of the condition DisruptionTarget, CamelCase."""
    event: str
    """Reason of the Event, CamelCase."""
    sentence: str


class Evictor:
    """All evictions that are under way."""

    def __init__(
        self,
        client: Client,
        pods: Store[Pod],
        requests: Requests,
        events: EventRecorder,
        abandoned: Callable[[Cleared, str], None],
        budgets: Store[PodDisruptionBudget],
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        """`abandoned` is told of plans that could not be carried out, and why."""
        self.leaving: dict[str, str] = {}
        """Uid -> sentence of pods that are being evicted, until the API server has answered."""
        self._client = client
        self._pods = pods
        self._requests = requests
        self._events = events
        self._abandoned = abandoned
        self._budgets = budgets
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def clear(self, cleared: Cleared) -> None:
        """Start to carry out a plan."""
        self._start(self._clear(cleared))

    def remove(self, pods: Sequence[Leaving]) -> None:
        """Start to evict pods that cannot stay whatever their budgets say: they hold what is lost, or half a gang."""
        new = [each for each in pods if each.pod.uid not in self.leaving]
        for each in new:
            self.leaving[each.pod.uid] = each.sentence
        self._start(self._remove(new))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _budgets_in(self, namespaces: Collection[str]) -> bool:
        return any(budget.metadata.namespace in namespaces for budget in self._budgets)

    def _start(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _clear(self, cleared: Cleared) -> None:
        leaving = [
            Leaving(pod, PREEMPTED, "Preempted", victims.why) for victims in cleared.victims for pod in victims.pods
        ]
        try:
            if self._budgets_in({each.pod.namespace for each in leaving}):
                await together([self._evict(each, dry_run=True) for each in leaving])
            for batch in batched(leaving, _BATCH):
                await together([self._evict(each, dry_run=False) for each in batch])
        except RefusedByBudgetError as error:
            self._abandoned(cleared, str(error))
        except (ApiError, CommitFailedError) as error:
            _LOG.warning("%s: room is not made: %s", cleared.gang.key, error)
            self._abandoned(cleared, str(error))

    async def _remove(self, pods: Sequence[Leaving]) -> None:
        async def remove(each: Leaving) -> None:
            try:
                pod, copy = each.pod, self._pods.get(each.pod.name, each.pod.namespace)
                await self._mark(each)
                await self._requests.send(
                    lambda: self._client.delete(PODS, pod.name, pod.namespace, uid=pod.uid), f"pod {pod.full_name}"
                )
                self._tell(each, copy)
            except (NotFound, Conflict):
                return
            except (ApiError, CommitFailedError) as error:
                _LOG.warning("pod %s is not evicted: %s", each.pod.full_name, error)
            finally:
                self.leaving.pop(each.pod.uid, None)

        await asyncio.gather(*(remove(each) for each in pods))

    async def _evict(self, each: Leaving, *, dry_run: bool) -> None:
        """Raises RefusedByBudgetError, ApiError, CommitFailedError. A pod that is gone already is as well."""
        pod = each.pod
        copy = self._pods.get(pod.name, pod.namespace)
        if copy is None or copy.metadata.uid != pod.uid or copy.metadata.is_deleting:
            return
        try:
            if not dry_run:
                await self._mark(each)
            await self._requests.send(lambda: self._ask(each, dry_run), f"eviction of pod {pod.full_name}")
        except (NotFound, Conflict):
            return
        except RefusedByBudgetError:
            if not dry_run:
                # It stays: whoever sees the condition must not wait for it to go.
                with contextlib.suppress(ApiError, CommitFailedError):
                    await self._mark(each, is_leaving=False)
            raise
        if not dry_run:
            self._tell(each, copy)

    async def _ask(self, each: Leaving, dry_run: bool) -> None:
        pod = each.pod
        try:
            await evict(self._client, pod.namespace, pod.name, uid=pod.uid, dry_run=dry_run)
        except TooManyRequests as error:
            causes = [
                str(cause.get("message", "")) for cause in error.causes if cause.get("reason") == "DisruptionBudget"
            ]
            if not causes:
                # The server has too much to do, which is another matter.
                raise
            raise RefusedByBudgetError(f"pod {pod.full_name} cannot be evicted: {causes[0]}") from error

    async def _mark(self, each: Leaving, *, is_leaving: bool = True) -> None:
        """The condition that tells controllers why the pod goes (a Job does not count it as failed)."""
        pod = each.pod
        condition = {
            "type": "DisruptionTarget",
            "status": "True" if is_leaving else "False",
            "reason": each.reason,
            "message": each.sentence[:1024],
            "lastTransitionTime": format_time(self._clock.wall_s()),
        }
        body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        await self._requests.send(
            lambda: self._client.patch(PODS, pod.name, body, pod.namespace, kind="strategic", subresource="status"),
            f"pod {pod.full_name}",
        )

    def _tell(self, each: Leaving, copy: Pod | None) -> None:
        """`copy`: the pod as it was before it left."""
        if copy is not None:
            self._events.warning(PODS, copy, each.event, each.sentence, action="Evicting")


def batched(items: Sequence[Leaving], size: int) -> Iterator[Sequence[Leaving]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
