"""A run while it goes on, on a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairlead.bench.run import Progress

PLAIN_EVERY_S = 10.0
WRITING = "writing records"


class Shown:
    """A table that is drawn anew on a terminal; a line now and then where there is none (a log)."""

    def __init__(self, console: Console, live: bool) -> None:
        self._console, self._wanted = console, live
        on_terminal = live and console.is_terminal
        self._live = Live(console=console, refresh_per_second=4, transient=True) if on_terminal else None
        self._said_s = 0.0

    def __enter__(self) -> Shown:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, what: str) -> None:
        """What goes on, where there are no figures of it."""
        if self._live is not None:
            self._live.update(Text(what, style="dim"))

    def show(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(table(progress))
        elif self._wanted and progress.elapsed_s - self._said_s >= PLAIN_EVERY_S:
            self._said_s = progress.elapsed_s
            self._console.print(line(progress), markup=False)


def table(progress: Progress) -> Table:
    """Two columns: what, and how much of it."""
    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="dim")
    shown.add_column()
    if progress.phase == WRITING:
        shown.add_row(progress.phase, f"{progress.written:,} of {progress.ended:,}")
        return shown
    stage = f"{progress.stage_name or progress.phase}"
    if progress.stage_left_s is not None and progress.stage_left_s > 0:
        stage += f", {progress.stage_left_s:.0f} s left"
    shown.add_row(progress.phase, stage)
    wanted = f"of {progress.intended:g}" if progress.of == "rate" else ""
    shown.add_row("answers/s", f"{progress.achieved_per_s:.1f} {wanted}, {progress.in_flight} in flight")
    shown.add_row("TTFT p50, p99", f"{_ms(progress.ttft_p50_s)}, {_ms(progress.ttft_p99_s)}")
    shown.add_row("ITL p50, p99", f"{_ms(progress.itl_p50_s)}, {_ms(progress.itl_p99_s)}")
    shown.add_row("tokens/s", f"{progress.output_tokens_per_s:.0f}")
    failed = ", ".join(f"{count} {name}" for name, count in sorted(progress.failures.items())) or "none"
    shown.add_row("failed", Text(failed, style="red" if progress.failed else ""))
    lost = f", {progress.workers_lost} lost" if progress.workers_lost else ""
    client = f"{progress.workers} workers{lost}, {progress.cpu_share:.0%} of a core, late {_ms(progress.lag_p99_s)}"
    shown.add_row("client", client)
    return shown


def line(progress: Progress) -> str:
    """The same, for a log."""
    if progress.phase == WRITING:
        return f"{progress.elapsed_s:.0f} s  {progress.phase}  {progress.written:,} of {progress.ended:,}"
    return (
        f"{progress.elapsed_s:.0f} s  {progress.stage_name}  {progress.achieved_per_s:.1f}/s  {progress.in_flight} in "
        f"flight  TTFT {_ms(progress.ttft_p50_s)}  ITL {_ms(progress.itl_p50_s)}  {progress.failed} failed"
    )


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.1f} ms"
