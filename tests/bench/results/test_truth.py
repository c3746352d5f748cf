"""Comparisons of runs whose truth is known: queues in virtual time, equal ones and slower ones, and searches on them.

Seeds are fixed. What is asserted leaves room for chance: of so many comparisons of equal servers, each with fourteen
figures, one in twenty may find something.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from bench.report.made import one_run
from bench.search.queues import OneServer, searched
from fairlead.bench.config.load import Search
from fairlead.bench.results.compare import COMPARE_BLOCKS, Comparison, Side, compare
from fairlead.bench.results.grid import Grid, Stretch
from fairlead.bench.summary import PERCENTILES, Distribution, Interval, SearchResult, SearchStep

SECONDS = 60.0
MU = 50.0


def of(values: npt.NDArray[np.float64]) -> Distribution:
    ladder = {p: float(np.quantile(values, p / 100)) for p in PERCENTILES}
    known = {p: Interval(v * 0.9, v * 1.1) for p, v in ladder.items() if len(values) * (1 - p / 100) > 5}
    ends = float(values.min()), float(values.max())
    return Distribution(len(values), "s", float(values.mean()), float(values.std()), *ends, ladder, known)


def side(name: str, mu: float, rate: float, rng: np.random.Generator) -> Side:
    """One stage of a server with one place (M/M/1) whose tokens come the faster, the faster it is."""
    due_s, took_s = OneServer(mu, 1.0, 0.5).serve(rate, SECONDS, rng)
    ttft = took_s + 0.02
    itl = 0.01 * MU / mu * rng.lognormal(0.0, 0.2, len(ttft))
    values = {"ttft": ttft, "ttft_from_due": ttft, "e2e": ttft + 8 * itl, "itl": itl, "tpot": itl}
    grid = Grid(Stretch(0, 0.0, SECONDS), COMPARE_BLOCKS)
    block = np.minimum((due_s / grid.block_s).astype(np.int64), COMPARE_BLOCKS - 1)
    for metric, found in values.items():
        grid.add(metric, block, found)
    for counts in (grid.requests, grid.whole, grid.tokens):
        np.add.at(counts, block, 1)
    run = one_run(name, requests=len(ttft), end_s=SECONDS)
    measured = {name: of(found) for name, found in values.items()}
    metrics = msgspec.structs.replace(run.stages[0].metrics, requests_per_s=len(ttft) / SECONDS, **measured)
    return Side(
        msgspec.structs.replace(run, stages=(msgspec.structs.replace(run.stages[0], metrics=metrics),)), {0: grid}
    )


def pairs(count: int, rate: float, slower: float, seed: int) -> list[Comparison]:
    rng = np.random.default_rng(seed)
    return [compare(side("a", MU, rate, rng), side("b", MU / slower, rate, rng), 0.05) for _ in range(count)]


@pytest.mark.parametrize(("rate", "seed"), [(15.0, 1), (40.0, 2)])
def test_equal_servers_are_found_equal(rate: float, seed: int) -> None:
    """At a third of what the server can, and at 80 %, where its queue remembers for seconds."""
    found = pairs(25, rate, 1.0, seed)
    assert sum(any(c.judgement in ("better", "worse") for c in each.changes) for each in found) <= 4
    assert sum(bool(each.regressions) for each in found) <= 4


def test_a_server_that_is_slower_by_a_tenth_is_found() -> None:
    found = pairs(10, 25.0, 1.1, 3)
    figures = [{c.figure for c in each.regressions} for each in found]
    assert sum("itl p50" in names for names in figures) >= 9
    assert all(figures) or sum(bool(names) for names in figures) >= 9


def searching(identity: str, mu: float, seed: int) -> Side:
    server = OneServer(mu, 0.2, 0.95)
    search = Search(of="rate", low=4.0, precision=0.1, step_s=30, max_step_s=60, settle_s=2)
    done, history = searched(server, 0.2, 0.95, search, seed)
    steps = tuple(SearchStep(k, tried.load, tried.decision, tried.why) for k, tried in enumerate(history))
    result = SearchResult("rate", done.best, done.failed, steps, done.why)
    return Side(one_run(identity, search=result), {})


def test_searches_compare_by_what_they_have_found() -> None:
    base, same, slower = searching("a", 60.0, 1), searching("b", 60.0, 2), searching("c", 45.0, 3)
    (change,) = compare(base, same, 0.05).changes
    assert change.figure == "highest load kept" and not change.regressed
    found = compare(base, slower, 0.05)
    (change,) = found.changes
    assert change.regressed and change.judgement == "worse" and change.test.high is not None and change.test.high < 0
    assert any("steps of searches are not compared one by one" in note for note in found.notes)
    (change,) = compare(slower, base, 0.05).changes
    assert change.judgement == "better"


def test_a_search_that_found_nothing_says_so() -> None:
    nothing = SearchResult("rate", None, 2.0, (), "the first load failed")
    base, other = searching("a", 60.0, 1), Side(one_run("b", search=nothing), {})
    found = compare(base, other, 0.05)
    assert found.changes == () and any("no load kept the objective in b" in note for note in found.notes)
    assert found.refusals
    # A search and a sweep have their stages to be compared by.
    mixed = compare(base, Side(one_run("c"), {}), 0.05)
    assert mixed.changes and any("c is no search" in note for note in mixed.notes)
