"""Searches on servers whose capacity is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.search.queues import NoQueue, OneServer, searched, step
from fairlead.bench.config.load import Search
from fairlead.bench.search.judging import Seen, attainment_of, judge

ASKED = 0.95


@pytest.mark.parametrize(
    ("rate_per_s", "within_s", "low", "seeds"), [(400.0, 0.025, 10.0, 40), (1000.0, 0.02, 900.0, 20)]
)
def test_finds_the_known_capacity_of_a_queue_within_precision(
    rate_per_s: float, within_s: float, low: float, seeds: int
) -> None:
    search, server = Search(low=low), OneServer(rate_per_s, within_s, ASKED)
    found = [searched(server, within_s, ASKED, search, seed)[0].best for seed in range(seeds)]
    errors = [abs((best or 0.0) / server.capacity - 1) for best in found]
    assert sum(error <= search.precision for error in errors) >= 0.95 * seeds, sorted(errors)[-5:]


def test_a_search_with_too_little_time_says_what_it_could_not_tell() -> None:
    search, server = Search(low=10.0), OneServer(100.0, 0.1, ASKED)
    ends = [searched(server, 0.1, ASKED, search, seed) for seed in range(20)]
    for done, history in ends:
        doubtful = {t.load for t in history if t.decision == "undecided"} & {done.best, done.failed}
        assert bool(doubtful) == ("raise max_step_s" in done.why)
    # Far off it never is: what cannot be told apart is near.
    assert all(done.best is not None and abs(done.best / server.capacity - 1) < 0.15 for done, _ in ends)


def test_a_wall_is_found_exactly() -> None:
    search = Search(low=3.0, precision=0.01, step_s=20.0)
    done, _ = searched(NoQueue(77.0), 0.1, ASKED, search, 1)
    assert done.best is not None and done.failed is not None
    assert done.best <= 77.0 < done.failed <= done.best * 1.01


def test_a_saturated_server_is_told_before_the_step_is_over() -> None:
    search = Search()
    shown, took_s = step(OneServer(100.0, 0.5, ASKED), 150.0, 0.5, ASKED, search, 7)
    assert shown.decision == "saturated"
    assert took_s < search.settle_s + search.step_s


@pytest.mark.parametrize("load", [10.0, 50.0, 80.0, 90.0])
def test_a_server_that_keeps_up_is_not_called_saturated(load: float) -> None:
    for seed in range(30):
        shown, _ = step(OneServer(100.0, 0.5, ASKED), load, 0.5, ASKED, Search(), seed)
        assert shown.decision != "saturated", (seed, shown.why)


def test_intervals_hold_the_truth_as_often_as_they_say_for_requests_that_depend_on_each_other() -> None:
    server, load, held, trials = OneServer(200.0, 0.05, ASKED), 130.0, 0, 200
    truth = 1 - np.exp(-(200.0 - load) * 0.05)
    for seed in range(trials):
        due_s, took_s = server.serve(load, 60.0, np.random.default_rng(seed))
        late = due_s > 5
        _, interval = attainment_of(Seen(due_s[late], took_s[late] <= 0.05, took_s[late], 55.0), 0.95)
        held += interval.low <= truth <= interval.high
    assert held >= 0.9 * trials  # 0.57 of them by plain Wilson


def test_few_requests_decide_nothing() -> None:
    due_s = np.arange(10.0)
    seen = Seen(due_s, np.ones(10, bool), np.full(10, 0.1), 40.0)
    assert judge(seen, ASKED, Search()) is None
    shown = judge(seen, ASKED, Search(), final=True)
    assert shown is not None and shown.decision == "undecided" and "too few" in shown.why
