"""What scaled during a run, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.bench.report.scaling_words import scaling_lines, scaling_tables
from fairlead.bench.summary import RunSummary


def show_scaling(run: RunSummary, console: Console) -> None:
    """Nothing, where nothing was watched."""
    if run.scaling is None:
        return
    for words in scaling_tables(run.scaling):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for at, name in enumerate(words.head):
            table.add_column(name, justify="right" if at else "left", no_wrap=True)
        for row in words.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(Text(words.title, style="italic"))
        console.print(table)
    for line in scaling_lines(run.scaling):
        console.print(Text(f"scaling: {line}"))
