"""Figures of stages, of engines alone and together, and what is told with them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.server_side.made import history
from fairlead.bench.config import ServerMetrics
from fairlead.bench.server_side.figures import ServerFigures, ServerSummary
from fairlead.bench.server_side.history import History
from fairlead.bench.server_side.series import all_engines
from fairlead.bench.server_side.stages import Sources, server_summary
from fairlead.bench.summary import ClientHealth, Metrics, RunSummary, StageSummary, Verdict

NAN = math.nan
HEALTH = ClientHealth(1e-4, 1e-3, 1e-3, 0.2, 1e-4)


def stage(index: int, begin_s: float, end_s: float, output_per_s: float, seconds: float | None = None) -> StageSummary:
    """`seconds`: of the stage's end, what counts."""
    seconds = end_s - begin_s if seconds is None else seconds
    metrics = Metrics(10, 10, {}, seconds, 1.0, 4 * output_per_s, output_per_s)
    return StageSummary(index, "", "rate", 1.0, 1.0, begin_s, end_s, metrics, HEALTH, Verdict(True))


def summarised(stages: list[StageSummary], engines: list[History], **server: Any) -> ServerSummary:
    run = RunSummary("", "", "", 10.0, "complete", "", {}, {}, tuple(stages))
    config, totals = ServerMetrics(**server), all_engines(engines, 1.0, 3.0)
    return server_summary(run, config, 0.0, Sources(engines), totals, {e.source: "vllm" for e in engines})


def all_of(said: ServerSummary, index: int = 0) -> ServerFigures:
    found = said.stages[index].engines
    assert found is not None
    return found


def test_stages_are_cut_where_their_other_figures_are() -> None:
    running, tokens = [0.0] * 5 + [8.0] * 16, [0.0] * 6 + [100.0 * k for k in range(1, 16)]
    engine = history(running_requests=running, generation_tokens_total=tokens)
    said = summarised([stage(0, 0.0, 10.0, 100.0, seconds=4.0), stage(1, 10.0, 20.0, 100.0)], [engine])
    first, second = all_of(said), all_of(said, 1)
    assert (said.stages[0].begin_s, said.stages[0].end_s) == (6.0, 10.0)
    assert (first.seconds, first.running_mean, first.running_max) == (4.0, 8.0, 8.0)
    assert first.output_tokens == pytest.approx(400) and second.output_tokens == pytest.approx(1000)
    assert said.stages[0].by_engine == {"a": first}


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 1), st.integers(0, 1000)), min_size=2, max_size=6))
def test_engines_together_are_their_sum_and_their_mean(engines: list[tuple[float, float, int]]) -> None:
    parts = [
        history(
            f"e{k}", running_requests=[running] * 11, kv_cache_usage_ratio=[cache] * 11,
            generation_tokens_total=[float(rate * t) for t in range(11)],
        )
        for k, (running, cache, rate) in enumerate(engines)
    ]  # fmt: skip
    said = summarised([stage(0, 0.0, 10.0, sum(rate for _, _, rate in engines))], parts)
    together = all_of(said)
    assert together.engines == pytest.approx(len(engines))
    assert together.running_mean == pytest.approx(sum(running for running, _, _ in engines))
    assert together.kv_cache_mean == pytest.approx(sum(cache for _, cache, _ in engines) / len(engines))
    assert together.kv_cache_max == max(cache for _, cache, _ in engines)
    assert together.output_tokens == pytest.approx(10 * sum(rate for _, _, rate in engines))
    assert len(said.stages[0].by_engine) == len(engines)
    assert said.stages[0].notes == ()


def test_an_engine_that_was_there_for_half_of_a_stage_is_half_an_engine() -> None:
    late = history("late", running_requests=[NAN] * 5 + [4.0] * 6)
    said = summarised(
        [stage(0, 0.0, 10.0, 0.0)], [history(running_requests=[2.0] * 11), late], accelerators_per_engine=8,
        price_per_hour=1.0,
    )  # fmt: skip
    together, cost = all_of(said), said.stages[0].cost
    assert said.stages[0].notes == ()
    assert together.engines == pytest.approx(1.5) and together.running_mean == pytest.approx(2.0 + 4.0 / 2)
    assert cost is not None and cost.accelerators == pytest.approx(12.0)
    assert cost.per_million_output is None and cost.money.low == pytest.approx(12 * 10 / 3600)


def test_hits_are_of_tokens_asked_and_not_a_mean_of_shares() -> None:
    hits = {
        k: history(
            k, prefix_cache_queried_tokens_total=[0.0, 1.0 * asked], prefix_cache_hit_tokens_total=[0.0, 1.0 * hit],
        )
        for k, hit, asked in (("a", 90, 100), ("b", 0, 900))
    }  # fmt: skip
    assert all_of(summarised([stage(0, 0.0, 1.0, 0.0)], list(hits.values()))).prefix_hit_ratio == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("engine", "client_per_s", "said"),
    [
        ([100.0 * k for k in range(41)], 100.0, None),
        ([100.0 * k for k in range(41)], 103.0, None),
        ([100.0 * k for k in range(41)], 50.0, "others ask them too"),
        ([100.0 * k for k in range(41)], 150.0, "not every engine that answers is looked at"),
        ([*(100.0 * k for k in range(20)), *(100.0 * k for k in range(21))], 200.0, None),
        ([0.0] * 41, 0.0, None),
    ],
)
def test_tokens_that_do_not_agree_are_told(engine: list[float], client_per_s: float, said: str | None) -> None:
    """Of an engine that was restarted it is not known what it did: nothing is held against it."""
    notes = summarised([stage(0, 0.0, 40.0, client_per_s)], [history(generation_tokens_total=engine)]).stages[0].notes
    assert [said in note for note in notes] == [True] if said is not None else notes == ()


def test_what_was_seen_in_part_and_what_was_thrown_out_is_told() -> None:
    engine = history(
        running_requests=[1.0] * 10 + [NAN] * 6 + [1.0] * 5, preemptions_total=[float(k // 10) for k in range(21)],
    )  # fmt: skip
    engine_only = summarised([stage(0, 0.0, 20.0, 0.0)], [engine]).stages[0]
    assert any("preempted 2 requests: their KV caches were full" in note for note in engine_only.notes)
    some = history(running_requests=[1.0] * 10 + [NAN] * 6 + [1.0] * 5)
    assert "seen for 13 of 20 s" in summarised([stage(0, 0.0, 20.0, 0.0)], [some]).stages[0].notes[0]


def test_nothing_seen_is_nothing_said() -> None:
    silent = history(running_requests=[NAN] * 11)
    said = summarised([stage(0, 0.0, 10.0, 5.0)], [silent], accelerators_per_engine=1, price_per_hour=1.0)
    assert (said.stages[0].engines, said.stages[0].cost, said.cost, said.energy) == (None, None, None, None)
