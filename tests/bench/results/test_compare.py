"""Comparisons against runs whose truth is known: equal servers, and servers that are slower by a known share."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.made import config, one_run, records
from fairlead.bench.records.parquet import write_parquet
from fairlead.bench.results.compare import Comparison, Side, compare
from fairlead.bench.results.grid import Stretch, bin_edges, grids, percentiles
from fairlead.bench.results.significance import holm, of_blocks
from fairlead.bench.results.stretches import stretches
from fairlead.bench.summary import RunSummary, StageSummary, Verdict

STRETCH = Stretch(0, 0.0, 100.0)


def side(folder: Path, identity: str, seed: int, factor: float = 1.0) -> Side:
    path = folder / f"{identity}.parquet"
    write_parquet(path, [list(records(1000, seed, factor))])
    return Side(one_run(identity, factor), grids(path, [STRETCH], 20))


def plain(run: RunSummary) -> Side:
    return Side(run, {})


def test_a_slower_server_is_found_and_an_equal_one_is_not(tmp_path: Path) -> None:
    base = side(tmp_path, "base", 1)
    same = compare(base, side(tmp_path, "same", 2), 0.05)
    assert same.regressions == () and same.refusals == ()
    slower = compare(base, side(tmp_path, "slower", 3, 1.2), 0.05)
    assert {c.figure for c in slower.regressions} >= {"ttft p50", "itl p50", "tpot p50"}
    ttft = next(c for c in slower.changes if c.figure == "ttft p50")
    assert ttft.test.low is not None and ttft.test.high is not None and ttft.test.low < 0.2 < ttft.test.high
    assert "blocks" in ttft.test.basis and ttft.test.seen is not None and 0.01 < ttft.test.seen < 0.3


def test_equal_servers_are_told_apart_in_about_one_case_of_twenty(tmp_path: Path) -> None:
    made = [side(tmp_path, str(seed), seed).grids[0] for seed in range(24)]
    tests = [of_blocks("ttft", 0.5, a, b) for a, b in zip(made[::2], made[1::2], strict=True)]
    assert sum(test is not None and test.p is not None and test.p < 0.05 for test in tests) <= 3
    assert all(test is not None for test in tests)


def test_a_faster_server_is_no_regression() -> None:
    faster = compare(plain(one_run("a")), plain(one_run("b", 0.7)), 0.05)
    assert faster.regressions == ()
    assert {c.judgement for c in faster.changes if c.figure == "itl p50"} == {"better"}


def test_a_change_below_the_threshold_is_told_and_no_regression() -> None:
    runs = plain(one_run("a")), plain(one_run("b", 1.04))
    assert compare(*runs, 0.05).regressions == ()
    assert compare(*runs, 0.01).changes


def test_what_cannot_be_tested_counts_by_its_size() -> None:
    def bare(run: RunSummary) -> RunSummary:
        stage = run.stages[0]
        ttft = msgspec.structs.replace(stage.metrics.ttft, intervals={})
        metrics = msgspec.structs.replace(stage.metrics, ttft=ttft)
        return msgspec.structs.replace(run, stages=(msgspec.structs.replace(stage, metrics=metrics),))

    found = compare(plain(bare(one_run("a"))), plain(bare(one_run("b", 1.3))), 0.05)
    ttft = next(c for c in found.changes if c.figure == "ttft p50")
    assert (ttft.judgement, ttft.regressed, ttft.p) == ("untested", True, None)


def test_means_are_compared_where_there_are_no_percentiles() -> None:
    def means(run: RunSummary) -> RunSummary:
        stage = run.stages[0]
        itl = msgspec.structs.replace(stage.metrics.itl, percentiles={}, intervals={})
        return msgspec.structs.replace(
            run, stages=(msgspec.structs.replace(stage, metrics=msgspec.structs.replace(stage.metrics, itl=itl)),)
        )

    found = compare(plain(means(one_run("a"))), plain(means(one_run("b", 1.3))), 0.05)
    by_figure = {change.figure: change for change in found.changes}
    assert (by_figure["itl mean"].judgement, by_figure["itl mean"].regressed) == ("untested", True)
    assert "itl p50" not in by_figure and "e2e mean" not in by_figure


def test_stages_are_matched_by_load_and_not_by_place() -> None:
    def stage(index: int, rate: float) -> StageSummary:
        return msgspec.structs.replace(one_run().stages[0], index=index, intended=rate, name=f"{rate:g}/s")

    base = one_run("a", stages=(stage(0, 10.0), stage(1, 20.0), stage(2, 40.0)))
    other = one_run("b", stages=(stage(0, 40.2), stage(1, 5.0), stage(2, 10.0)))
    found = compare(plain(base), plain(other), 0.05)
    assert found.pairs == ((0, 2), (2, 0)) and not found.refusals
    assert [note for note in found.notes if "not compared" in note] == [
        "b has no stage with the load of 20/s of a: not compared",
        "a has no stage with the load of 5/s of b: not compared",
    ]
    ramp = config(load={"kind": "open", "stages": [{"rate_per_s": 10.0, "to_rate_per_s": 90.0}]})
    assert compare(plain(one_run("a")), plain(one_run("b", config=ramp)), 0.05).refusals


def test_a_percentile_of_too_few_requests_is_told_and_not_judged() -> None:
    found = compare(plain(one_run("a", requests=100)), plain(one_run("b", 1.5, requests=100)), 0.05)
    by_figure = {change.figure: change for change in found.changes}
    assert (by_figure["ttft p99"].judgement, by_figure["ttft p99"].regressed) == ("too few", False)
    assert by_figure["ttft p50"].regressed


def refused(base: RunSummary, other: RunSummary) -> Comparison:
    found = compare(plain(base), plain(other), 0.05)
    assert found.refusals and not found.changes
    anyway = compare(plain(base), plain(other), 0.05, anyway=True)
    assert not anyway.refusals and anyway.changes and anyway.notes
    return found


def test_other_content_and_tokenizers_are_refused_by_field() -> None:
    longer = config(content={"kind": "synthetic", "prompt_tokens": {"kind": "fixed", "tokens": 128}})
    assert "content.prompt_tokens.tokens is 64 and 128" in refused(one_run(), one_run("b", config=longer)).refusals[0]
    target = {"url": "http://127.0.0.1:8000", "model": "m", "api": "completions", "tokenizer": {"source": "x"}}
    assert "tokenizer" in refused(one_run(), one_run("b", config=config(targets=[target]))).refusals[0]


def test_invalid_stages_are_not_compared() -> None:
    stage = msgspec.structs.replace(one_run().stages[0], verdict=Verdict(False, ("client lag",)))
    assert "client lag" in refused(one_run(), one_run("b", stages=(stage,))).refusals[0]


def test_stages_of_other_loads_are_not_matched() -> None:
    stage = msgspec.structs.replace(one_run().stages[0], intended=12.0, name="12/s")
    found = compare(plain(one_run()), plain(one_run("b", stages=(stage,))), 0.05)
    assert found.refusals and len(found.notes) == 2


@given(st.lists(st.none() | st.floats(0, 1), max_size=12))
def test_corrected_values_are_no_smaller_and_keep_their_order(ps: list[float | None]) -> None:
    corrected = holm(ps)
    both = [(p, c) for p, c in zip(ps, corrected, strict=True) if p is not None and c is not None]
    assert len(both) == sum(p is not None for p in ps) and all(p <= c <= 1 for p, c in both)
    assert [c for _, c in sorted(both)] == sorted(c for _, c in both)


def test_percentiles_of_counts_are_those_of_the_values(tmp_path: Path) -> None:
    made = list(records(500, 5))
    write_parquet(tmp_path / "r.parquet", [made])
    grid = grids(tmp_path / "r.parquet", [Stretch(0, 0.0, 1e3)], 10)[0]
    values = [r.first_token_s - r.sent_s for r in made if r.status == 200]
    total = grid.counts["ttft"].sum(axis=0, keepdims=True)
    assert grid.counts["ttft"].sum() == len(values) == grid.whole.sum()
    assert grid.counts["itl"].sum() == 7 * len(values)
    for share in (0.1, 0.5, 0.99):
        assert percentiles(total, [share])[0, 0] == pytest.approx(
            np.quantile(values, share, method="inverted_cdf"), rel=0.006
        )
    assert math.isnan(percentiles(np.zeros((1, len(bin_edges()) - 1)), [0.5])[0, 0])


def test_figures_of_records_are_those_of_the_summary(tmp_path: Path) -> None:
    """Events that were read at once make no gap, answers that come in one piece have no first token, and what a server
    does not count is what its events say."""
    made = [msgspec.structs.replace(r, target=r.number % 2, server_output_tokens=-1) for r in records(400, 6)]
    merged = []
    for r in made:
        times = np.frombuffer(r.chunk_times, np.float32).copy()
        times[2:4] = times[1:2]
        tokens = np.full(len(times), 3, np.uint16).tobytes() if r.number % 3 else b""
        merged.append(msgspec.structs.replace(r, chunk_times=times.tobytes(), chunk_tokens=tokens))
    write_parquet(tmp_path / "r.parquet", [merged])
    grid = grids(tmp_path / "r.parquet", [Stretch(0, 0.0, 1e3)], 10, whole_answers=[1])[0]
    whole = [r for r in merged if r.status == 200]
    streamed = [r for r in whole if r.target == 0]
    assert grid.counts["itl"].sum() == 5 * len(streamed) and grid.counts["ttft"].sum() == len(streamed)
    assert grid.counts["e2e"].sum() == len(whole)
    assert grid.tokens.sum() == sum(24 if r.chunk_tokens else 8 for r in whole)


def test_ramps_settling_and_cuts_are_no_part_of_a_stretch() -> None:
    def begins(load: dict[str, object], **cut: float) -> tuple[float, float]:
        run = one_run(config=config(load=load, cut=cut), end_s=60.0)
        metrics = msgspec.structs.replace(run.stages[0].metrics, seconds=40.0)
        stage = msgspec.structs.replace(run.stages[0], metrics=metrics, begin_s=5.0)
        (stretch,) = stretches(msgspec.structs.replace(run, stages=(stage,)))
        return stretch.begin_s, stretch.end_s

    assert begins({"kind": "open", "stages": [{}]}, warm_up_s=3.0) == (8.0, 48.0)
    assert begins({"kind": "closed", "stages": [{"users": 4, "ramp_s": 10.0}]}) == (15.0, 55.0)
    assert begins({"kind": "search"}) == (10.0, 50.0)
    assert begins({"kind": "search", "settle_s": 0.0}, warm_up_s=30.0) == (35.0, 60.0)


def test_warm_up_is_left_out(tmp_path: Path) -> None:
    write_parquet(tmp_path / "r.parquet", [list(records(500, 5))])
    grid = grids(tmp_path / "r.parquet", [Stretch(0, 20.0, 40.0)], 10)[0]
    assert grid.requests.sum() == sum(20 <= r.due_s < 40 for r in records(500, 5))
