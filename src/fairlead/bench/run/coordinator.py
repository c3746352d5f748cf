"""One run, from a configuration to a summary: workers are started, stages handed over, records kept, and whatever
happens in between is told in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from fairlead.bench.config import Benchmark, ClosedLoop, OpenLoop
from fairlead.bench.load.stages import StagePlan, due_times, stages
from fairlead.bench.record import Outcome, Record
from fairlead.bench.run.crew import Member, WorkerLost
from fairlead.bench.run.environment import environment
from fairlead.bench.run.feed import Feed
from fairlead.bench.run.live import Progress, Recent, percentile
from fairlead.bench.run.measuring import StageMeter
from fairlead.bench.run.preparation import Preparation, keeps_answers
from fairlead.bench.run.results import begin_folder, shown_config, write_summary
from fairlead.bench.run.stop import Stop
from fairlead.bench.summary import RunSummary
from fairlead.bench.targets.writing import peer
from fairlead.bench.wire import Finish, Pulse, Records, Settings, Start, Up
from fairlead.clock import SYSTEM, format_micro_time

PREPARE_S = 0.5
LEAD_S = 0.25
"""From telling workers the origin until the first request may be due."""
TICK_S = 0.25
STOPPED_DRAIN_S = 5.0
HOPELESS_S, HOPELESS_REQUESTS = 20.0, 50
"""A run none of whose requests has been whole for so long, and so many, is ended."""


class RunFailed(RuntimeError):
    """A run could not begin. What ended one that had begun is in its summary."""


class _StageRun(msgspec.Struct):
    plan: StagePlan
    meter: StageMeter
    end_s: float | None = None
    lost: int = 0
    reasons: list[str] = []


async def run(
    config: Benchmark,
    folder: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
) -> RunSummary:
    """Run a benchmark and return its figures; results go to `folder`, where one is given. Raises ValueError for a
    configuration that cannot be carried out, RunFailed when there is no worker to do it with, and OSError for a folder
    that cannot be written to."""
    coordinator = Coordinator(config, folder, progress or (lambda _: None), stop or Stop())
    return await coordinator.run()


class Coordinator:
    """The state of one run."""

    def __init__(
        self, config: Benchmark, folder: Path | None, progress: Callable[[Progress], None], stop: Stop
    ) -> None:
        self._config, self._folder, self._progress, self._stop = config, folder, progress, stop
        self._members: list[Member] = []
        self._stages: list[_StageRun] = []
        self._recent = Recent()
        self._origin_s = 0.0
        self._phase = "preparing"
        self._notes: list[str] = []
        self._ended, self._why_ended = "complete", ""

    async def run(self) -> RunSummary:
        config, began = self._config, format_micro_time(SYSTEM.wall_s())
        preparation = Preparation(config)
        plans = stages(config.load)
        settings = Settings(0, [peer(target) for target in config.targets], keeps_answers(config))
        if self._folder is not None:
            begin_folder(self._folder, config)
        try:
            await self._start_workers(config.workers or 1, settings)
            await self._go(preparation, list(plans))
        finally:
            await asyncio.gather(*(member.stop() for member in self._members))
        self._phase = "reporting"
        summary = self._summary(began)
        if self._folder is not None:
            try:
                write_summary(self._folder, summary)
            except OSError as error:
                note = f"results are not kept: {error.filename or self._folder}: {error.strerror or error}"
                summary = msgspec.structs.replace(summary, notes=(*summary.notes, note))
        return summary

    async def _start_workers(self, count: int, settings: Settings) -> None:
        for number in range(count):
            self._members.append(Member(number, self._told, self._lost))
        starts = (m.start(msgspec.structs.replace(settings, worker=m.number)) for m in self._members)
        problems = [p for p in await asyncio.gather(*starts, return_exceptions=True) if p is not None]
        if problems:
            raise RunFailed(str(problems[0])) if isinstance(problems[0], WorkerLost) else problems[0]

    async def _go(self, preparation: Preparation, plans: list[StagePlan]) -> None:
        feed = Feed(preparation, self._members, self._now)
        self._feed = feed
        load, seed = self._config.load, self._config.seed
        first = None
        if isinstance(load, OpenLoop):
            first = feed.jobs(plans[0], due_times(plans[0], load, seed))
            await feed.prepare(first, PREPARE_S)
        origin_s = SYSTEM.monotonic_s() + LEAD_S
        self._origin_s = origin_s
        for member in self._members:
            member.send(Start(round(origin_s * 1e9), -1))
        self._phase = "running"
        working = asyncio.ensure_future(self._work(feed, plans, first))
        watching = asyncio.ensure_future(self._watch())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self._ended, self._why_ended = "interrupted", self._stop.why
                feed.stop()
            await working
            await self._drain()
        finally:
            for task in (working, watching, stopping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _work(self, feed: Feed, plans: list[StagePlan], first: object) -> None:
        load, seed = self._config.load, self._config.seed
        for plan in plans:
            if feed.stopped or not any(m.alive for m in self._members):
                break
            if isinstance(load, OpenLoop):
                self._stages.append(_StageRun(plan, StageMeter(plan, self._config), plan.end_s))
                jobs = first if plan.index == 0 else feed.jobs(plan, due_times(plan, load, seed))
                await feed.open(plan, jobs)  # type: ignore[arg-type]
            elif isinstance(load, ClosedLoop):
                length_s = plan.end_s - plan.begin_s if plan.end_s is not None else None
                begin_s = max(plan.begin_s, self._now() + 0.05)
                plan = msgspec.structs.replace(
                    plan, begin_s=begin_s, end_s=begin_s + length_s if length_s is not None else None
                )
                under_way = _StageRun(plan, StageMeter(plan, self._config), plan.end_s)
                self._stages.append(under_way)
                await feed.closed(plan, load, load.stages[plan.index].ramp_s, random.Random(seed).getrandbits(30))
                if under_way.end_s is None:
                    under_way.end_s = self._now()
        end_s = self._stages[-1].end_s if self._stages else None
        await feed.rest(max(0.0, (end_s or 0.0) - self._now()))

    async def _drain(self) -> None:
        self._phase = "draining"
        seconds = self._config.drain_s if not self._feed.stopped else min(STOPPED_DRAIN_S, self._config.drain_s)
        for member in self._members:
            member.send(Finish(seconds))
        await asyncio.gather(*(member.finished.wait() for member in self._members))
        now_s = self._now()
        for member in self._members:
            detail = "not sent, or not ended, by the end of the run"
            self._keep(member.unended(Outcome.ABORTED, detail, now_s))

    # What comes back

    def _told(self, member: Member, message: Up) -> None:
        if isinstance(message, Records):
            self._keep(message.records)
        elif isinstance(message, Pulse):
            for stage in self._stages:
                if stage.plan.begin_s <= message.at_s <= (stage.end_s or message.at_s) + message.wall_s:
                    stage.meter.pulse(message)

    def _keep(self, records: list[Record]) -> None:
        self._recent.add(records)
        by_stage: dict[int, list[Record]] = {}
        for record in records:
            by_stage.setdefault(record.stage, []).append(record)
        for stage in self._stages:
            if (mine := by_stage.get(stage.plan.index)) is not None:
                stage.meter.add(mine)

    def _lost(self, member: Member) -> None:
        """Its requests are lost, what it had not begun goes to others, and the stages that it touched are invalid."""
        now_s = self._now()
        waiting = member.waiting(now_s)
        records = member.unended(Outcome.LOST, f"worker {member.number}: {member.lost}", now_s)
        self._keep(records)
        self._notes.append(f"worker {member.number} was lost after {now_s:.1f} s: {member.lost}")
        for stage in self._stages:
            if stage.plan.begin_s <= now_s and (stage.end_s is None or now_s <= stage.end_s):
                stage.lost += 1
            if any(record.stage == stage.plan.index for record in records):
                stage.reasons.append(f"worker {member.number} was lost with {len(records)} requests: {member.lost}")
        self._feed.again(waiting)

    # Watching

    def _now(self) -> float:
        return SYSTEM.monotonic_s() - self._origin_s

    async def _watch(self) -> None:
        while True:
            self._progress(self._look())
            if self._is_hopeless() and self._phase == "running":
                self._stop.ask(f"no request has been whole: {self._recent.last_failure}")
            await asyncio.sleep(TICK_S)

    def _is_hopeless(self) -> bool:
        recent = self._recent
        return self._now() > HOPELESS_S and recent.whole == 0 and recent.ended >= HOPELESS_REQUESTS

    def _look(self) -> Progress:
        now_s, recent = self._now(), self._recent
        stage = next((s for s in reversed(self._stages) if s.plan.begin_s <= now_s), None)
        plan = stage.plan if stage is not None else None
        achieved, tokens = recent.rates(now_s)
        gaps = recent.gaps_s()
        pulses = [m.pulse for m in self._members if m.pulse is not None and m.alive]
        gap_p50_s, gap_p99_s = percentile(gaps, 0.5), percentile(gaps, 0.99)
        return Progress(
            self._phase, plan.index if plan else 0, len(self._stages), plan.name if plan else "",
            plan.of if plan else "", plan.intended if plan else 0.0, max(0.0, now_s),
            stage.end_s - now_s if stage and stage.end_s is not None else None, achieved,
            sum(p.in_flight for p in pulses), recent.ended, sum(recent.failures.values()), dict(recent.failures),
            recent.ttft_s(0.5), recent.ttft_s(0.99), gap_p50_s, gap_p99_s, tokens, recent.lag_s(0.99),
            max((p.cpu_s / p.wall_s for p in pulses if p.wall_s > 0), default=0.0),
            sum(m.alive for m in self._members), sum(bool(m.lost) for m in self._members), tuple(self._notes),
        )  # fmt: skip

    # The end

    def _summary(self, began: str) -> RunSummary:
        if self._ended == "complete" and self._recent.whole == 0:
            self._ended = "failed"
            self._why_ended = f"not one request was whole: {self._recent.last_failure or 'none was sent'}"
        now_s = self._now()
        summaries = tuple(
            s.meter.summary(min(now_s, s.end_s) if s.end_s is not None else now_s, s.lost, tuple(s.reasons))
            for s in self._stages
            if s.plan.begin_s < now_s
        )
        return RunSummary(
            self._folder.name if self._folder is not None else new_id(), self._config.name, began, now_s, self._ended,
            self._why_ended, shown_config(self._config), environment(), summaries, notes=tuple(self._notes),
        )  # fmt: skip


def new_id() -> str:
    """Sorts by time, and is not given twice."""
    now = format_micro_time(SYSTEM.wall_s())
    return f"{now[:10].replace('-', '')}-{now[11:19].replace(':', '')}-{secrets.token_hex(2)}"
