"""What servers saw of themselves, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.bench.report.server_words import server_notes, server_tables
from fairlead.bench.summary import RunSummary


def show_servers(run: RunSummary, console: Console) -> None:
    """Nothing, where none was looked at."""
    for words in server_tables(run):
        table = Table(
            box=None, pad_edge=False, header_style="bold", title=words.title, title_justify="left", title_style="italic"
        )
        for name in words.head:
            table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
        for row in words.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    for note in server_notes(run):
        console.print(Text(f"servers: {note}", style="dim"))
