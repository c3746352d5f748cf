"""Prints the replay of a decision."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table

from fairlead.cli.failure import Failed


def print_explanation(raw: bytes, console: Console) -> None:
    """Replay the record and print it. Raises Failed for what is no record."""
    from fairlead.gateway.pick.explain import DecisionRecord, explain

    try:
        record = DecisionRecord.from_json(raw)
    except msgspec.MsgspecError as error:
        raise Failed(f"this is no recorded decision: {error}") from error
    told = explain(record)
    query = record.query
    console.print(
        f"pool {record.pool}, model {query.model}"
        + (f", adapter {query.adapter}" if query.adapter else "")
        + f": {query.prompt_tokens} prompt tokens, about {query.output_tokens:.0f} answer tokens, "
        f"priority {query.priority}, tenant {query.fairness_id or '-'}"
        + (f", first token within {query.ttft_slo_s:g} s" if query.ttft_slo_s is not None else "")
    )
    console.print(f"profile {record.profile}: {told.sentence}")
    if not told.same:
        console.print(f"On record is {record.picked or 'nobody'}: this version decides otherwise than that one did.")
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(told.header):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in told.rows:
        table.add_row(*row, style="bold" if row[0] == told.picked else "")
    console.print(table)
    if record.fallbacks:
        console.print(f"If it takes no connection: {', then '.join(record.fallbacks)}")
