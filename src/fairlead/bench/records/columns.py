"""Records as columns: what measuring and the Parquet file are both made of, converted once for some hundred records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fairlead.bench.record import Record

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

WHOLE_NUMBERS = (
    "number", "turn", "stage", "target", "adapter", "worker", "outcome", "status", "prompt_tokens",
    "asked_output_tokens", "output_chunks", "server_prompt_tokens", "server_output_tokens", "server_cached_tokens",
)  # fmt: skip
TIMES = (
    "due_s", "sent_s", "written_s", "first_byte_s", "first_token_s", "last_token_s", "end_s", "retry_after_s",
    "worker_lag_s", "held_s", "late_s", "backoff_s",
)  # fmt: skip


@dataclass(slots=True)
class Columns:
    """Of each record its fields by their names, and the chunks of all records one after the other: those of record k
    are `chunk_times[chunk_offsets[k] : chunk_offsets[k + 1]]` (seconds after `sent_s`), with as many `chunk_tokens`."""

    number: Ints
    turn: Ints
    stage: Ints
    target: Ints
    adapter: Ints
    worker: Ints
    outcome: Ints
    status: Ints
    prompt_tokens: Ints
    asked_output_tokens: Ints
    output_chunks: Ints
    server_prompt_tokens: Ints
    server_output_tokens: Ints
    server_cached_tokens: Ints
    due_s: Floats
    sent_s: Floats
    written_s: Floats
    first_byte_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    end_s: Floats
    retry_after_s: Floats
    worker_lag_s: Floats
    held_s: Floats
    late_s: Floats
    backoff_s: Floats
    retried: Bools
    chunk_offsets: Ints
    chunk_times: npt.NDArray[np.float32]
    chunk_tokens: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.number)

    def take(self, rows: Bools) -> Columns:
        """Only these rows, with their chunks."""
        if rows.all():
            return self
        lengths = np.diff(self.chunk_offsets)
        chunks = np.repeat(rows, lengths)
        offsets = np.zeros(int(rows.sum()) + 1, dtype=np.int64)
        np.cumsum(lengths[rows], out=offsets[1:])
        fields = {name: getattr(self, name)[rows] for name in (*WHOLE_NUMBERS, *TIMES, "retried")}
        return Columns(
            **fields,
            chunk_offsets=offsets,
            chunk_times=self.chunk_times[chunks],
            chunk_tokens=self.chunk_tokens[chunks],
        )


def joined(parts: Sequence[Columns]) -> Columns:
    """One after the other; of one at least."""
    if len(parts) == 1:
        return parts[0]
    each = (*WHOLE_NUMBERS, *TIMES, "retried", "chunk_times", "chunk_tokens")
    fields: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in each}
    lengths = np.concatenate([np.diff(part.chunk_offsets) for part in parts])
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Columns(**fields, chunk_offsets=offsets)


def columns_of(records: Sequence[Record]) -> Columns:
    """Of any number of records, none too."""
    whole: dict[str, Any] = {
        name: np.array([getattr(r, name) for r in records], dtype=np.int64) for name in WHOLE_NUMBERS
    }
    times: dict[str, Any] = {name: np.array([getattr(r, name) for r in records], dtype=np.float64) for name in TIMES}
    offsets = np.zeros(len(records) + 1, dtype=np.int64)
    np.cumsum([len(r.chunk_times) // 4 for r in records], out=offsets[1:])
    chunk_times = np.frombuffer(b"".join([r.chunk_times for r in records]), dtype=np.float32)
    tokens = b"".join([_tokens(r) for r in records])
    return Columns(
        **whole,
        **times,
        retried=np.array([r.retried for r in records], dtype=np.bool_),
        chunk_offsets=offsets,
        chunk_times=chunk_times,
        chunk_tokens=np.frombuffer(tokens, dtype=np.uint16),
    )


_ONE = np.ones(1, dtype=np.uint16).tobytes()


def _tokens(record: Record) -> bytes:
    """How many tokens each chunk had; absent: one each."""
    return record.chunk_tokens or _ONE * (len(record.chunk_times) // 4)
