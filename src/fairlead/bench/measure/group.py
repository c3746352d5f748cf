"""Requests that are reported together (a stage's, one target's, one adapter's), as sketches and sums over time."""

from __future__ import annotations

import copy
from collections import Counter
from typing import NamedTuple

import numpy as np

from fairlead.bench.config.judging import Objective
from fairlead.bench.measure import formulas
from fairlead.bench.measure.answers import Tally
from fairlead.bench.measure.confidence import design_effect, ranks
from fairlead.bench.measure.goodput import is_good, is_unknown, judge_goodput
from fairlead.bench.measure.sketch import Sketch
from fairlead.bench.measure.slices import InFlight, Slices
from fairlead.bench.record import Outcome
from fairlead.bench.records.columns import Bools, Columns, Floats
from fairlead.bench.summary import PERCENTILES, Distribution, Interval, Metrics

UNENDED = (Outcome.TIMEOUT, Outcome.IDLE_TIMEOUT, Outcome.ABORTED, Outcome.LOST)
# Rows of `Slices` that are of all requests of a stage, by when it happened …
SENT, ENDED, OUTPUT, PROMPT = range(4)
# … and of what is measured, by when it was due: counts and sums, for dependence and trends.
DUE, GOOD, WHOLE, E2E, TTFTS, TTFT, ITLS, ITL, TPOTS, TPOT = range(4, 14)
ROWS = 14


