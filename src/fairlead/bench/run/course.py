"""The course of a run: its stages one after the other, whether they are told beforehand or found by a search."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import msgspec

from fairlead.bench.config import (
    Benchmark,
    ClosedLoop,
    ClosedStage,
    OpenLoop,
    OpenStage,
    Search,
    TraceContent,
    TracedTimes,
)  # fmt: skip
from fairlead.bench.load.stages import StagePlan, due_times, stages
from fairlead.bench.measure.meter import StageMeter
from fairlead.bench.record import Outcome, Record
from fairlead.bench.run.crew import Member
from fairlead.bench.run.feed import Feed
from fairlead.bench.run.step import Step
from fairlead.bench.search.judging import Seen, Shown, judge
from fairlead.bench.search.strategy import Done, Tried, bracket, next_step, result
from fairlead.bench.session import Job
from fairlead.bench.summary import SearchResult, StageSummary
from fairlead.bench.wire import EndStage

PREPARE_S = 0.5
LOOK_S = 0.5
BEGIN_S = 0.1
"""From deciding on a stage until its first request may be due."""
ABORT_S = 3.0
"""How long a worker may take to tell of what it was told to abort."""


class StageRun(msgspec.Struct):
    """A stage that has begun, or is about to. `end_s` None: it is not known yet."""

    plan: StagePlan
    meter: StageMeter
    end_s: float | None
    step: Step | None = None
    lost: int = 0
    reasons: list[str] = []
    lag_ms: float = math.inf  # the client's limit
    clocks_ms: float = 0.0  # by how much times of workers on other hosts may have been off

    def add(self, records: list[Record]) -> None:
        self.meter.add(records)
        if self.step is not None:
            self.step.add(records)

    def summary(self, now_s: float, before: StageRun | None) -> StageSummary:
        """`before`: the stage before it, whose requests it may have begun with."""
        end_s = now_s if self.end_s is None else min(now_s, self.end_s)
        carried_in = before.meter.in_flight_at(self.plan.begin_s) if before is not None else 0.0
        told = self.meter.summary(end_s, self.lost, tuple(self.reasons), carried_in)
        return told if self.clocks_ms <= self.lag_ms else _with_note(told, _apart(self.clocks_ms, self.lag_ms))


class Course:
    """Goes through the stages of a load. Raises ValueError for a load that cannot be carried out."""

    def __init__(
        self, config: Benchmark, feed: Feed, members: list[Member], now: Callable[[], float],
        keep: Callable[[list[Record]], None],
    ) -> None:  # fmt: skip
        self.stages: list[StageRun] = []
        self.search: SearchResult | None = None
        self._config, self._feed, self._members, self._now, self._keep = config, feed, members, now, keep
        load = config.load
        if isinstance(load, Search) and config.objective is None:
            raise ValueError("load.kind is search, and there is no objective: give one, e.g. objective.ttft_ms")
        self._times_s = _times_of_trace(config)
        self._plans = [] if isinstance(load, Search) else list(stages(load, self._times_s))
        self._first: Iterator[Job] | None = None

    def summaries(self) -> tuple[StageSummary, ...]:
        """Of the stages that have begun."""
        now_s = self._now()
        pairs = zip(self.stages, [None, *self.stages], strict=False)
        return tuple(stage.summary(now_s, before) for stage, before in pairs if stage.plan.begin_s < now_s)

    def compare_clocks(self) -> None:
        """Remember for the stage that goes on how far the workers' clocks may be apart."""
        now_s = self._now()
        wrong_ms = max((member.clock.wrong_ns for member in self._members if member.alive), default=0) / 1e6
        for stage in self.stages:
            if stage.plan.begin_s <= now_s and (stage.end_s is None or now_s <= stage.end_s):
                stage.clocks_ms = max(stage.clocks_ms, wrong_ms)

    @property
    def expected_stages(self) -> int:
        """As many as are known by now."""
        return max(len(self._plans), len(self.stages))

    async def prepare(self) -> None:
        """Before the start: what is due first is made ahead of time."""
        load = self._config.load
        if isinstance(load, OpenLoop | TracedTimes):
            self._first = self._jobs(self._plans[0], load)
            await self._feed.prepare(self._first, PREPARE_S)
        elif isinstance(load, ClosedLoop):
            plan = self._plans[0]
            at_once = self._feed.first_jobs(round(plan.intended))
            wanted = at_once if plan.requests is None else min(at_once, plan.requests)
            await self._feed.prepare(itertools.islice(self._feed.users_jobs(plan), wanted), PREPARE_S)

    async def go(self) -> None:
        """Returns when the last stage is over, when the feed was stopped, or when there is no worker left."""
        load = self._config.load
        if isinstance(load, OpenLoop | TracedTimes):
            await self._open(load)
        elif isinstance(load, ClosedLoop):
            for plan in self._plans:
                if self._is_over():
                    return
                await self._closed(plan, load)
        elif isinstance(load, Search):
            await self._search(load)

    def _is_over(self) -> bool:
        return self._feed.stopped or not any(member.alive for member in self._members)

    def _begin(self, plan: StagePlan, step: Step | None = None) -> StageRun:
        stage = StageRun(plan, StageMeter(plan, self._config, self._feed.adapters), plan.end_s, step, reasons=[])
        stage.lag_ms = self._config.client.lag_ms
        self.stages.append(stage)
        return stage

    def _jobs(self, plan: StagePlan, load: OpenLoop | TracedTimes) -> Iterator[Job]:
        return self._feed.jobs(plan, due_times(plan, load, self._config.seed, self._times_s))

    async def _open(self, load: OpenLoop | TracedTimes) -> None:
        for plan in self._plans:
            if self._is_over():
                return
            self._begin(plan)
            jobs = self._first if plan.index == 0 and self._first is not None else self._jobs(plan, load)
            await self._feed.open(plan, jobs)
        await self._feed.rest(max(0.0, (self._plans[-1].end_s or 0.0) - self._now()))

    async def _closed(self, plan: StagePlan, load: ClosedLoop) -> None:
        stage = self._begin(self._from_now(plan))
        await self._feed.closed(stage.plan, load, load.stages[plan.index].ramp_s, self._config.seed)
        now_s = self._now()
        # One told by its requests was over with the last answer, not when we heard of it.
        told_s = now_s if stage.meter.last_end_s is None or self._feed.stopped else stage.meter.last_end_s
        stage.end_s = told_s if stage.end_s is None else min(now_s, stage.end_s)
        # The users of the next stage come when those of this one have left: there are never more than were asked for.
        if plan is not self._plans[-1]:
            await self._emptied(self._config.drain_s)
            await self._end(plan.index, abort=True)

    def _from_now(self, plan: StagePlan) -> StagePlan:
        """A stage begins when it can: after what was before it, and with all that it needs."""
        begin_s = max(plan.begin_s, self._now() + BEGIN_S)
        end_s = None if plan.end_s is None else begin_s + plan.end_s - plan.begin_s
        return msgspec.structs.replace(plan, begin_s=begin_s, end_s=end_s)

    # A search

    async def _search(self, search: Search) -> None:
        objective = self._config.objective
        assert objective is not None
        history: list[Tried] = []
        done = Done(None, None, "the run was ended before its time")
        while not self._is_over():
            following = next_step(history, search)
            if isinstance(following, Done):
                done = following
                break
            shown = await self._step(len(history), following.load, search)
            if shown is None:
                done = Done(*bracket(history), done.why)
                break
            history.append(Tried(following.load, shown.decision, shown.why, shown.attainment, objective.attainment))
            if shown.decision != "kept":
                await self._feed.rest(search.settle_s)  # what piled up in the server goes, before it is asked again
        self.search = result(history, done, search)

    async def _step(self, index: int, load: float, search: Search) -> Shown | None:
        """Try one load. None: the run was ended before there was anything to say."""
        objective = self._config.objective
        assert objective is not None
        begin_s = self._now() + BEGIN_S
        end_s = begin_s + search.settle_s + search.max_step_s
        name = f"{load:.4g}/s" if search.of == "rate" else f"{load:g} users"
        plan = StagePlan(index, name, search.of, load, begin_s, end_s)
        stage = self._begin(plan, Step(begin_s + search.settle_s, objective))
        feeding = asyncio.ensure_future(self._feed_step(plan, search))
        try:
            shown = await self._looked_at(stage, search)
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
        stage.end_s = self._now()
        await self._end(index, abort=True)
        if shown is None and not self._is_over():
            shown = judge(self._seen(stage), objective.attainment, search, final=True)
        stage.step = None  # it is judged: what it keeps of each request is for nothing any more
        if shown is None:
            return None
        verdict = stage.summary(self._now(), None).verdict
        if not verdict.valid:
            return Shown("invalid", "; ".join(verdict.reasons), None, None)
        return shown

    async def _feed_step(self, plan: StagePlan, search: Search) -> None:
        assert plan.end_s is not None
        seconds = plan.end_s - plan.begin_s
        if search.of == "users":
            users = ClosedLoop(stages=(ClosedStage(users=round(plan.intended), seconds=seconds),))
            await self._feed.closed(plan, users, 0.0, self._config.seed)
        else:
            rate = OpenStage(rate_per_s=plan.intended, seconds=seconds)
            await self._feed.open(
                plan, self._jobs(plan, OpenLoop(stages=(rate,), process=search.process, cv=search.cv))
            )

    async def _looked_at(self, stage: StageRun, search: Search) -> Shown | None:
        """Until it shows something, or its time is up."""
        objective, end_s = self._config.objective, stage.plan.end_s
        assert objective is not None and end_s is not None
        decided_s = 0.0
        while not self._is_over() and self._now() < end_s:
            await self._feed.rest(LOOK_S)
            seen = self._seen(stage)
            # Asked at every look, an interval would sooner or later be on one side by chance.
            due = seen.elapsed_s - decided_s >= search.step_s / 2
            shown = judge(seen, objective.attainment, search)
            if shown is not None and (due or shown.decision == "saturated"):
                return shown
            decided_s = seen.elapsed_s if due and seen.elapsed_s >= search.step_s else decided_s
        return None

    def _seen(self, stage: StageRun) -> Seen:
        assert stage.step is not None
        now_s = self._now()
        index = stage.plan.index
        under_way = [
            had.due_s
            for member in self._members
            for had in member.handed.values()
            if had.stage == index and had.turn == 0 and 0 <= had.due_s <= now_s
        ]
        return stage.step.seen(under_way, now_s)

    # Ending stages

    def cut_short(self) -> None:
        """Nothing more is sent: stages end here, further turns of sessions too."""
        now_s = self._now()
        for stage in self.stages:
            stage.end_s = now_s if stage.end_s is None else min(now_s, stage.end_s)
            for member in self._members:
                member.drop(stage.plan.index, now_s)
                member.send(EndStage(stage.plan.index))

    def unended(self, detail: str, index: int | None = None) -> None:
        """Keep a record of what a worker has not told the end of, of one stage or all, and count the sessions that
        were cut short between two turns."""
        now_s = self._now()
        for member in self._members:
            for stage in self.stages:
                if index is None or stage.plan.index == index:
                    stage.meter.unfinished(member.between_turns(stage.plan.index))
            self._keep(member.unended(Outcome.ABORTED, detail, now_s, index))

    async def _end(self, stage: int, abort: bool) -> None:
        """Nothing of it is sent any more, and what is in flight is told as aborted."""
        now_s = self._now()
        for member in self._members:
            member.drop(stage, now_s)
            member.send(EndStage(stage, abort))
        await self._emptied(ABORT_S)
        self.unended("not told of after its stage was ended", stage)

    async def _emptied(self, within_s: float) -> None:
        """Until every worker has said that nothing is in flight; it tells of what has ended before it says so."""
        begin_s = self._now()
        while not self._feed.stopped and self._now() < begin_s + within_s:
            pulses = [member.pulse for member in self._members if member.alive]
            if all(p is not None and p.at_s > begin_s and p.in_flight == 0 for p in pulses):
                return
            await self._feed.rest(0.02)


def _apart(clocks_ms: float, lag_ms: float) -> str:
    return (
        f"clocks of workers may have been {clocks_ms:.1f} ms apart, more than client.lag_ms ({lag_ms:g}): requests of "
        "different workers came that far from where the load has them, and latencies, each by one clock, are not "
        "touched; let the hosts keep time (NTP, PTP)"
    )


def _with_note(stage: StageSummary, note: str) -> StageSummary:
    verdict = msgspec.structs.replace(stage.verdict, notes=(*stage.verdict.notes, note))
    return msgspec.structs.replace(stage, verdict=verdict)


def _times_of_trace(config: Benchmark) -> Sequence[float]:
    """When the trace says that requests come, for a load that keeps to it."""
    if not isinstance(config.load, TracedTimes) or not isinstance(config.content, TraceContent):
        return ()
    from fairlead.bench.content.traces import trace_times

    return trace_times(config.content)
