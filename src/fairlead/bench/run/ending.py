"""The end of a run: its figures are kept first, then its records become Parquet in a process of their own.

In this order, as figures are what a run is for: whatever happens to the rest, and to this process meanwhile, they are
on disk, and the records are as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from fairlead.bench.records.conversion import ENVIRONMENT, MODULE, swept
from fairlead.bench.run.aside import aside
from fairlead.bench.run.results import write_summary
from fairlead.bench.run.stop import Stop
from fairlead.bench.summary import RunSummary

REPORTS = "fairlead.bench.report.aside"


async def kept(
    folder: Path, summary: RunSummary, part: str, written: Callable[[int], None], stop: Stop
) -> RunSummary:  # fmt: skip
    """Write the summary, and make Parquet of the records under `folder`; `written` is told of how many by now. Returns
    the summary with a note of what could not be done."""
    summary, before = _with_summary(folder, summary), summary.notes
    problem = await _converted(folder / "records", part, written, stop)
    if problem is not None:
        summary = msgspec.structs.replace(summary, notes=(*summary.notes, problem))
        if len(summary.notes) == len(before) + 1:
            summary = _with_summary(folder, summary)
    return summary


async def reported(folder: Path, stop: Stop) -> str | None:
    """Write the page and the Benchmark Report of a run that is kept in `folder`, in a process of their own. Returns why
    they could not be."""
    whole = False
    try:
        problem = await aside(REPORTS, [str(folder), "v0.2", "html"], ENVIRONMENT, lambda _: None, stop)
        whole = problem is None
    finally:
        if not whole:
            _sweep(folder)
    if problem is None:
        return None
    return f"reports are not written: {problem}; `fairlead bench report {folder}` writes them"


def _sweep(folder: Path) -> None:
    """Take away the reports that were being written."""
    for file in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _with_summary(folder: Path, summary: RunSummary) -> RunSummary:
    try:
        write_summary(folder, summary)
    except OSError as error:
        note = f"results are not kept: {error.filename or folder}: {error.strerror or error}"
        return msgspec.structs.replace(summary, notes=(*summary.notes, note))
    return summary


async def _converted(records: Path, part: str, written: Callable[[int], None], stop: Stop) -> str | None:
    def said(line: str) -> None:
        with contextlib.suppress(ValueError):
            written(int(line))

    written(0)
    whole = False
    try:
        problem = await aside(MODULE, [str(records), part], ENVIRONMENT, said, stop)
        whole = problem is None
    finally:
        if not whole:
            swept(records, part)
    if problem is None:
        return None
    return f"records are kept as {records}/*.spool, which Fairlead reads as well, and not as Parquet: {problem}"
