"""What a person sees while a run goes on."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from fairlead.bench.run import Progress
from fairlead.cli.bench_progress import Shown, line, table

RUNNING = Progress(
    "running", 0, 1, "10/s", "rate", 10.0, 12.0, 3.0, 9.9, 2, 118, 1, {"TIMEOUT": 1}, 0.02, 0.03, 0.005, 0.006, 160.0,
    0.0001, 0.2, 1, 0,
)  # fmt: skip
WRITING = msgspec.structs.replace(RUNNING, phase="writing records", written=345_000, ended=1_000_000)


def printed(progress: Progress) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(table(progress))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_phases_say_what_they_are_about() -> None:
    assert "TTFT p50, p99" in printed(RUNNING) and "1 TIMEOUT" in printed(RUNNING)
    assert "writing records  345,000 of 1,000,000" in printed(WRITING)
    assert "TTFT" not in printed(WRITING)
    assert "writing records  345,000 of 1,000,000" in line(WRITING)
    assert "9.9/s" in line(RUNNING)


def test_a_log_has_a_line_now_and_then_and_a_quiet_run_none() -> None:
    for live, lines in ((True, 1), (False, 0)):
        console = Console(file=io.StringIO(), width=200)
        with Shown(console, live=live) as shown:
            for _ in range(3):
                shown.show(WRITING)
            shown.say("writing reports")
        assert isinstance(console.file, io.StringIO)
        assert console.file.getvalue().count("\n") == lines


def test_a_terminal_is_left_as_it_was() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Shown(console, live=True) as shown:
        shown.show(WRITING)
        shown.say("writing reports")
    assert isinstance(console.file, io.StringIO)
    assert "writing reports" in console.file.getvalue()
