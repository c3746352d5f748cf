"""The end of a run: figures first, and records that can be read whatever ends their conversion."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.run.runs import records_of
from fairlead.bench.record import Record
from fairlead.bench.results.store import load
from fairlead.bench.run.ending import kept, reported
from fairlead.bench.run.results import write_summary
from fairlead.bench.run.stop import Stop
from fairlead.bench.summary import RunSummary
from fairlead.bench.wire import Records, frame
from patience import PATIENCE_S

FRAMES, EACH = 60, 512
MANY = FRAMES * EACH


def record(number: int) -> Record:
    chunks = array("f", [0.02 + 0.005 * k for k in range(16)]).tobytes()
    return Record(
        number, 0, 0, 0, -1, 0, 0, 200, 1.0, 1.0, 1.0, 1.02, 1.02, 1.1, 1.1, 64, 16, 16, 64, 16, -1, False, math.nan,
        0.0, "length", "", chunks, b"",
    )  # fmt: skip


def made(folder: Path, frames: int = FRAMES) -> RunSummary:
    """A run whose load is over, with the same records again and again."""
    (folder / "records").mkdir(parents=True)
    data = frame(Records([record(number) for number in range(EACH)]))
    (folder / "records" / "records.spool").write_bytes(data * frames)
    return summary_of(folder)


def summary_of(folder: Path) -> RunSummary:
    return RunSummary(folder.name, "", "2026-11-28T00:00:00.000000Z", 1.0, "complete", "", {}, {}, ())


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[RunSummary]:
    """A run whose records never end: their conversion goes on until something ends it."""
    summary = made(tmp_path, 0)
    spool = tmp_path / "records" / "records.spool"
    spool.unlink()
    os.mkfifo(spool)
    data = frame(Records([record(number) for number in range(EACH)]))

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), spool.open("wb") as file:
            while True:
                file.write(data)

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    yield summary
    os.close(os.open(spool, os.O_RDONLY | os.O_NONBLOCK))  # where nobody has read it
    writing.join(PATIENCE_S)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "records").iterdir())


def child_of(parent: int, doing: bytes = b"records.conversion") -> int | None:
    """The process that does it."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            mine = int(path.read_text().rpartition(")")[2].split()[1]) == parent
            if mine and doing in (path.parent / "cmdline").read_bytes():
                return int(path.parent.name)
        except OSError:
            continue
    return None


def ending(folder: Path, summary: RunSummary, stop: Stop, when: Callable[[], None]) -> RunSummary:
    """`when` is done as soon as some records are written."""
    done: list[int] = []

    def written(count: int) -> None:
        if count and not done:
            done.append(count)
            when()

    return asyncio.run(asyncio.wait_for(kept(folder, summary, "", written, stop), PATIENCE_S))


def test_records_become_parquet_and_it_is_told_how_far(tmp_path: Path) -> None:
    told: list[int] = []
    summary = asyncio.run(kept(tmp_path, made(tmp_path), "", told.append, Stop()))
    assert summary.notes == ()
    assert files(tmp_path) == ["records.parquet"]
    assert told[0] == 0 and told[-1] == MANY and told == sorted(told) and len(told) > 3
    assert len(records_of(tmp_path)) == MANY


def test_a_killed_conversion_leaves_what_was_there(tmp_path: Path, endless: RunSummary) -> None:
    def kill() -> None:
        child = child_of(os.getpid())
        assert child is not None
        os.kill(child, signal.SIGKILL)

    summary = ending(tmp_path, endless, Stop(), kill)
    (note,) = summary.notes
    assert "SIGKILL" in note and "which Fairlead reads as well" in note
    assert load(tmp_path).run.notes == summary.notes
    assert files(tmp_path) == ["records.spool"]


def test_asked_to_stop_it_stops(tmp_path: Path, endless: RunSummary) -> None:
    stop = Stop()
    stop.ask("Ctrl-C")  # that ended the load is not meant for this
    summary = ending(tmp_path, endless, stop, lambda: stop.ask("Ctrl-C"))
    assert "ended by Ctrl-C" in summary.notes[0]
    assert files(tmp_path) == ["records.spool"]
    assert child_of(os.getpid()) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the spool and little more."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs takes a root user who may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_figures_and_the_spool(small_disk: Path) -> None:
    folder = small_disk / "run"
    summary = made(folder, 7)
    space = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(space.f_bavail * space.f_bsize - 8192))
    ended = asyncio.run(kept(folder, summary, "", lambda _: None, Stop()))
    (note,) = ended.notes
    assert "No space left on device" in note and "make room" in note
    assert files(folder) == ["records.spool"]
    assert len(records_of(folder)) == 7 * EACH
    assert load(folder).run.ended == "complete"


def test_a_kill_of_the_whole_run_meanwhile_costs_neither(tmp_path: Path, endless: RunSummary) -> None:
    script = f"""
import asyncio, sys
sys.path[:0] = {[str(Path(__file__).parents[2])]!r}
from pathlib import Path
from bench.run.test_ending import Stop, kept, summary_of
folder = Path(sys.argv[1])
asyncio.run(kept(folder, summary_of(folder), "", lambda count: print(count, flush=True), Stop()))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) == 0:
            pass
        child = child_of(process.pid)
        process.kill()
    assert load(tmp_path).run.id == tmp_path.name
    # With nobody to tell, the conversion ends too, and takes with it what it has begun.
    assert child is not None
    with contextlib.suppress(ProcessLookupError):
        assert select.select([os.pidfd_open(child)], [], [], PATIENCE_S)[0]
    assert files(tmp_path) == ["records.spool"]


def reporting(folder: Path, when: Callable[[int], None], stop: Stop) -> str | None:
    """`when` is done to the process that writes reports, as soon as it has begun."""

    async def both() -> str | None:
        writing = asyncio.ensure_future(reported(folder, stop))
        while (child := child_of(os.getpid(), b"report.aside")) is None and not writing.done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert child is not None
        when(child)
        return await asyncio.wait_for(writing, PATIENCE_S)

    return asyncio.run(both())


def test_reports_are_written_beside_the_run(tmp_path: Path) -> None:
    asyncio.run(kept(tmp_path, made(tmp_path, 1), "", lambda _: None, Stop()))
    assert asyncio.run(reported(tmp_path, Stop())) is None
    assert (tmp_path / "report.html").read_text().endswith("</html>")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_reports_that_are_not_written_are_said_and_half_of_none_is_there(
    how: str, tmp_path: Path, endless: RunSummary
) -> None:  # fmt: skip
    write_summary(tmp_path, endless)
    (tmp_path / ".report.html.part").write_text("half")
    stop = Stop()
    ends = {"killed": lambda child: os.kill(child, signal.SIGKILL), "stopped": lambda _: stop.ask("SIGTERM")}
    problem = reporting(tmp_path, ends[how], stop)
    assert problem is not None
    assert {"killed": "SIGKILL", "stopped": "ended by SIGTERM"}[how] in problem
    assert f"`fairlead bench report {tmp_path}` writes them" in problem
    assert sorted(file.name for file in tmp_path.iterdir()) == ["records", "summary.json"]
