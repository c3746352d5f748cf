"""Records on disk: what goes in comes out, whatever becomes of the process or the disk."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
from array import array
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.bench.record import Outcome, Record
from fairlead.bench.records import RecordWriter, read_batches, read_records
from fairlead.bench.records.columns import TIMES, WHOLE_NUMBERS, columns_of, joined
from fairlead.bench.records.parquet import COLUMNS

times = st.one_of(st.just(math.nan), st.floats(0, 1e6, allow_nan=False))
counts = st.integers(-1, 10**9)


@st.composite
def records(draw: st.DrawFn) -> Record:
    chunks = draw(st.lists(st.floats(0, 1e3, width=32), max_size=5))
    tokens = draw(st.lists(st.integers(0, 65_535), min_size=len(chunks), max_size=len(chunks)))
    several = draw(st.booleans()) and chunks
    small = st.integers(0, 2**31 - 1)
    return Record(
        draw(st.integers(0, 2**40)), draw(small), draw(small), draw(small), draw(st.integers(-1, 99)), draw(small),
        int(draw(st.sampled_from(Outcome))), draw(small), *(draw(times) for _ in range(7)), draw(st.integers(0, 10**6)),
        draw(st.integers(0, 10**6)), len(chunks), draw(counts), draw(counts), draw(counts), draw(st.booleans()),
        draw(times), draw(times), draw(st.text(max_size=5)), draw(st.text(max_size=5)), array("f", chunks).tobytes(),
        array("H", tokens).tobytes() if several else b"", draw(st.booleans()), draw(times), draw(times), draw(times),
    )  # fmt: skip


def same(one: Record, other: Record) -> bool:
    """NaN is equal to NaN here."""
    return all(
        a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))
        for a, b in zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=12), st.integers(1, 5))
def test_what_was_added_is_read_from_the_spool_and_from_parquet(
    tmp_path_factory: pytest.TempPathFactory, some: list[Record], each: int
) -> None:
    folder = tmp_path_factory.mktemp("records")
    writer = RecordWriter(folder)
    for at in range(0, len(some), each):
        writer.add(some[at : at + each])
        writer.flush()
    spooled = list(read_records(folder))
    assert writer.close() is None
    stored = list(read_records(folder))
    assert [path.name for path in folder.iterdir()] == ["records.parquet"]
    for got in (spooled, stored):
        assert len(got) == len(some)
        assert all(same(a, b) for a, b in zip(some, got, strict=True))


@settings(max_examples=30)
@given(st.lists(st.lists(records(), max_size=3), min_size=1, max_size=3))
def test_columns_are_joined_as_their_records_are(parts: list[list[Record]]) -> None:
    whole, made = columns_of([record for part in parts for record in part]), joined([columns_of(p) for p in parts])
    for field in dataclasses.fields(whole):
        np.testing.assert_array_equal(getattr(whole, field.name), getattr(made, field.name))


@given(st.lists(records(), max_size=6))
def test_columns_say_what_records_say(some: list[Record]) -> None:
    columns = columns_of(some)
    assert len(columns) == len(some)
    for at, record in enumerate(some):
        for name in (*WHOLE_NUMBERS, *TIMES):
            told, kept = getattr(columns, name)[at], getattr(record, name)
            assert told == kept or (math.isnan(told) and math.isnan(kept))
        begin, end = columns.chunk_offsets[at : at + 2]
        assert columns.chunk_times[begin:end].tobytes() == record.chunk_times
        assert columns.chunk_tokens[begin:end].tolist() == list(
            array("H", record.chunk_tokens) or [1] * record.output_chunks
        )


def test_absent_is_null_and_each_column_is_described(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path)
    writer.add([make(0)])
    writer.close()
    (batch,) = read_batches(tmp_path)
    row = batch.to_pylist()[0]
    assert row["outcome"] == "REFUSED_CONNECTION"
    assert [row[name] for name in ("sent_s", "server_output_tokens", "adapter", "status")] == [None] * 4
    assert set(Record.__struct_fields__) == {column.name for column in COLUMNS}
    for column in COLUMNS:
        metadata = batch.schema.field(column.name).metadata
        assert metadata[b"says"].decode() == column.says
        assert column.name.endswith("_s") <= (metadata[b"unit"] == b"s")


def test_a_file_that_is_not_of_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no records"):
        list(read_records(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(ValueError, match=r"x\.parquet is not a Parquet file"):
        list(read_records(tmp_path))


_FILLS = """
import sys
sys.path.insert(0, sys.argv[2])
from test_records import make
from pathlib import Path
from fairlead.bench.records import RecordWriter
writer = RecordWriter(Path(sys.argv[1]))
"""
_THEN_IS_KILLED = (
    "writer.add([make(n) for n in range(3000)]); writer.flush(); writer.add([make(9)]); print(1, flush=True)"
)


def test_a_killed_process_leaves_what_was_flushed(tmp_path: Path) -> None:
    script = f"{_FILLS}{_THEN_IS_KILLED}\nsys.stdin.read()"
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", script, str(tmp_path), here]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        process.send_signal(signal.SIGKILL)
    assert [record.number for record in read_records(tmp_path)] == list(range(3000))
    # Half a frame at the end, as a machine that goes down leaves it, costs that frame alone.
    spool = tmp_path / "records.spool"
    os.truncate(spool, spool.stat().st_size - 7)
    assert len(list(read_records(tmp_path))) in range(1, 3000)


def test_a_full_disk_is_a_value_and_what_was_written_stays(tmp_path: Path) -> None:
    script = f"""{_FILLS}
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for begin in range(0, 5000, 500):
    writer.add([make(n) for n in range(begin, begin + 500)])
problem = writer.close()
print(writer.written, writer.lost, problem)
"""
    command = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    written, lost, problem = done.stdout.strip().split(" ", 2)
    assert int(written) > 0
    assert int(lost) > 0
    assert int(written) + int(lost) == 5000
    assert "File too large" in problem
    assert "make room" in problem
    assert [record.number for record in read_records(tmp_path)] == list(range(int(written)))


def test_a_folder_that_cannot_be_made_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = RecordWriter(tmp_path / "file" / "records")
    writer.add([make(1)])
    assert "Not a directory" in (writer.close() or "")
    assert writer.lost == 1


def make(number: int) -> Record:
    """Refused."""
    nan = math.nan
    return Record(
        number, 0, 0, 0, -1, 0, int(Outcome.REFUSED_CONNECTION), 0, 1.0, nan, nan, nan, nan, nan, 2.0, 64, 16, 0, -1,
        -1, -1, True, nan, 0.0, "", "refused " * 8, b"", b"",
    )  # fmt: skip
