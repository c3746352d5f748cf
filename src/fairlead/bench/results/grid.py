"""Latencies of a stage as counts over time and value: what plots and comparisons need of any number of requests, in
memory that does not grow with them. Formulas: `measure.formulas.FORMULAS`.

A block is a stretch of time, by when requests were due. Requests of one queue depend on each other; blocks much longer
than the queue's memory do so hardly, which is why comparisons draw blocks and not requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fairlead.bench.config.judging import Objective
from fairlead.bench.measure import formulas
from fairlead.bench.measure.goodput import is_good
from fairlead.bench.records import read_batches
from fairlead.bench.records.columns import Columns
from fairlead.bench.results.batches import columns_of_batch

METRICS = ("ttft", "ttft_from_due", "itl", "tpot", "e2e", "schedule_delay")
LOW_S, HIGH_S, RATIO = 1e-6, 1e4, 1.005
BINS = int(np.ceil(np.log(HIGH_S / LOW_S) / np.log(RATIO)))
"""Bins are half a per cent wide; within one, values count as evenly spread."""

READ = (
    "stage", "target", "outcome", "due_s", "sent_s", "first_token_s", "end_s", "output_chunks", "server_output_tokens",
    "chunk_times", "chunk_tokens",
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
    """`counts[metric]`: blocks × bins. Of each block: requests, whole ones, good ones (where there is an objective),
    and output tokens of the whole ones."""

    stretch: Stretch
    blocks: int
    counts: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    requests: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    whole: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    good: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    tokens: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        self.counts = {metric: np.zeros((self.blocks, BINS), np.int32) for metric in METRICS}
        self.requests, self.whole, self.good, self.tokens = (np.zeros(self.blocks, np.int64) for _ in range(4))

    @property
    def block_s(self) -> float:
        return max(1e-9, self.stretch.end_s - self.stretch.begin_s) / self.blocks

    def add(self, metric: str, blocks: npt.NDArray[np.int64], values: Floats) -> None:
        there = np.isfinite(values)
        clipped = np.clip(values[there], LOW_S, HIGH_S * 0.999)
        bins = np.clip((np.log(clipped / LOW_S) / np.log(RATIO)).astype(np.int64), 0, BINS - 1)
        np.add.at(self.counts[metric], (blocks[there], bins), 1)


def grids(
    records: Path,
    stretches: Sequence[Stretch],
    blocks: int,
    whole_answers: Iterable[int] = (),
    objective: Objective | None = None,
) -> dict[int, Grid]:
    """Read a run's records once, a batch at a time. `whole_answers`: targets whose answers come in one piece, which
    have no first token. Raises OSError and ValueError as reading records does."""
    made = {stretch.index: Grid(stretch, blocks) for stretch in stretches}
    pieces = np.asarray(list(whole_answers), np.int64)
    for batch in read_batches(records, READ):
        columns = columns_of_batch(batch, frozenset(READ))
        for stage in np.unique(columns.stage):
            if (grid := made.get(int(stage))) is not None:
                _add(grid, columns.take(columns.stage == stage), pieces, objective)
    return made


def _add(grid: Grid, columns: Columns, whole_answers: npt.NDArray[np.int64], objective: Objective | None) -> None:
    stretch = grid.stretch
    columns = columns.take((columns.due_s >= stretch.begin_s) & (columns.due_s < stretch.end_s))
    block = _blocks(grid, columns)
    np.add.at(grid.requests, block, 1)
    grid.add("schedule_delay", block, formulas.schedule_delay(columns))
    whole = formulas.is_whole(columns)
    columns, block = columns.take(whole), block[whole]
    np.add.at(grid.whole, block, 1)
    if objective is not None:
        np.add.at(grid.good, block[is_good(columns, objective)], 1)
    np.add.at(grid.tokens, block, formulas.output_tokens(columns))
    grid.add("e2e", block, formulas.e2e(columns))
    if len(whole_answers):
        streamed = ~np.isin(columns.target, whole_answers)
        columns, block = columns.take(streamed), block[streamed]
    grid.add("ttft", block, formulas.ttft(columns))
    grid.add("ttft_from_due", block, formulas.ttft_from_due(columns))
    grid.add("tpot", block, formulas.tpot(columns))
    gaps = formulas.itl(columns)
    grid.add("itl", block[gaps.owner], gaps.seconds)


def _blocks(grid: Grid, columns: Columns) -> npt.NDArray[np.int64]:
    at = ((columns.due_s - grid.stretch.begin_s) / grid.block_s).astype(np.int64)
    return np.clip(at, 0, grid.blocks - 1)


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
