"""Latencies of a stage as counts over time and value: what plots and comparisons need of any number of requests, in
memory that does not grow with them. Formulas: `measure.formulas.FORMULAS`.

A block is a stretch of time, by when requests were due. Requests of one queue depend on each other; blocks much longer
than the queue's memory do so hardly, which is why comparisons draw blocks and not requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fairlead.bench.records import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

METRICS = ("ttft", "ttft_from_due", "itl", "tpot", "e2e", "schedule_delay")
LOW_S, HIGH_S, RATIO = 1e-6, 1e4, 1.005
BINS = int(np.ceil(np.log(HIGH_S / LOW_S) / np.log(RATIO)))
"""Bins are half a per cent wide; within one, values count as evenly spread."""

READ = (
    "stage", "outcome", "due_s", "sent_s", "first_token_s", "end_s", "output_chunks", "server_output_tokens",
    "chunk_times",
)  # fmt: skip

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Stretch:
    """A stage of which the requests due from `begin_s` up to `end_s` count."""

    index: int
    begin_s: float
    end_s: float


@dataclass(slots=True)
class Grid:
    """`counts[metric]`: blocks × bins. Of each block: requests, whole ones, and output tokens."""

    stretch: Stretch
    blocks: int
    counts: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    requests: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    whole: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    tokens: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        self.counts = {metric: np.zeros((self.blocks, BINS), np.int32) for metric in METRICS}
        self.requests, self.whole, self.tokens = (np.zeros(self.blocks, np.int64) for _ in range(3))

    @property
    def block_s(self) -> float:
        return max(1e-9, self.stretch.end_s - self.stretch.begin_s) / self.blocks

    def add(self, metric: str, blocks: npt.NDArray[np.int64], values: Floats) -> None:
        there = np.isfinite(values)
        clipped = np.clip(values[there], LOW_S, HIGH_S * 0.999)
        bins = np.clip((np.log(clipped / LOW_S) / np.log(RATIO)).astype(np.int64), 0, BINS - 1)
        np.add.at(self.counts[metric], (blocks[there], bins), 1)


def grids(records: Path, stretches: Sequence[Stretch], blocks: int) -> dict[int, Grid]:
    """Read a run's records once, a batch at a time. Raises OSError and ValueError as reading records does."""
    made = {stretch.index: Grid(stretch, blocks) for stretch in stretches}
    for batch in read_batches(records, READ):
        _add(made, batch)
    return made


def _add(made: dict[int, Grid], batch: pa.RecordBatch) -> None:
    columns: dict[str, Any] = {
        name: batch.column(name).to_numpy(zero_copy_only=False) for name in READ if name != "chunk_times"
    }
    lists = batch.column("chunk_times")
    offsets = np.asarray(lists.offsets, dtype=np.int64)
    times = np.asarray(lists.values, dtype=np.float64)
    for index, grid in made.items():
        stretch = grid.stretch
        due_s = columns["due_s"]
        mine = (columns["stage"] == index) & (due_s >= stretch.begin_s) & (due_s <= stretch.end_s)
        rows = np.flatnonzero(mine)
        if not len(rows):
            continue
        block = np.minimum(((due_s[rows] - stretch.begin_s) / grid.block_s).astype(np.int64), grid.blocks - 1)
        np.add.at(grid.requests, block, 1)
        grid.add("schedule_delay", block, (columns["sent_s"] - due_s)[rows].astype(np.float64))
        good = columns["outcome"][rows] == "WHOLE"
        rows, block = rows[good], block[good]
        _add_whole(grid, {name: values[rows] for name, values in columns.items()}, block)
        _add_gaps(grid, rows, block, offsets, times)


def _add_whole(grid: Grid, of: dict[str, Any], block: npt.NDArray[np.int64]) -> None:
    first_s, sent_s = of["first_token_s"].astype(np.float64), of["sent_s"].astype(np.float64)
    counted = of["server_output_tokens"].astype(np.float64)
    tokens = np.where(np.isnan(counted), of["output_chunks"], counted)
    np.add.at(grid.whole, block, 1)
    np.add.at(grid.tokens, block, tokens.astype(np.int64))
    grid.add("ttft", block, first_s - sent_s)
    grid.add("ttft_from_due", block, first_s - of["due_s"])
    grid.add("e2e", block, of["end_s"] - sent_s)
    # Exclusive: from the first token on, a token that is alone has none.
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(tokens > 1, (of["end_s"] - first_s) / (tokens - 1), np.nan)
    grid.add("tpot", block, tpot)


def _add_gaps(
    grid: Grid,
    rows: npt.NDArray[np.int64],
    block: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    times: Floats,
) -> None:
    """Pooled gaps between events with text, of whole requests."""
    lengths = offsets[rows + 1] - offsets[rows]
    total = int(lengths.sum())
    if not total:
        return
    starts = np.repeat(offsets[rows], lengths)
    within = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    here = starts + within
    later = within > 0
    grid.add("itl", np.repeat(block, lengths)[later], times[here[later]] - times[here[later] - 1])


def bin_edges() -> Floats:
    """The lower bounds of all bins, and the upper bound of the last, in seconds."""
    return np.asarray(LOW_S * RATIO ** np.arange(BINS + 1), dtype=np.float64)


def percentiles(counts: npt.NDArray[np.generic], shares: Iterable[float]) -> Floats:
    """Of each row of counts (rows × bins) the values at these shares (rows × shares); NaN where a row is empty."""
    cumulative = np.cumsum(np.asarray(counts, dtype=np.float64), axis=1)
    total = cumulative[:, -1:]
    result = []
    for share in shares:
        wanted = np.maximum(share * total, 1e-12)
        at = np.argmax(cumulative >= wanted - 1e-9, axis=1)
        row = np.arange(len(cumulative))
        before = np.where(at > 0, cumulative[row, np.maximum(at - 1, 0)], 0.0)
        inside = np.maximum(cumulative[row, at] - before, 1e-12)
        part = np.clip((wanted[:, 0] - before) / inside, 0.0, 1.0)
        value = LOW_S * RATIO ** (at + part)
        result.append(np.where(total[:, 0] > 0, value, np.nan))
    return np.stack(result, axis=1) if result else np.zeros((len(cumulative), 0))
