"""A run that has no summary, as its process was killed or still goes on: its figures, from the records that are there.

They are as good as those of a run that has ended, but for what only that process knew: how late the client was in
between, and what was under way. So no stage of it is valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from fairlead.bench.config import Benchmark, ClosedLoop, OpenLoop, Search
from fairlead.bench.load.stages import StagePlan, stages
from fairlead.bench.measure.meter import StageMeter
from fairlead.bench.record import Record
from fairlead.bench.records import read_lists
from fairlead.bench.records.spool import is_being_written
from fairlead.bench.summary import RunSummary, StageSummary
from fairlead.clock import format_micro_time

UNFINISHED = "unfinished"
"""What `RunSummary.ended` says of such a run."""
_UNKNOWN = "the run has not ended: what the client was like, and what was under way, is not known"


def unfinished(folder: Path, measured: bool = True) -> RunSummary:
    """What is known of it; without `measured` only what takes no reading of records. Raises OSError, and ValueError for
    a configuration or records that cannot be read."""
    from fairlead.bench.config.read import read_config

    file = folder / "config.yaml"
    config = read_config(file, files=False)
    found = _Stages(config)
    records = folder / "records"
    if measured and records.is_dir():
        for some in _lists(records):
            found.add(some)
    goes_on = any(is_being_written(spool) for spool in records.glob("*.spool"))
    why = "its process goes on" if goes_on else "its process was ended before it could tell its figures"
    if measured:
        why += f"; {found.count:,} requests had ended by {found.until_s:.1f} s"
    shown: dict[str, object] = msgspec.to_builtins(config)
    return RunSummary(
        folder.name, config.name, format_micro_time(file.stat().st_mtime), found.until_s, UNFINISHED, why, shown, {},
        found.summaries(), notes=() if measured else ("its records have not been read",),
    )  # fmt: skip


class _Stages:
    """Meters of the stages that there are records of."""

    def __init__(self, config: Benchmark) -> None:
        self.count, self.until_s = 0, 0.0
        self._config = config
        self._plans = list(stages(config.load)) if isinstance(config.load, OpenLoop | ClosedLoop) else []
        self._meters: dict[int, tuple[StagePlan, StageMeter]] = {}

    def add(self, records: list[Record]) -> None:
        by_stage: dict[int, list[Record]] = {}
        for record in records:
            by_stage.setdefault(record.stage, []).append(record)
            self.until_s = max(self.until_s, record.end_s)
        self.count += len(records)
        for number, some in by_stage.items():
            if number not in self._meters:
                plan = self._plan(number, min(record.due_s for record in some))
                self._meters[number] = (plan, StageMeter(plan, self._config))
            self._meters[number][1].add(some)

    def summaries(self) -> tuple[StageSummary, ...]:
        told = []
        for _, (plan, meter) in sorted(self._meters.items()):
            end_s = self.until_s if plan.end_s is None else min(plan.end_s, self.until_s)
            told.append(meter.summary(end_s, reasons=(_UNKNOWN,)))
        return tuple(told)

    def _plan(self, number: int, first_due_s: float) -> StagePlan:
        """`first_due_s`: where only the run knew when it began a stage, that was about then."""
        load = self._config.load
        if number >= len(self._plans):
            of = load.of if isinstance(load, Search) else "trace"
            return StagePlan(number, f"stage {number}", of, float("nan"), first_due_s, None)
        plan = self._plans[number]
        if isinstance(load, OpenLoop):
            return plan
        end_s = None if plan.end_s is None else first_due_s + plan.end_s - plan.begin_s
        return msgspec.structs.replace(plan, begin_s=first_due_s, end_s=end_s)


def _lists(records: Path) -> Iterator[list[Record]]:
    """None where the folder is still empty."""
    try:
        yield from read_lists(records)
    except FileNotFoundError:
        return
