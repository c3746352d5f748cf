"""The scheduler as a process: objects in from informers, verdicts out as writes. Decisions are in `planner.py`.

Decisions are made in short slices, between which answers of the API server are worked off; they never wait for a write.
What is written, in which order, and what happens when it fails is told in `commit`; what pods lose while they run is
watched in `repairs.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.api.queue import QUEUES
from fairlead.clock import SYSTEM, Clock
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Handler, Informer, Informers
from fairlead.kube.kinds import (
    DEVICE_TAINT_RULES,
    JOBS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    POD_DISRUPTION_BUDGETS,
    POD_GROUP_VERSIONS,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)
from fairlead.kube.objects import Pod
from fairlead.scheduling.commit.binder import Binder, Copies, Outcomes
from fairlead.scheduling.commit.evictor import Evictor, Leaving
from fairlead.scheduling.commit.faults import Requests
from fairlead.scheduling.commit.group_reports import GroupNews, GroupReports
from fairlead.scheduling.commit.leftover_sweep import LeftoverSweep
from fairlead.scheduling.commit.order import stands
from fairlead.scheduling.commit.queue_reports import EVERY_S, QueueReports
from fairlead.scheduling.commit.reports import Reports, Waits
from fairlead.scheduling.explain.line import line_of
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.queues.view import QueueReport, report
from fairlead.scheduling.repairs import Followed, Repairs
from fairlead.scheduling.roster import Identity
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.sources import Sources
from fairlead.scheduling.verdict import Because, Cleared, Placed, Refused, Verdict

_LOG = logging.getLogger("fairlead.scheduling")

SLICE_S: Final = 0.02
"""How long decisions are made at a stretch."""
BUSY_SLICE_S: Final = 0.005
"""The same while pods are being bound: each write is several turns of the loop."""
TICK_S: Final = 1.0
"""How often the planner is asked though nothing has changed: gangs are tried again after a while."""
CONCURRENT_REQUESTS: Final = 32
PATIENCE_S: Final = 60.0
"""How long a write is tried while the API server is in trouble."""
SYNC_S: Final = 60.0
_PLAN_BACKOFF: Final = Backoff(first_s=1.0, max_s=10.0)
_SHORTEST_WAIT_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class _Core:
    """Informers of the kinds without which nothing is decided."""

    pods: Informer[Pod]
    copies: Copies
    followed: Followed

    @property
    def synced(self) -> Sequence[Informer[Any]]:
        return (self.pods, self.copies.claims, self.copies.volume_claims, self.followed.slices, self.followed.nodes)


class Scheduler:
    """Places the pods of the scheduler names in its settings."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        settings: Settings,
        events: EventRecorder,
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        self.planner = Planner(settings)
        self._client = client
        self._clock = clock
        self._begun_wall_s = clock.wall_s()
        self._begun_s = clock.monotonic_s()
        self._changed = asyncio.Event()
        self._requests = Requests(CONCURRENT_REQUESTS, PATIENCE_S, clock=clock)
        self._core = _core(informers)
        pods, copies = self._core.pods, self._core.copies
        outcomes = Outcomes(self._bound, self._failed, self._broken, self._placed)
        self.binder = Binder(client, copies, self._requests, outcomes, clock=clock)
        self._reports = Reports(
            client, pods.store, self._requests, events, lambda: bool(self.binder.in_flight), clock=clock
        )
        budgets = informers.informer(POD_DISRUPTION_BUDGETS).store
        self.evictor = Evictor(client, pods.store, self._requests, events, self._abandoned, budgets, clock=clock)
        self._repairs = Repairs(
            self._core.followed, _Membership(self.planner), self.evictor.remove, self._wake, clock=clock
        )
        self._sweep = LeftoverSweep(self.binder.claims, copies.claims.store, self._is_pending, clock=clock)
        self._sources = Sources(client, informers, self.planner, self._wake, clock=clock)
        self._abandons: dict[str, int] = {}  # gang key -> plans for it in a row that could not be carried out
        self._groups: GroupReports | None = None
        self._queues: QueueReports | None = None

    @property
    def now_s(self) -> float:
        """Seconds since the epoch that never jump: the wall time at the start and what has passed since."""
        return self._begun_wall_s + (self._clock.monotonic_s() - self._begun_s)

    async def run(self) -> None:
        """Schedule until cancelled."""
        self._core.pods.add_handler(Handler(lambda new: self._pod(None, new), self._pod, self._pod_gone))
        for informer in self._core.synced[1:]:
            self._sources.tell(informer)
        optional = await self._sources.find()
        for each in (*self._core.synced, *optional):
            await each.wait_synced(SYNC_S)
        self._note_optional()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._decide())
                group.create_task(self._reports.run())
                group.create_task(self._tell_groups())
                group.create_task(self._tell_queues())
                group.create_task(self._look_for_kinds())
        finally:
            self._reports.flush()
            for part in (self.binder, self.evictor, self._sweep):
                await part.close()

    # The loop

    async def _decide(self) -> None:
        swept_s = 0.0
        while True:
            self._changed.clear()
            now_s = self._clock.monotonic_s()
            self._repairs.step()
            if now_s >= swept_s + TICK_S and not self._sweep.is_empty:
                self._sweep.step()
                swept_s = now_s
            if self._slice():
                # One turn of the loop: answers that have arrived are worked off.
                await asyncio.sleep(0)
                continue
            await self._until_changed()

    def _slice(self) -> bool:
        """Decide for a short while. Whether there may be more to decide."""
        end_s = self._clock.monotonic_s() + (BUSY_SLICE_S if self.binder.in_flight else SLICE_S)
        while True:
            verdict = self.planner.decide(self.now_s)
            if verdict is None:
                return False
            self._act(verdict)
            if self._clock.monotonic_s() >= end_s:
                return True

    async def _until_changed(self) -> None:
        wait_s, due_s, again_s = TICK_S, self._repairs.next_s(), self.planner.next_s()
        if due_s is not None:
            wait_s = min(wait_s, due_s - self._clock.monotonic_s())
        if again_s is not None:
            wait_s = min(wait_s, again_s - self.now_s)
        try:
            async with asyncio.timeout(max(wait_s, _SHORTEST_WAIT_S)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _act(self, verdict: Verdict) -> None:
        match verdict:
            case Placed():
                self._abandons.pop(verdict.gang.key, None)
                self.binder.submit(verdict)
            case Cleared():
                self._clear(verdict)
            case Refused():
                self._refuse(verdict)

    def _clear(self, cleared: Cleared) -> None:
        self.evictor.clear(cleared)
        line = line_of(cleared)
        for pod in cleared.gang.pods:
            self._reports.waits(Waits(pod, line.reason, line.message, cleared.nominations.get(pod.uid)))

    def _refuse(self, refused: Refused) -> None:
        gang, explanation = refused.gang, refused.explanation
        sentence = line_of(refused).message
        is_passing = explanation.because is Because.GATE
        for pod in gang.pods:
            reason = "SchedulingGated" if self._is_gated(pod) else "Unschedulable"
            self._reports.waits(Waits(pod, reason, sentence, is_passing=is_passing))
        # Pods beyond those that the group must have hold nothing up.
        if not stands(gang.root, {pod.uid for pod in gang.bound}):
            self._tell_group(gang, GroupNews(False, "Unschedulable", sentence))
        self._sweep.refused(gang.pods)
        self._repairs.refused(gang, not is_passing)

    # What became of it

    def _bound(self, pod: PodView, node: str) -> None:
        self._reports.bound(pod, node)

    def _placed(self, gang: Gang) -> None:
        self._tell_group(gang, GroupNews(True, "Scheduled", "all pods that the group must have are on nodes"))

    def _failed(self, gang: Gang, pods: Sequence[PodView], why: str) -> None:
        self.planner.failed([pod.uid for pod in pods], self.now_s)
        for pod in pods:
            self._reports.waits(Waits(pod, "SchedulerError", f"could not be bound: {why}"))
        if not stands(gang.root, {pod.uid for pod in gang.bound}):
            self._tell_group(gang, GroupNews(False, "SchedulerError", f"could not be bound: {why}"))
        self._wake()

    def _broken(self, gang: Gang, pods: Sequence[PodView], why: str) -> None:
        sentence = f"{gang.key} was being bound and cannot be completed: {why}"
        self.evictor.remove([Leaving(pod, "GangBroken", "GangBroken", sentence) for pod in pods])

    def _abandoned(self, cleared: Cleared, why: str) -> None:
        gang = cleared.gang
        for pod in gang.pods:
            self._reports.waits(Waits(pod, "Unschedulable", f"room could not be made: {why}", ""))
        failures = self._abandons[gang.key] = self._abandons.get(gang.key, 0) + 1

        def give_up() -> None:
            self.planner.reservations.drop(gang.key)
            self.planner.reservations.stay(pod.uid for victims in cleared.victims for pod in victims.pods)
            self.planner.failed([pod.uid for pod in gang.pods], self.now_s)
            self._wake()

        # What refused now will most likely refuse a moment later, too.
        asyncio.get_running_loop().call_later(_PLAN_BACKOFF.delay_s(failures), give_up)

    def _is_gated(self, pod: PodView) -> bool:
        copy = self._core.pods.store.get(pod.name, pod.namespace)
        return copy is not None and bool(copy.spec.scheduling_gates)

    def _is_pending(self, pod: PodView) -> bool:
        copy = self._core.pods.store.get(pod.name, pod.namespace)
        same = copy is not None and copy.metadata.uid == pod.uid and not copy.spec.node_name
        return same and pod.uid not in self.binder.in_flight

    # Objects

    def _pod(self, old: Pod | None, new: Pod) -> None:
        self._repairs.pod_ending(old, new)
        self.planner.see(new)
        self._repairs.pod_bound(old, new)
        if new.spec.node_name or new.metadata.is_deleting:
            self._reports.forget(new.metadata.uid)
        self._wake()

    def _pod_gone(self, pod: Pod) -> None:
        self._repairs.pod_gone(pod)
        self._reports.forget(pod.metadata.uid)
        self.planner.lose(pod)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()

    # Optional kinds

    async def _look_for_kinds(self) -> None:
        while True:
            await self._sources.look_again()
            self._note_optional()

    def _note_optional(self) -> None:
        """Kinds that somebody beside the planner needs."""
        rules = self._sources.followed.pop(DEVICE_TAINT_RULES, None)
        if rules is not None:
            self._repairs.follow_rules(rules)
        if self._sources.followed.pop(JOBS, None) is not None:
            self.planner.intake.follow_jobs()
        queues = self._sources.followed.pop(QUEUES, None)
        if queues is not None:
            self._queues = QueueReports(
                self._client, QUEUES, queues.store, self._requests, self._queue_reports, clock=self._clock
            )
        for resource in POD_GROUP_VERSIONS:
            groups = self._sources.followed.pop(resource, None)
            if groups is not None:
                self._groups = GroupReports(self._client, resource, groups.store, self._requests, clock=self._clock)

    def _tell_group(self, gang: Gang, news: GroupNews) -> None:
        if self._groups is not None and gang.kind == "PodGroup":
            self._groups.tell(gang.namespace, gang.name, news)

    def _queue_reports(self) -> tuple[Mapping[str, QueueReport], Mapping[str, str]]:
        turns = self.planner.turns
        usage = turns.usage.values if turns.usage is not None else None
        return report(turns.tree, turns.holdings, turns.shares, turns.backlog, usage), turns.faults

    async def _tell_queues(self) -> None:
        while True:
            await self._clock.sleep(EVERY_S)
            if self._queues is not None:
                await self._queues.write_all()

    async def _tell_groups(self) -> None:
        while True:
            if self._groups is None or not await self._groups.write_one():
                await self._clock.sleep(0.1)


class _Membership:
    """The planner's roster, as `Repairs` asks it."""

    def __init__(self, planner: Planner) -> None:
        self._roster = planner.roster

    def gang(self, identity: Identity) -> Gang | None:
        return self._roster.gang(identity)

    def identity_of(self, uid: str) -> Identity | None:
        member = self._roster.members.get(uid)
        return None if member is None else member.identity


def _core(informers: Informers) -> _Core:
    pods = informers.informer(PODS)
    claims = informers.informer(RESOURCE_CLAIMS)
    volume_claims = informers.informer(PERSISTENT_VOLUME_CLAIMS)
    followed = Followed(pods, claims, informers.informer(RESOURCE_SLICES), informers.informer(NODES))
    return _Core(pods, Copies(pods, claims, volume_claims), followed)
