"""Rows of a run's records as columns, so that the formulas of `measure.formulas` are those of plots and comparisons
too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fairlead.bench.record import Outcome
from fairlead.bench.records.columns import TIMES, WHOLE_NUMBERS, Columns
from fairlead.bench.records.parquet import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

_ABSENT = {column.name: column.absent or 0 for column in COLUMNS}
_OUTCOMES = {outcome.name: int(outcome) for outcome in Outcome}


def columns_of_batch(batch: pa.RecordBatch, names: frozenset[str] | None = None) -> Columns:
    """`names`: what was read of the columns (None: all); the others have their absent values."""
    there = set(batch.schema.names) if names is None else names & set(batch.schema.names)
    count = batch.num_rows
    fields: dict[str, Any] = {}
    for name in WHOLE_NUMBERS:
        if name == "outcome":
            fields[name] = _outcomes(batch, there)
        elif name in there:
            fields[name] = _filled(batch.column(name), _ABSENT[name]).astype(np.int64, copy=False)
        else:
            fields[name] = np.full(count, _ABSENT[name], np.int64)
    for name in TIMES:
        fields[name] = _filled(batch.column(name), np.nan) if name in there else np.full(count, np.nan)
    fields["retried"] = np.zeros(count, np.bool_)
    if "retried" in there:
        fields["retried"] = np.asarray(batch.column("retried").fill_null(False).to_numpy(zero_copy_only=False))
    offsets, times = _list(batch, "chunk_times", np.float32, there)
    tokens = np.ones(len(times), np.uint16)
    if "chunk_tokens" in there:
        _scatter(batch.column("chunk_tokens"), offsets, tokens)
    return Columns(**fields, chunk_offsets=offsets, chunk_times=times, chunk_tokens=tokens)


def _outcomes(batch: pa.RecordBatch, there: set[str] | frozenset[str]) -> Any:
    if "outcome" not in there:
        return np.zeros(batch.num_rows, np.int64)
    coded = batch.column("outcome").dictionary_encode()
    numbers = np.array([_OUTCOMES[name] for name in coded.dictionary.to_pylist()], np.int64)
    return numbers[np.asarray(coded.indices)] if len(numbers) else np.zeros(0, np.int64)


def _filled(column: pa.Array, absent: float) -> Any:
    return np.asarray((column.fill_null(absent) if column.null_count else column).to_numpy(zero_copy_only=False))


def _list(batch: pa.RecordBatch, name: str, kind: type, there: set[str] | frozenset[str]) -> tuple[Any, Any]:
    """Offsets from 0 on, and the values one after the other; null is empty."""
    if name not in there:
        return np.zeros(batch.num_rows + 1, np.int64), np.zeros(0, kind)
    column = batch.column(name)
    lengths = _filled(column.value_lengths(), 0).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return offsets, np.asarray(column.flatten(), dtype=kind)


def _scatter(column: pa.Array, offsets: Any, tokens: Any) -> None:
    """The tokens of those answers that say how many each event had; of the others it stays one."""
    lengths = _filled(column.value_lengths(), 0).astype(np.int64)
    rows = np.flatnonzero(lengths)
    if not len(rows):
        return
    values = np.asarray(column.flatten(), dtype=np.uint16)
    starts = np.cumsum(lengths) - lengths
    which = np.repeat(offsets[:-1][rows] - starts[rows], lengths[rows]) + np.arange(int(lengths.sum()))
    tokens[which] = values
