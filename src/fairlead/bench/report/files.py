"""The reports of a run as files in its folder, or in any other one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from fairlead.bench.results.grid import Grid, grids
from fairlead.bench.results.store import Kept
from fairlead.bench.results.stretches import objective_of, stretches, whole_answers

if TYPE_CHECKING:
    from fairlead.bench.results.sessions import Sessions

Form = Literal["html", "v0.2", "v0.2.1", "json"]
FORMS: tuple[Form, ...] = ("html", "v0.2", "v0.2.1", "json")
PLOT_BLOCKS, ALL_PLOT_BLOCKS = 60, 240
"""Of a stage, and at most of a run: the memory that a page takes."""
PLOT_BLOCK_REQUESTS = 20


class Sources:
    """What the reports of a run are made of besides its summary: read from its records once, and only when asked
    for."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    @cached_property
    def grids(self) -> Mapping[int, Grid]:
        """For plots: of blocks that have some requests each."""
        stages = self.kept.run.stages
        most = max((stage.metrics.requests for stage in stages), default=0)
        blocks = max(6, min(PLOT_BLOCKS, ALL_PLOT_BLOCKS // max(1, len(stages)), most // PLOT_BLOCK_REQUESTS))
        return record_grids(self.kept, blocks)

    @cached_property
    def sessions(self) -> Mapping[int, Sessions]:
        """Of runs whose requests follow each other."""
        from fairlead.bench.report.standard_load import is_multi_turn
        from fairlead.bench.results.sessions import sessions

        kept = self.kept
        if kept.records is None or not is_multi_turn(kept.run):
            return {}
        try:
            return sessions(kept.records, stretches(kept.run))
        except FileNotFoundError:
            return {}


def write_report(kept: Kept, form: Form, folder: Path, sources: Sources | None = None) -> list[Path]:
    """Returns the files: one, or of Benchmark Reports one a stage. `sources`: of this run, where another report of it
    is written too. Raises OSError, and ValueError for records that cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder, name, text) for name, text in _texts(form, sources or Sources(kept)).items()]


def _texts(form: Form, sources: Sources) -> dict[str, str]:
    """By the names of files."""
    run = sources.kept.run
    if form == "json":
        return {"summary.json": msgspec.json.format(msgspec.json.encode(run)).decode()}
    if form == "html":
        from fairlead.bench.report.page import report_page

        return {"report.html": report_page(run, sources.grids)}
    from fairlead.bench.report.standard import standard_reports, standard_yaml

    reports = standard_reports(run, sources.grids, sources.sessions, form.removeprefix("v"))
    single = len(reports) == 1
    return {
        f"report_{form}.yaml" if single else f"report_{form}.stage-{stage.index}.yaml": standard_yaml(report)
        for stage, report in zip(run.stages, reports, strict=True)
    }


def _write(folder: Path, name: str, text: str) -> Path:
    """All of it, or nothing under that name."""
    beside = folder / f".{name}.part"
    try:
        beside.write_text(text, encoding="utf-8")
        return beside.replace(folder / name)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def record_grids(kept: Kept, blocks: int) -> dict[int, Grid]:
    """Of a run's records, by stage; none where it has no records."""
    if kept.records is None:
        return {}
    try:
        run = kept.run
        return grids(kept.records, stretches(run), blocks, whole_answers(run), objective_of(run))
    except FileNotFoundError:
        return {}
