"""One run, from a configuration to a summary: workers are started, stages handed over, records kept, and whatever
happens in between is told in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fairlead.bench.config import Benchmark, ClosedLoop, OpenLoop
from fairlead.bench.config.shown import shown_config
from fairlead.bench.record import Outcome, Record
from fairlead.bench.records import RecordWriter
from fairlead.bench.run.course import Course
from fairlead.bench.run.crew import Member
from fairlead.bench.run.ending import kept
from fairlead.bench.run.environment import environment
from fairlead.bench.run.feed import Feed, split
from fairlead.bench.run.links import Crew, LocalCrew, WorkerLost
from fairlead.bench.run.live import Progress, Recent, percentile
from fairlead.bench.run.observers import observers_of
from fairlead.bench.run.observing import Observed, Observer, Observers
from fairlead.bench.run.preparation import Preparation, keeps_answers
from fairlead.bench.run.results import begin_folder
from fairlead.bench.run.secrets import Secrets
from fairlead.bench.run.stop import Stop
from fairlead.bench.run.workers import needs_another, workers_for
from fairlead.bench.summary import RunSummary
from fairlead.bench.targets.preflight import Preflight
from fairlead.bench.targets.writing import peer
from fairlead.bench.wire import Cap, Finish, Pulse, Records, Settings, Up
from fairlead.clock import SYSTEM, format_micro_time

LEAD_S = 0.25
"""From telling workers the origin until the first request may be due, beyond what the message takes."""
TICK_S = 0.25
NAMED = 8
"""Workers that did not come are named, so many of them."""
STOPPED_DRAIN_S = 5.0
BEHIND_BYTES = 256 * 2**20
"""A run one of whose workers is so far behind, by what waits in its memory, is ended: it would take ever more."""
HOPELESS_S, HOPELESS_REQUESTS, HOPELESS_REQUESTS_EACH = 20.0, 50, 5
"""A run none of whose requests has been whole for so long, and so many, is ended."""


class RunFailed(RuntimeError):
    """A run could not begin. What ended one that had begun is in its summary."""


async def run(
    config: Benchmark,
    folder: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
    known: Sequence[Preflight] = (),
    observers: Sequence[Observer] = (),
    crew: Crew | None = None,
) -> RunSummary:
    """Run a benchmark and return its figures; results go to `folder`, where one is given. `known`: what `checked` has
    found of the targets. `observers` look on. `crew`: where workers come from; None: processes of this machine. Raises
    ValueError for a configuration that cannot be carried out, RunFailed when there is no worker to do it with, and
    OSError for a folder that cannot be written to."""
    coordinator = Coordinator(config, folder, progress or (lambda _: None), stop or Stop(), known, observers, crew)
    return await coordinator.run()


class Coordinator:
    """The state of one run."""

    def __init__(
        self,
        config: Benchmark,
        folder: Path | None,
        progress: Callable[[Progress], None],
        stop: Stop,
        known: Sequence[Preflight] = (),
        observers: Sequence[Observer] = (),
        crew: Crew | None = None,
    ) -> None:
        self._config, self._folder, self._progress, self._stop = config, folder, progress, stop
        self._observers, self._observed = Observers([*observers_of(config, self._boundaries), *observers]), Observed()
        self._known = known
        self._secrets = Secrets(config)
        self._crew = crew or LocalCrew()
        self._members: list[Member] = []
        self._recent = Recent()
        self._cores = len(os.sched_getaffinity(0))
        self._busy_looks = 0
        self._adding: asyncio.Task[None] | None = None
        self._writer: RecordWriter | None = None
        self._origin_s = 0.0
        self._phase = "preparing"
        self._notes: list[str] = [str(problem) for one in known for problem in one.problems]
        self._ended, self._why_ended = "complete", ""

    async def run(self) -> RunSummary:
        config, began = self._config, format_micro_time(SYSTEM.wall_s())
        self._feed = Feed(Preparation(config, self._known), self._members, self._now)
        self._course = Course(config, self._feed, self._members, self._now, self._keep)
        self._settings = settings = Settings(0, [peer(target) for target in config.targets], keeps_answers(config))
        if self._folder is not None:
            begin_folder(self._folder, config)
            self._writer = RecordWriter(self._folder / "records")
        preparing = asyncio.ensure_future(self._observers.prepare())
        try:
            await self._start_workers(min(workers_for(config, self._cores), self._most_workers), settings)
            await preparing
            await self._go(self._course)
        finally:
            preparing.cancel()
            self._observed = await self._observers.end()
            self._notes += [*self._observed.notes, *self._crew.notes()]
            await asyncio.gather(*(member.stop() for member in self._members))
        self._phase = "writing records"
        if self._writer is not None and (problem := self._writer.end()) is not None:
            self._notes.append(problem)
        summary = self._observers.complete(self._summary(began))
        if self._folder is None or self._writer is None:
            return summary
        return await kept(self._folder, summary, self._writer.part, self._told_written, self._stop)

    async def _start_workers(self, count: int, settings: Settings) -> None:
        for number in range(count):
            self._members.append(Member(number, self._told, self._lost, self._crew))
        starts = (m.start(msgspec.structs.replace(settings, worker=m.number)) for m in self._members)
        problems = [p for p in await asyncio.gather(*starts, return_exceptions=True) if p is not None]
        if other := [p for p in problems if not isinstance(p, WorkerLost)]:
            raise other[0]
        if problems:
            raise RunFailed("; ".join(map(str, problems[:NAMED])) + ("; …" if len(problems) > NAMED else ""))
        self._share_cap()

    async def _add_worker(self) -> None:
        """One more, while the run goes on; it is handed its share of what has not been handed over yet."""
        member = Member(len(self._members), self._told, self._lost, self._crew)
        try:
            await member.start(msgspec.structs.replace(self._settings, worker=member.number))
        except WorkerLost as error:
            self._notes.append(f"no further worker could be started: {error}")
            await member.stop()
            return
        except asyncio.CancelledError:  # the load is over before it could help
            await member.stop()
            raise
        member.begin(self._origin_s)
        self._members.append(member)
        self._share_cap()
        self._notes.append(f"a further worker was started after {self._now():.1f} s: the others were too busy")

    @property
    def _most_workers(self) -> int:
        """Each needs a part of what may be in flight."""
        load = self._config.load
        cap = load.max_in_flight if isinstance(load, OpenLoop) else None
        return cap if cap is not None else sys.maxsize

    def _share_cap(self) -> None:
        """Give each worker its part of what may be in flight."""
        load = self._config.load
        if isinstance(load, OpenLoop) and load.max_in_flight is not None:
            live = [member for member in self._members if member.alive]
            for member, part in zip(live, split(load.max_in_flight, len(live)), strict=True):
                member.send(Cap(part))

    async def _go(self, course: Course) -> None:
        await course.prepare()
        far_s = max((member.clock.far_ns for member in self._members), default=0) / 1e9
        origin_s = SYSTEM.monotonic_s() + LEAD_S + far_s
        self._origin_s = origin_s
        for member in self._members:
            member.begin(origin_s)
        self._observers.begin(origin_s)
        self._phase = "running"
        working = asyncio.ensure_future(course.go())
        watching = asyncio.ensure_future(self._watch())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self._feed.stop()
            try:
                await working
            except (ValueError, OSError) as error:  # of content that turned out to be broken, or went away
                self._feed.stop()
                self._ended, self._why_ended = "failed", str(error)
            await self._drain()
        finally:
            for task in (working, watching, stopping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _drain(self) -> None:
        """Let what is in flight end; asked (again) to stop, at once."""
        self._phase = "draining"
        if self._adding is not None:
            self._adding.cancel()
            await asyncio.wait([self._adding])
        was_asked = self._stop.asked
        seconds = self._config.drain_s
        if was_asked or self._ended == "failed":
            self._course.cut_short()
            seconds = min(STOPPED_DRAIN_S, seconds)
        for member in self._members:
            member.send(Finish(seconds))
        finishing = asyncio.ensure_future(self._finished())
        while not finishing.done():
            stopping = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait([finishing, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if self._stop.asked > was_asked:
                self._course.cut_short()
                for member in self._members:
                    member.send(Finish(STOPPED_DRAIN_S if self._stop.asked == 1 else 0.0))
                was_asked = self._stop.asked
        self._course.unended("not sent, or not ended, by the end of the run")

    async def _finished(self) -> None:
        await asyncio.gather(*(member.finished.wait() for member in self._members))

    # What comes back

    def _told(self, member: Member, message: Up) -> None:
        if isinstance(message, Records):
            self._keep(message.records)
        elif isinstance(message, Pulse):
            for stage in self._course.stages:
                if stage.plan.begin_s <= message.at_s <= (stage.end_s or message.at_s) + message.wall_s:
                    stage.meter.pulse(message)

    def _keep(self, records: list[Record]) -> None:
        for record in records:
            if record.detail:  # servers repeat what they were sent
                record.detail = self._secrets.hidden(record.detail)
        self._recent.add(records)
        self._observers.add(records)
        if self._writer is not None:
            self._writer.add(records)
        by_stage: dict[int, list[Record]] = {}
        for record in records:
            by_stage.setdefault(record.stage, []).append(record)
        for stage in self._course.stages:
            if (mine := by_stage.get(stage.plan.index)) is not None:
                stage.add(mine)

    def _lost(self, member: Member) -> None:
        """Its requests are lost, what it had not begun goes to others, and the stages that it touched are invalid."""
        now_s = self._now() if self._origin_s else 0.0
        waiting = member.waiting(now_s)
        records = member.unended(Outcome.LOST, f"worker {member.number}: {member.lost}", now_s)
        self._keep(records)
        self._notes.append(f"worker {member.number} was lost after {now_s:.1f} s: {member.lost}")
        for stage in self._course.stages:
            if stage.plan.begin_s <= now_s and (stage.end_s is None or now_s <= stage.end_s):
                stage.lost += 1
            if any(record.stage == stage.plan.index for record in records):
                stage.reasons.append(f"worker {member.number} was lost with {len(records)} requests: {member.lost}")
        self._share_cap()
        self._feed.again(waiting)
        if not any(member.alive for member in self._members):
            self._feed.stop()  # nobody is left to send the rest

    # Watching

    def _boundaries(self) -> list[float]:
        """When the stages that have been planned so far begin and end."""
        return [t for stage in self._course.stages for t in (stage.plan.begin_s, stage.end_s) if t is not None]

    def _now(self) -> float:
        return SYSTEM.monotonic_s() - self._origin_s

    async def _watch(self) -> None:
        while True:
            self._progress(self._look())
            self._course.compare_clocks()
            if self._writer is not None:
                self._writer.flush()
            self._consider_another()
            limit_s = self._config.timeout_s
            if limit_s is not None and self._now() > limit_s and not self._stop.asked:
                self._stop.ask(f"timeout_s is {limit_s:g}, and the run was not over by then")
            if self._phase == "running" and not self._stop.asked and (behind := self._far_behind()):
                self._stop.ask(behind)
            if self._is_hopeless() and self._phase == "running":
                self._stop.ask(f"no request has been whole: {self._recent.last_failure}")
            await asyncio.sleep(TICK_S)

    def _consider_another(self) -> None:
        """A worker that is too busy at two looks in a row gets help."""
        live = [member for member in self._members if member.alive]
        pulses = [member.pulse for member in live if member.pulse is not None]
        is_busy = (
            self._phase == "running"
            and len(pulses) == len(live)  # one that has just come has had no time to help
            and len(pulses) < self._most_workers
            and needs_another(self._config, pulses, self._cores)
        )
        self._busy_looks = self._busy_looks + 1 if is_busy else 0
        if self._busy_looks >= 2 and (self._adding is None or self._adding.done()):
            self._busy_looks = 0
            self._adding = asyncio.ensure_future(self._add_worker())

    def _told_written(self, written: int) -> None:
        self._progress(msgspec.structs.replace(self._look(), written=written))

    def _far_behind(self) -> str:
        """Why the load is more than a worker will ever send; nothing where it is not."""
        live, now_s = [member for member in self._members if member.alive], self._now()
        for member in live:
            member.begun(now_s)  # one that is stuck does not say so itself
        worst = next((member for member in live if member.behind_bytes > BEHIND_BYTES), None)
        if worst is None:
            return ""
        return (
            f"{worst.behind():,} requests whose time had come were waiting in worker {worst.number}: it cannot keep "
            "up, or load.max_in_flight lets too few go; lower the rate, or allow more workers"
        )

    def _is_hopeless(self) -> bool:
        recent = self._recent
        enough, load = HOPELESS_REQUESTS, self._config.load
        if isinstance(load, ClosedLoop):  # users who back off ask seldom
            enough = min(enough, HOPELESS_REQUESTS_EACH * max(stage.users for stage in load.stages))
        return self._now() > HOPELESS_S and recent.whole == 0 and recent.ended >= enough

    def _look(self) -> Progress:
        now_s, recent = self._now(), self._recent
        stage = next((s for s in reversed(self._course.stages) if s.plan.begin_s <= now_s), None)
        plan = stage.plan if stage is not None else None
        achieved, tokens = recent.rates(now_s)
        gaps = recent.gaps_s()
        pulses = [m.pulse for m in self._members if m.pulse is not None and m.alive]
        gap_p50_s, gap_p99_s = percentile(gaps, 0.5), percentile(gaps, 0.99)
        return Progress(
            self._phase, plan.index if plan else 0, self._course.expected_stages, plan.name if plan else "",
            plan.of if plan else "", plan.intended if plan else 0.0, max(0.0, now_s),
            stage.end_s - now_s if stage and stage.end_s is not None else None, achieved,
            sum(p.in_flight for p in pulses), recent.ended, sum(recent.failures.values()), dict(recent.failures),
            recent.ttft_s(0.5), recent.ttft_s(0.99), gap_p50_s, gap_p99_s, tokens, recent.lag_s(0.99),
            max((p.cpu_s / p.wall_s for p in pulses if p.wall_s > 0), default=0.0),
            sum(m.alive for m in self._members), sum(bool(m.lost) for m in self._members), tuple(self._notes),
        )  # fmt: skip

    # The end

    def _summary(self, began: str) -> RunSummary:
        if self._stop.asked and self._ended == "complete":
            self._ended, self._why_ended = "interrupted", self._stop.why
        if self._members and all(member.lost for member in self._members):
            self._ended, self._why_ended = "failed", "every worker was lost"
        elif self._ended == "complete" and self._recent.whole == 0:
            self._ended = "failed"
            self._why_ended = f"not one request was whole: {self._recent.last_failure or 'none was sent'}"
        now_s = self._now()
        run_id = self._folder.name if self._folder is not None else new_id()
        facts = environment(self._known) | {"worker_priorities": [m.priority for m in self._members]} | self._clocks()
        hidden = self._secrets.hidden
        return RunSummary(
            run_id, self._config.name, began, now_s, self._ended, hidden(self._why_ended), shown_config(self._config),
            self._secrets.hidden_in(facts), self._course.summaries(), self._course.search,
            server=self._observed.series, notes=tuple(map(hidden, self._notes)),
        )  # fmt: skip

    def _clocks(self) -> dict[str, object]:
        """Of workers on other hosts."""
        facts = [known for member in self._members if (known := member.clock_facts()) is not None]
        return {"clocks": facts} if facts else {}


def new_id() -> str:
    """Sorts by time, and is not given twice."""
    now = format_micro_time(SYSTEM.wall_s())
    return f"{now[:10].replace('-', '')}-{now[11:19].replace(':', '')}-{secrets.token_hex(2)}"
