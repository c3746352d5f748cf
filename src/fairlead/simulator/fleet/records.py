"""One record per request, as rows of Parquet or lines of JSON, written in batches so that memory stays flat."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from fairlead.simulator.fleet.ticket import Ticket

_BATCH_ROWS = 8192

Record: TypeAlias = tuple[
    int, float, str, str, str, str, int, str, str, int, int, int, int, float | None, float | None, float | None,
    float, int, int, str, str,
]  # fmt: skip
"""The values of `COLUMNS`, in their order."""

COLUMNS: tuple[tuple[str, Any, str], ...] = (
    ("request", pa.int64(), "number in order of arrival"),
    ("arrived_s", pa.float64(), "when the client sent it"),
    ("model", pa.string(), "as the trace names it"),
    ("adapter", pa.string(), "LoRA adapter; empty for the base model"),
    ("session", pa.string(), "conversation; empty for none"),
    ("tenant", pa.string(), "as the trace names it"),
    ("priority", pa.int64(), "as the trace has it"),
    ("replica", pa.string(), "where it ended; empty if it was never sent"),
    ("prefill_replica", pa.string(), "where its prompt was computed for another replica; empty for none"),
    ("prompt_tokens", pa.int64(), ""),
    ("output_tokens", pa.int64(), "asked for"),
    ("generated_tokens", pa.int64(), "got"),
    ("cached_tokens", pa.int64(), "prompt tokens found in the prefix cache at the first admission"),
    ("sent_s", pa.float64(), "when the gateway sent it to the replica where it ended; null if it never did"),
    ("scheduled_s", pa.float64(), "first admission to a batch there; null if it never was"),
    ("first_token_s", pa.float64(), "null if there was none"),
    ("ended_s", pa.float64(), "last token, failure or abandonment"),
    ("preemptions", pa.int64(), ""),
    ("retries", pa.int64(), "how often it was sent again after a crash"),
    ("status", pa.string(), "finished, failed or abandoned"),
    ("reason", pa.string(), "of a request that did not finish"),
)
"""(name, type, meaning); moments in seconds of the simulation."""

NAMES = tuple(name for name, _, _ in COLUMNS)
SCHEMA = pa.schema([pa.field(name, kind, metadata={"description": meaning}) for name, kind, meaning in COLUMNS])


def record_of(ticket: Ticket, first_token_s: float | None, ended_s: float) -> Record:
    """The record of a request at its end; moments as its client sees them."""
    request, replica = ticket.request, ticket.replica
    return (
        ticket.number,
        ticket.arrived_s,
        request.model,
        request.adapter,
        request.session,
        request.tenant,
        request.priority,
        "" if replica is None else replica.address,
        ticket.prefill_replica,
        request.prompt_tokens,
        request.output_tokens,
        ticket.generated_tokens,
        ticket.cached_tokens,
        ticket.sent_s if ticket.sent_s >= 0 else None,
        ticket.scheduled_s if ticket.scheduled_s >= 0 else None,
        first_token_s,
        ended_s,
        ticket.preemptions,
        ticket.retries,
        ticket.status,
        ticket.reason,
    )


class RecordSink(Protocol):
    """Takes records as requests end."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class NoRecords:
    """Drops them."""

    def write(self, record: Record) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class ListedRecords:
    """Keeps them in `records`; for small studies."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)

    def close(self) -> None:
        """Nothing."""


class ParquetRecords:
    """A Parquet file (zstd)."""

    def __init__(self, path: Path) -> None:
        self._rows: list[Record] = []
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd", compression_level=1)

    def write(self, record: Record) -> None:
        self._rows.append(record)
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left; the file is complete then."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            columns = [
                pa.array(values, kind)
                for values, (_, kind, _) in zip(zip(*self._rows, strict=True), COLUMNS, strict=True)
            ]
            self._writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            self._rows.clear()


class JsonlRecords:
    """One JSON object per line."""

    def __init__(self, path: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._file = self._stack.enter_context(path.open("wb"))
        self._encoder = msgspec.json.Encoder()

    def write(self, record: Record) -> None:
        self._file.write(self._encoder.encode(dict(zip(NAMES, record, strict=True))) + b"\n")

    def close(self) -> None:
        """The file is complete then."""
        self._stack.close()


def sink_for(path: Path) -> RecordSink:
    """By the ending of the name: `.jsonl`, else Parquet."""
    return JsonlRecords(path) if path.suffix == ".jsonl" else ParquetRecords(path)
