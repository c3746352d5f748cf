"""Every request of a run, on disk: a spool while it runs, which a killed run leaves behind readable, and Parquet in the
end.

`RecordWriter` writes; `read_records`, `read_lists` and `read_batches` read either. Columns and units:
`parquet.COLUMNS`.
"""

from fairlead.bench.records.reading import read_batches, read_lists, read_records
from fairlead.bench.records.writer import RecordWriter

__all__ = ["RecordWriter", "read_batches", "read_lists", "read_records"]