class Window(NamedTuple):
    """What of a stage is measured."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return max(0.0, self.end_s - self.begin_s)


class Group:
    """`streamed`: of each target, whether its answers come token by token; without that there is no first token."""

    def __init__(self, begin_s: float, objective: Objective | None, streamed: Bools) -> None:
        self._objective, self._streamed = objective, streamed
        self._sketches: dict[str, Sketch] = {}
        self._slices = Slices(begin_s, ROWS)
        self._in_flight = InFlight(begin_s)
        self.tally = Tally()
        self.failures: Counter[str] = Counter()
        self.requests = self.whole = self.good = self.unknown = 0
        self._good_tokens = 0.0

    def copy(self) -> Group:
        made = Group(self._slices.begin_s, self._objective, self._streamed)
        made._sketches = {name: sketch.copy() for name, sketch in self._sketches.items()}
        made._slices, made._in_flight, made.tally = self._slices.copy(), self._in_flight.copy(), copy.copy(self.tally)
        made.failures = self.failures.copy()
        made.requests, made.whole, made.good = self.requests, self.whole, self.good
        made.unknown = self.unknown
        made._good_tokens = self._good_tokens
        return made

    def add(self, columns: Columns, measured: Bools) -> None:
        """Requests of the stage; those that are `measured` count for latencies, all of them for what is per second."""
        self._add_times(columns)
        columns = columns.take(measured)
        if not len(columns):
            return
        self.requests += len(columns)
        self.tally.add(columns)
        self._add_delays(columns)
        whole = formulas.is_whole(columns)
        self._slices.add(DUE, columns.due_s)
        for outcome, count in zip(*np.unique(columns.outcome[~whole], return_counts=True), strict=True):
            self.failures[Outcome(int(outcome)).name] += int(count)
        if self._objective is not None:
            self.unknown += int(is_unknown(columns, self._objective).sum())
        self._add_at_least(columns, whole)
        self._add_latencies(columns.take(whole))

    def at(self, name: str, percent: float) -> float | None:
        """A percentile of a figure; None: it has no values."""
        sketch = self._sketches.get(name)
        return sketch.percentile(percent) if sketch is not None and sketch.count else None

    @property
    def negative(self) -> int:
        """Times below nought: a clock was set."""
        return sum(sketch.negative for sketch in self._sketches.values())

    def sent_within(self, window: Window) -> float:
        return self._slices.between(SENT, *window)

    def in_flight_at(self, time_s: float) -> float:
        return self._in_flight.at(time_s)

    def in_flight_means(self, window: Window) -> tuple[Floats, Floats]:
        return self._in_flight.means(*window)

    def ttft_means(self, window: Window) -> tuple[Floats, Floats, Floats]:
        """Times of slices, first tokens of requests due in them, and sums of their TTFT from due."""
        slices = self._slices
        times = slices.begin_s + slices.slice_s * (np.arange(slices.used, dtype=np.float64) + 0.5)
        inside = (times >= window.begin_s) & (times <= window.end_s)
        counts, sums = slices.sums[TTFTS, : slices.used], slices.sums[TTFT, : slices.used]
        return times[inside], counts[inside], sums[inside]

    def metrics(self, window: Window) -> Metrics:
        seconds = window.seconds
        slices = self._slices

        def per_s(row: int) -> float:
            return slices.between(row, *window) / seconds if seconds > 0 else 0.0

        effects: dict[str, float] = {}
        effects["ttft"] = effects["ttft_from_due"] = self._effect(TTFTS, TTFT, "ttft_from_due")
        effects["e2e"] = effects["e2e_from_due"] = effects["e2e_at_least"] = self._effect(WHOLE, E2E, "e2e_from_due")
        effects["tpot"] = effects["ntpot"] = self._effect(TPOTS, TPOT, "tpot")
        effects["itl"] = self._effect(ITLS, ITL, "itl")
        shown = {name: distribution_of(s, _unit(name), effects.get(name)) for name, s in self._sketches.items()}
        if self.tally.answers().unended == 0:
            shown.pop("e2e_at_least", None)
        flying = Sketch()
        flying.add(self._in_flight.means(*window)[1])
        goodput = None
        if self._objective is not None and seconds > 0:
            effect = self._good_effect()
            known = self.requests - self.unknown
            goodput = judge_goodput(self.good, self._good_tokens, known, seconds, self._objective, effect, self.unknown)
        return Metrics(
            self.requests, self.whole, dict(self.failures), seconds, per_s(ENDED), per_s(PROMPT), per_s(OUTPUT),
            in_flight=distribution_of(flying, ""), token_mismatches=self.tally.miscounted,
            counted_by=self.tally.counted_by, goodput=goodput, answers=self.tally.answers(), **shown,
        )  # fmt: skip

    def _add_times(self, columns: Columns) -> None:
        self._in_flight.add(columns.sent_s, columns.end_s)
        self._slices.add(SENT, columns.sent_s[columns.turn == 0])
        whole = columns.take(formulas.is_whole(columns))
        self._slices.add(ENDED, whole.end_s)
        tokens = formulas.output_tokens(whole)
        chunks = np.diff(whole.chunk_offsets)
        # A token counts when it came; all events of an answer carry the same share of what the server counts.
        each = np.repeat(tokens / np.maximum(chunks, 1), chunks)
        came_s = np.repeat(whole.sent_s, chunks) + whole.chunk_times
        self._slices.add(OUTPUT, came_s, each)
        at_once = chunks == 0
        self._slices.add(OUTPUT, whole.end_s[at_once], tokens[at_once].astype(np.float64))
        prompt = np.where(whole.server_prompt_tokens >= 0, whole.server_prompt_tokens, whole.prompt_tokens)
        began_s = np.where(np.isnan(whole.first_token_s), whole.end_s, whole.first_token_s)
        self._slices.add(PROMPT, began_s, prompt.astype(np.float64))

    def _add_delays(self, columns: Columns) -> None:
        self._take("schedule_delay", formulas.schedule_delay(columns))
        self._take("hold", formulas.hold(columns))
        self._take("client_lag", columns.worker_lag_s)
        self._take("client_error", formulas.client_error(columns))
        self._take("connection_wait", formulas.connection_wait(columns))
        self._take("send", formulas.send(columns))

    def _add_at_least(self, columns: Columns, whole: Bools) -> None:
        unended = np.isin(columns.outcome, UNENDED)
        since_s = np.where(np.isnan(columns.sent_s), columns.due_s, columns.sent_s)
        self._take("e2e_at_least", (columns.end_s - since_s)[whole | unended])

    def _add_latencies(self, whole: Columns) -> None:
        if not len(whole):
            return
        self.whole += len(whole)
        tokens = formulas.output_tokens(whole)
        self._take("e2e", formulas.e2e(whole))
        self._take_by_due("e2e_from_due", WHOLE, E2E, whole, formulas.e2e_from_due(whole))
        self._take("ntpot", formulas.ntpot(whole))
        self._take("output_tokens", tokens.astype(np.float64))
        planned = np.where(whole.server_prompt_tokens >= 0, whole.server_prompt_tokens, whole.prompt_tokens)
        self._take("prompt_tokens", planned.astype(np.float64))
        cached = whole.server_cached_tokens
        self._take("cached_tokens", np.where(cached >= 0, cached, np.nan))
        if self._objective is not None:
            good = is_good(whole, self._objective)
            self.good += int(good.sum())
            self._good_tokens += float(tokens[good].sum())
            self._slices.add(GOOD, whole.due_s[good])
        streamed = whole.take(self._streamed[whole.target])
        if not len(streamed):
            return
        self._take("ttft", formulas.ttft(streamed))
        self._take_by_due("ttft_from_due", TTFTS, TTFT, streamed, formulas.ttft_from_due(streamed))
        self._take_by_due("tpot", TPOTS, TPOT, streamed, formulas.tpot(streamed))
        gaps = formulas.itl(streamed)
        self._take("itl", gaps.seconds)
        owners_due_s = streamed.due_s[gaps.owner]
        self._slices.add(ITLS, owners_due_s)
        self._slices.add(ITL, owners_due_s, gaps.seconds)
        self.tally.merged_events += gaps.merged

    def _take(self, name: str, values: Floats) -> None:
        if name not in self._sketches:
            self._sketches[name] = Sketch()
        self._sketches[name].add(values)

    def _take_by_due(self, name: str, counts: int, sums: int, columns: Columns, values: Floats) -> None:
        self._take(name, values)
        there = ~np.isnan(values)
        self._slices.add(counts, columns.due_s[there])
        self._slices.add(sums, columns.due_s[there], values[there])

    def _effect(self, counts: int, sums: int, name: str) -> float:
        sketch = self._sketches.get(name)
        if sketch is None:
            return 1.0
        return design_effect(self._slices.sums[counts], self._slices.sums[sums], sketch.variance)

    def _good_effect(self) -> float:
        share = self.good / self.requests if self.requests else 0.0
        return design_effect(self._slices.sums[DUE], self._slices.sums[GOOD], share * (1 - share))


def distribution_of(sketch: Sketch, unit: str, effect: float | None = None) -> Distribution | None:
    """None of no values. `effect` (design effect) widens the intervals; None: no intervals are given."""
    count = sketch.count
    if count == 0:
        return None
    values = {percent: sketch.percentile(percent) for percent in PERCENTILES}
    intervals: dict[float, Interval] = {}
    independent = count / effect if effect is not None else None
    for percent in PERCENTILES if independent is not None else ():
        assert independent is not None
        found = ranks(percent, int(independent))
        if found is not None:
            scale = count / int(independent)
            low, high = int(found[0] * scale), min(count, int(found[1] * scale + 0.999))
            intervals[percent] = Interval(sketch.at_rank(max(1, low)), sketch.at_rank(high))
    deviation = float(np.sqrt(sketch.variance))
    return Distribution(
        count, unit, sketch.mean, deviation, sketch.minimum, sketch.maximum, values, intervals, independent
    )


def _unit(name: str) -> str:
    return "tokens" if name.endswith("_tokens") else "s"
