"""What scaled, of two runs: a fleet that cost more, took longer or lost more is a regression."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.replicas.made import even, life, line
from bench.replicas.test_analysis import FLEET, LOAD, config, run
from fairlead.bench.replicas.analysis import analyse, with_scaling
from fairlead.bench.replicas.timeline import Timeline
from fairlead.bench.results.compare import Side, compare
from fairlead.bench.results.scaling_changes import scaling_changes
from fairlead.bench.summary import RunSummary

NAMES = {"accelerator-seconds", "wanted after a rise", "ready after a rise", "too few good", "not good"}
SLOWER = line(
    [(-1.0, 1.0), (90.0, 3.0), (260.0, 1.0)],
    [
        life("a", -50.0, -40.0, accelerators=2.0),
        life("b", 92.0, 120.0, 261.0, 270.0, created=91.0, accelerators=2.0),
        life("c", 92.0, 140.0, 261.0, 280.0, created=91.0, accelerators=2.0),
    ],
)
WORSE = even([(0, 60, 8, 1.0), (60, 160, 32, 0.25), (160, 200, 32, 1.0), (200, 300, 8, 1.0)])


def scaled(of: Timeline = FLEET, load: Any = LOAD, identity: str = "a") -> RunSummary:
    made = with_scaling(run(), analyse(run(), config(), [of], load, 310.0))
    return msgspec.structs.replace(made, id=identity)


def test_a_fleet_that_costs_more_reacts_later_and_loses_more_is_worse() -> None:
    found = {f.name: f for f in scaling_changes(scaled(), scaled(SLOWER, WORSE))}
    assert set(found) == {
        "accelerator-seconds",
        "wanted after a rise",
        "ready after a rise",
        "too few good",
        "not good",
    }
    assert all(figure.other > figure.base and not figure.more_is_better for figure in found.values())
    assert (found["wanted after a rise"].base, found["wanted after a rise"].other) == (15.0, 30.0)
    assert (found["ready after a rise"].base, found["ready after a rise"].other) == (40.0, 80.0)
    assert found["not good"].test.p is not None and found["not good"].test.p < 0.01
    assert found["accelerator-seconds"].test.p is None, "it happens once in a run"


def test_a_comparison_has_them_and_a_run_that_is_equal_does_not_regress() -> None:
    same = compare(Side(scaled(), {}), Side(scaled(identity="b"), {}))
    assert {c.figure for c in same.changes if c.stage == "scaling"} == NAMES
    assert not same.regressions
    worse = compare(Side(scaled(), {}), Side(scaled(SLOWER, WORSE, "b"), {}))
    assert {c.figure for c in worse.regressions if c.stage == "scaling"} >= {"ready after a rise", "not good"}


@pytest.mark.parametrize("one_side", [0, 1])
def test_what_was_not_watched_is_not_compared(one_side: int) -> None:
    sides = [scaled(), scaled()]
    sides[one_side] = run()
    assert scaling_changes(*sides) == []


def test_replicas_are_not_compared_with_accelerators_and_nought_is_no_base() -> None:
    bare = scaled(line([(-1.0, 1.0)], [life("a", -50.0, -40.0)]), even([(0, 300, 8, 1.0)]))
    assert [figure.name for figure in scaling_changes(bare, scaled())] == ["not good"]
