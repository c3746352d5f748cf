"""Reading records back, from a run that has ended and from one that was killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.bench.record import Record
from fairlead.bench.records.parquet import ROWS_A_GROUP, batch_of, records_of
from fairlead.bench.records.spool import read_spool

if TYPE_CHECKING:
    import pyarrow as pa


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows by `parquet.COLUMNS` of a file or of all files of a folder, some thousand at a time, in the order in which
    requests ended. `columns`: only these. Raises OSError, and ValueError for a file that is not of records."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in _files(path):
        if file.suffix == ".spool":
            for records in read_spool(file):
                batch = batch_of(records)
                yield batch.select(list(columns)) if columns is not None else batch
            continue
        try:
            with pq.ParquetFile(file) as parquet:
                wanted = list(columns) if columns is not None else None
                # Asked for all groups at once, Arrow keeps what it has read of each until the last.
                for group in range(parquet.num_row_groups):
                    yield from parquet.iter_batches(ROWS_A_GROUP, [group], wanted, use_threads=False)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{file} is not a Parquet file of records: {error}") from error


def read_records(path: Path) -> Iterator[Record]:
    """As they were recorded. Raises OSError, and ValueError for a file that is not of records."""
    for records in read_lists(path):
        yield from records


def read_lists(path: Path) -> Iterator[list[Record]]:
    """The same, some hundred at a time."""
    for file in _files(path):
        if file.suffix == ".spool":
            yield from read_spool(file)
        else:
            yield from map(records_of, read_batches(file))


def _files(path: Path) -> list[Path]:
    """A spool counts where it was not turned into Parquet: with both there, the Parquet file is whole."""
    if not path.is_dir():
        return [path]
    parquets = sorted(path.glob("*.parquet"))
    done = {file.stem for file in parquets}
    spools = sorted(file for file in path.glob("*.spool") if file.stem not in done)
    if not parquets and not spools:
        raise FileNotFoundError(f"{path} has no records: neither *.parquet nor *.spool")
    return [*parquets, *spools]
