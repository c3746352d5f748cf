"""What servers saw of themselves, on the page of a run."""

from __future__ import annotations

from html import escape

from fairlead.bench.report import tables
from fairlead.bench.report.server_words import by_engine, money, server_notes, server_tables
from fairlead.bench.report.words import number
from fairlead.bench.server_side.figures import FORMULAS
from fairlead.bench.summary import RunSummary, StageSummary


def server_section(run: RunSummary) -> str:
    """Tables, what is to be read with them, and formulas; nothing, where none was looked at."""
    made = [f"<h3>{escape(words.title)}</h3>{tables.table(words.head, words.rows)}" for words in server_tables(run)]
    notes = [f'<p class="note">{escape(note)}</p>' for note in server_notes(run)]
    return "".join([*made, *notes, tables.facts(FORMULAS)]) if made else ""


def engines_of(run: RunSummary, stage: StageSummary) -> str:
    """A row an engine, where there are several."""
    words = by_engine(run, stage)
    return tables.table(words.head, words.rows) if words is not None else ""


def cost_words(run: RunSummary) -> str:
    """Per million output tokens, from the low price to the high one."""
    cost = run.server_side.cost if run.server_side is not None else None
    if cost is not None and cost.per_million_output is not None:
        return money(cost.per_million_output, cost.price.currency)
    return number(run.cost_per_million_tokens)
