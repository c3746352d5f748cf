"""The Parquet file of a run's records: one row a request, written a row group at a time.

`COLUMNS` is its description; the same words are in the file, as metadata of each field. Absent is null, never zero: a
server that counted no tokens, a request that was never sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fairlead.bench.record import Outcome, Record

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_A_GROUP, BYTES_A_GROUP = 4096, 2 * 2**20
"""A row group ends with so many rows, or bytes of `chunk_times`: what converting takes in memory."""
FORMAT = "fairlead.bench.records/1"


class Column(NamedTuple):
    """`kind`: an Arrow type by name. `absent`: the value of a record's field that stands for none."""

    name: str
    kind: str
    unit: str
    says: str
    absent: int | None = None


COLUMNS = (
    Column("number", "int64", "", "of the session within the run; its turns share it"),
    Column("turn", "int32", "", "of the session, from 0"),
    Column("stage", "int32", "", "in which the session was due, from 0"),
    Column("target", "int32", "", "index into the configuration's targets"),
    Column("adapter", "int32", "", "index into the run's adapters", -1),
    Column("worker", "int32", "", "that sent it"),
    Column("outcome", "string", "", "WHOLE, or the class of failure"),
    Column("status", "int32", "", "of HTTP", 0),
    Column("due_s", "float64", "s", "when it should have been sent; closed loop: when its user was free"),
    Column("sent_s", "float64", "s", "when its first byte was handed to the kernel"),
    Column("written_s", "float64", "s", "when its last byte was"),
    Column("first_byte_s", "float64", "s", "when the answer's first byte came"),
    Column("first_token_s", "float64", "s", "when the first event with text came"),
    Column("last_token_s", "float64", "s", "when the last event with text came"),
    Column("end_s", "float64", "s", "when the answer, or the attempt, had ended"),
    Column("prompt_tokens", "int64", "tokens", "as planned, by the tokenizer of the content", 0),
    Column("asked_output_tokens", "int64", "tokens", "asked for", 0),
    Column("output_chunks", "int64", "", "events with text"),
    Column("server_prompt_tokens", "int64", "tokens", "by the server's usage", -1),
    Column("server_output_tokens", "int64", "tokens", "by the server's usage", -1),
    Column("server_cached_tokens", "int64", "tokens", "of the prompt, found in the server's prefix cache", -1),
    Column("new_connection", "bool", "", "whether it waited for a connection to be opened"),
    Column("retry_after_s", "float64", "s", "asked for with a 429 or 503"),
    Column("worker_lag_s", "float64", "s", "from due until the worker turned to it: the client's own delay"),
    Column(
        "held_s",
        "float64",
        "s",
        "from due until the load let it go: a cap was reached, or the turn before had no answer",
    ),
    Column("late_s", "float64", "s", "by how much first token or end were stamped late, as far as the worker knows"),
    Column("backoff_s", "float64", "s", "how long its user paused after it, as it had failed"),
    Column("finish_reason", "string", "", "as the server says it"),
    Column("detail", "string", "", "of a failure"),
    Column("retried", "bool", "", "sent a second time, as a kept connection was closed under the first"),
    Column("chunk_times", "list_float", "s", "after sent_s, of each event with text; to 8 µs within 128 s"),
    Column("chunk_tokens", "list_int", "tokens", "of each event with text; null: one each", None),
)
"""Times are seconds from the origin of the run on one monotonic clock."""


def schema() -> pa.Schema:
    """Of the file, with what each column says."""
    import pyarrow as pa

    kinds = {
        "int64": pa.int64(), "int32": pa.int32(), "float64": pa.float64(), "bool": pa.bool_(),
        "string": pa.string(), "list_float": pa.list_(pa.float32()), "list_int": pa.list_(pa.uint16()),
    }  # fmt: skip
    fields = [pa.field(c.name, kinds[c.kind], metadata={"unit": c.unit, "says": c.says}) for c in COLUMNS]
    return pa.schema(fields, metadata={"format": FORMAT, "times": "seconds from the origin of the run"})


