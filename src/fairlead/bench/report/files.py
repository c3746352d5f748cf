"""The reports of a run as files in its folder, or in any other one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from fairlead.bench.results.compare import stretches
from fairlead.bench.results.grid import Grid, grids
from fairlead.bench.results.store import Kept

Form = Literal["html", "v0.2", "json"]
FORMS: tuple[Form, ...] = ("html", "v0.2", "json")
PLOT_BLOCKS, ALL_PLOT_BLOCKS = 60, 240
"""Of a stage, and at most of a run: the memory that a page takes."""
PLOT_BLOCK_REQUESTS = 20


def write_report(kept: Kept, form: Form, folder: Path) -> list[Path]:
    """Returns the files: one, or of Benchmark Reports one a stage. Raises OSError, and ValueError for records that
    cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, str] = {}
    if form == "json":
        texts["summary.json"] = msgspec.json.format(msgspec.json.encode(kept.run)).decode()
    elif form == "v0.2":
        from fairlead.bench.report.standard import standard_reports, standard_yaml

        reports = standard_reports(kept.run)
        for stage, report in zip(kept.run.stages, reports, strict=True):
            name = "report_v0.2.yaml" if len(reports) == 1 else f"report_v0.2.stage-{stage.index}.yaml"
            texts[name] = standard_yaml(report)
    else:
        from fairlead.bench.report.page import report_page

        stages = kept.run.stages
        most = max((stage.metrics.requests for stage in stages), default=0)
        blocks = max(6, min(PLOT_BLOCKS, ALL_PLOT_BLOCKS // max(1, len(stages)), most // PLOT_BLOCK_REQUESTS))
        texts["report.html"] = report_page(kept.run, record_grids(kept, blocks))
    written = []
    for name, text in texts.items():
        beside = folder / f".{name}.part"
        beside.write_text(text, encoding="utf-8")
        written.append(beside.replace(folder / name))
    return written


def record_grids(kept: Kept, blocks: int) -> dict[int, Grid]:
    """Of a run's records, by stage; none where it has no records."""
    if kept.records is None:
        return {}
    try:
        return grids(kept.records, stretches(kept.run), blocks)
    except FileNotFoundError:
        return {}
