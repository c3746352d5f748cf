"""Sessions of a run, put together from its records: requests that follow each other and share a number.

A session is of the stage in which it was due. It has succeeded when every request of it was answered whole: a turn that
failed ends it, and those that would have come after it were never made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fairlead.bench.records import read_batches
from fairlead.bench.results.grid import Stretch
from fairlead.bench.summary import PERCENTILES, Distribution

if TYPE_CHECKING:
    import pyarrow as pa

READ = (
    "number", "stage", "outcome", "due_s", "end_s", "prompt_tokens", "server_prompt_tokens", "output_chunks",
    "server_output_tokens",
)  # fmt: skip
CANCELLED = ("ABORTED", "LOST")
GROWN = 2
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sessions:
    """Of one stage. `cancelled`: requests that the client's own end cut off. Durations in seconds, from the first
    request's due until the last one's end; tokens as the server counts them where it does."""

    total: int
    succeeded: int
    requests: int
    whole: int
    cancelled: int
    per_s: float
    seconds: Distribution
    turns: Distribution
    input_tokens: Distribution
    output_tokens: Distribution


def sessions(records: Path, stretches: Sequence[Stretch]) -> dict[int, Sessions]:
    """Of each stage that has some. Memory: 48 bytes a session. Raises OSError and ValueError as reading records
    does."""
    table = _Table()
    for batch in read_batches(records, READ):
        table.add(batch)
    made = {stretch.index: table.of(stretch) for stretch in stretches}
    return {index: found for index, found in made.items() if found is not None}


class _Table:
    """A row a session, by its number."""

    def __init__(self) -> None:
        self._columns: dict[str, npt.NDArray[Any]] = {
            "stage": np.full(0, -1, np.int32), "begin": np.full(0, np.inf), "end": np.full(0, -np.inf),
            "requests": np.zeros(0, np.int32), "whole": np.zeros(0, np.int32), "cancelled": np.zeros(0, np.int32),
            "input": np.zeros(0, np.int64), "output": np.zeros(0, np.int64),
        }  # fmt: skip

    def add(self, batch: pa.RecordBatch) -> None:
        of = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in READ}
        number = of["number"].astype(np.int64)
        if not len(number):
            return
        self._reach(int(number.max()) + 1)
        columns = self._columns
        whole = of["outcome"] == "WHOLE"
        columns["stage"][number] = of["stage"]
        np.minimum.at(columns["begin"], number, of["due_s"])
        np.maximum.at(columns["end"], number, of["end_s"])
        np.add.at(columns["requests"], number, 1)
        np.add.at(columns["whole"], number[whole], 1)
        np.add.at(columns["cancelled"], number[np.isin(of["outcome"], CANCELLED)], 1)
        for name, said, else_ in (
            ("input", "server_prompt_tokens", "prompt_tokens"),
            ("output", "server_output_tokens", "output_chunks"),
        ):
            counted = of[said].astype(np.float64)
            tokens = np.where(np.isnan(counted), np.nan_to_num(of[else_].astype(np.float64)), counted)
            np.add.at(columns[name], number[whole], tokens[whole].astype(np.int64))

    def of(self, stretch: Stretch) -> Sessions | None:
        columns = self._columns
        begin = columns["begin"]
        mine = (columns["stage"] == stretch.index) & (begin >= stretch.begin_s) & (begin < stretch.end_s)
        if not mine.any():
            return None
        requests, whole = columns["requests"][mine], columns["whole"][mine]
        done = whole == requests
        ended = done & (columns["end"][mine] <= stretch.end_s)
        length_s = max(1e-9, stretch.end_s - stretch.begin_s)
        return Sessions(
            int(mine.sum()), int(done.sum()), int(requests.sum()), int(whole.sum()),
            int(columns["cancelled"][mine].sum()), float(ended.sum()) / length_s,
            distribution(columns["end"][mine] - begin[mine], "s"), distribution(requests, ""),
            distribution(columns["input"][mine], "tokens"), distribution(columns["output"][mine], "tokens"),
        )  # fmt: skip

    def _reach(self, count: int) -> None:
        have = len(self._columns["stage"])
        if count <= have:
            return
        more = max(count, GROWN * have) - have
        empty = {"stage": -1, "begin": np.inf, "end": -np.inf}
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.full(more, empty.get(name, 0), column.dtype)])


def distribution(values: npt.NDArray[Any], unit: str) -> Distribution:
    """Of all of some values, one at least; percentiles are nearest ranks."""
    there = values.astype(np.float64)
    found = np.quantile(there, [p / 100 for p in PERCENTILES], method="inverted_cdf")
    percentiles = dict(zip(PERCENTILES, (float(v) for v in found), strict=True))
    return Distribution(
        len(there), unit, float(there.mean()), float(there.std()), float(there.min()), float(there.max()), percentiles
    )