def batch_of(records: Sequence[Record]) -> pa.RecordBatch:
    """Records as rows."""
    import msgspec
    import pyarrow as pa

    form = schema()
    fields = tuple(zip(*map(msgspec.structs.astuple, records), strict=True)) or ((),) * len(Record.__struct_fields__)
    by_name: dict[str, Sequence[Any]] = dict(zip(Record.__struct_fields__, fields, strict=True))
    arrays = [_array(column, by_name, form.field(column.name).type) for column in COLUMNS]
    return pa.record_batch(arrays, schema=form)


def records_of(batch: pa.RecordBatch) -> list[Record]:
    """The other way. Columns that a file lacks, as another version of Fairlead wrote it, have their absent values."""
    import numpy as np

    there = set(batch.schema.names)
    columns: list[list[object]] = []
    for column in COLUMNS:
        if column.name not in there:
            columns.append([_absent_value(column)] * batch.num_rows)
            continue
        values = batch.column(column.name).to_pylist()
        if column.name == "outcome":
            columns.append([int(Outcome[value]) for value in values])
        elif column.kind.startswith("list"):
            kind = np.float32 if column.kind == "list_float" else np.uint16
            columns.append([np.asarray(v, dtype=kind).tobytes() if v is not None else b"" for v in values])
        else:
            absent = _absent_value(column)
            columns.append([absent if value is None else value for value in values])
    by_name = dict(zip((c.name for c in COLUMNS), columns, strict=True))
    ordered = [by_name[name] for name in Record.__struct_fields__]
    return [Record(*row) for row in zip(*ordered, strict=True)]


def write_parquet(path: Path, records: Iterable[list[Record]], written: Callable[[int], None] = lambda _: None) -> int:
    """Stream records into a file that has its name only when it is whole; returns how many. `written` is told how many
    there are by now. Raises OSError."""
    import pyarrow.parquet as pq

    beside = path.with_name(f".{path.name}.part")
    count = 0
    try:
        # A dictionary of times that are all different is memory and time for nothing.
        repeated = [c.name for c in COLUMNS if c.kind == "string"]
        with pq.ParquetWriter(
            beside, schema(), compression="zstd", compression_level=1, use_dictionary=repeated
        ) as writer:  # fmt: skip
            for group in _groups(records):
                writer.write_batch(batch_of(group), row_group_size=ROWS_A_GROUP)
                count += len(group)
                written(count)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return count


def _groups(records: Iterable[list[Record]]) -> Iterator[list[Record]]:
    """As many as there is room for: rows of long answers are longer."""
    group: list[Record] = []
    size = 0
    for record in itertools.chain.from_iterable(records):
        group.append(record)
        size += len(record.chunk_times)
        if len(group) >= ROWS_A_GROUP or size >= BYTES_A_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _array(column: Column, fields: Mapping[str, Sequence[Any]], kind: pa.DataType) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    values = fields[column.name]
    if column.name == "outcome":
        names = {int(outcome): outcome.name for outcome in Outcome}
        return pa.array([names[value] for value in values], kind)
    if column.kind.startswith("list"):
        each = 4 if column.kind == "list_float" else 2
        offsets = np.zeros(len(values) + 1, dtype=np.int32)
        np.cumsum([len(value) // each for value in values], out=offsets[1:])
        inner = np.frombuffer(b"".join(values), dtype=np.float32 if each == 4 else np.uint16)
        mask = None
        if column.name == "chunk_tokens":
            times = fields["chunk_times"]
            mask = pa.array([not v and bool(t) for v, t in zip(values, times, strict=True)], pa.bool_())
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(inner), mask=mask)
    if column.kind == "float64":
        return pa.array(np.array(values, dtype=np.float64), kind, from_pandas=True)  # NaN: null
    if column.kind.startswith("int"):
        numbers = np.array(values, dtype=column.kind)
        return pa.array(numbers, mask=None if column.absent is None else numbers == column.absent)
    return pa.array(values, kind)


def _absent_value(column: Column) -> object:
    if column.absent is not None:
        return column.absent
    kinds: dict[str, object] = {"float64": float("nan"), "string": "", "bool": False, "int64": 0, "int32": 0}
    return kinds.get(column.kind, b"")
