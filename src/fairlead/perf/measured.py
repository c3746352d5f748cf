"""The time of an iteration with decoding as it was measured at some batch sizes, and lines between them.

Real engines do not grow along one line: batches are padded to the sizes of captured graphs, and blocks of a matrix
product fill up one after another. `MeasuredCost` is `LinearCost` with a table in place of its base and slope.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise


@dataclass(frozen=True)
class MeasuredCost:
    """`batch_s[i]` is the time of an iteration that decodes `batch[i]` tokens without any context.

    Between the sizes it is interpolated, beyond the last it goes on with the mean slope. The other coefficients are
    those of `LinearCost`.
    """

    batch: tuple[int, ...]
    batch_s: tuple[float, ...]
    prefill_token_s: float
    prefill_pair_s: float
    context_s: float
    prefill_base_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.batch or len(self.batch) != len(self.batch_s):
            raise ValueError(
                f"batch has {len(self.batch)} sizes and batch_s {len(self.batch_s)} times: give one time for each size"
            )
        if self.batch[0] != 1 or any(b <= a for a, b in pairwise(self.batch)):
            raise ValueError(f"batch is {self.batch}: it must start at 1 and rise")
        if any(b < a for a, b in pairwise(self.batch_s)):
            raise ValueError(f"batch_s is {self.batch_s}: a larger batch cannot take less time")
        for name in ("prefill_token_s", "prefill_pair_s", "context_s", "prefill_base_s"):
            _check(name, getattr(self, name))
        for value in self.batch_s:
            _check("batch_s", value)

    def step_s(self, prefill_tokens: int, prefill_pairs: int, decode_tokens: int, context_tokens: int) -> float:
        """Seconds of an iteration; see `StepCost.step_s`."""
        table = self._table
        if decode_tokens < len(table):
            decode_s = table[decode_tokens]
        else:
            decode_s = table[-1] + self._slope_s * (decode_tokens - len(table) + 1)
        if prefill_tokens:
            return (
                decode_s
                + self.prefill_base_s
                + self.prefill_token_s * prefill_tokens
                + self.prefill_pair_s * prefill_pairs
                + self.context_s * context_tokens
            )
        return decode_s + self.context_s * context_tokens if decode_tokens else 0.0

    @cached_property
    def _table(self) -> list[float]:
        """[n]: seconds with n decoding tokens; without any, a prompt pays what the smallest batch pays."""
        table = [self.batch_s[0], self.batch_s[0]]
        for (low, low_s), (high, high_s) in pairwise(zip(self.batch, self.batch_s, strict=True)):
            table += [low_s + (high_s - low_s) * (n - low) / (high - low) for n in range(low + 1, high + 1)]
        return table

    @cached_property
    def _slope_s(self) -> float:
        sizes = self.batch[-1] - self.batch[0]
        return (self.batch_s[-1] - self.batch_s[0]) / sizes if sizes else 0.0


def _check(name: str, value: float) -> None:
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{name} is {value!r}; a cost is a finite number of seconds, 0 or more")
