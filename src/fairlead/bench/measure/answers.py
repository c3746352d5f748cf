"""Counts of what makes figures differ from what they seem to say: answers of the wrong length, tokens that came twice,
requests that were never sent or never ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.bench.measure import formulas
from fairlead.bench.record import Outcome
from fairlead.bench.records.columns import Columns
from fairlead.bench.summary import Answers


@dataclass(slots=True)
class Tally:
    """Of some requests; see `summary.Answers` for what is counted."""

    whole: int = 0
    shorter: int = 0
    longer: int = 0
    miscounted: int = 0
    repeated: int = 0
    uncounted: int = 0
    merged_events: int = 0
    retried: int = 0
    unsent: int = 0
    unended: int = 0
    ended_late: int = 0
    held: int = 0
    backoff_s: float = 0.0
    unfinished: int = 0
    _chunks: int = 0
    _tokens: int = 0
    _planned: int = 0
    _prompts: int = 0

    def add(self, columns: Columns) -> None:
        outcome = columns.outcome
        aborted = outcome == Outcome.ABORTED
        lasting = (Outcome.TIMEOUT, Outcome.IDLE_TIMEOUT, Outcome.ABORTED, Outcome.LOST)
        self.unsent += int((aborted & np.isnan(columns.sent_s)).sum())
        self.unended += int(np.isin(outcome, lasting).sum())
        self.retried += int(columns.retried.sum())
        self.held += int((columns.held_s > 0).sum())
        self.backoff_s += float(np.nansum(columns.backoff_s))
        self._add_whole(columns.take(formulas.is_whole(columns)))

    def answers(self) -> Answers:
        return Answers(
            self.shorter, self.longer, self.miscounted, self.repeated, self.uncounted,
            self._tokens / self._chunks if self._chunks else None, self.merged_events,
            self._prompts / self._planned - 1 if self._planned else None, self.retried, self.unsent, self.unended,
            self.ended_late, self.held, self.backoff_s, self.unfinished,
        )  # fmt: skip

    @property
    def counted_by(self) -> str:
        """Whose counts of output tokens figures are of."""
        if self.uncounted == 0:
            return "server"
        return "chunks" if self.uncounted == self.whole else "mixed"

    def _add_whole(self, whole: Columns) -> None:
        said, counted = whole.server_output_tokens, formulas.counted_tokens(whole)
        tokens, asked = formulas.output_tokens(whole), whole.asked_output_tokens
        self.whole += len(whole)
        self.uncounted += int((said < 0).sum())
        both = (said >= 0) & (counted >= 0) & (whole.output_chunks > 1)
        self.miscounted += int((both & (said != counted)).sum())
        self.repeated += int((both & (counted > said)).sum())
        self.shorter += int(((asked > 0) & (tokens < asked)).sum())
        self.longer += int(((asked > 0) & (tokens > asked)).sum())
        self._chunks += int(whole.output_chunks.sum())
        self._tokens += int(tokens[whole.output_chunks > 0].sum())
        known = (whole.server_prompt_tokens >= 0) & (whole.prompt_tokens > 0)
        self._planned += int(whole.prompt_tokens[known].sum())
        self._prompts += int(whole.server_prompt_tokens[known].sum())
