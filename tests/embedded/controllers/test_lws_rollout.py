"""How far an update of a LeaderWorkerSet goes at each step."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.controllers.lws_builders import Object, rolling, spec
from fairlead.embedded.controllers.leader_worker_sets.rollout import (
    GroupState,
    Leaders,
    LeadersPlan,
    compute_leaders,
    compute_partition,
)
from fairlead.embedded.controllers.leader_worker_sets.spec import max_surge, max_unavailable


def lws(replicas: int, **how: int | str) -> Object:
    given_spec = spec(replicas, rolloutStrategy=rolling(**how))  # type: ignore[arg-type]
    return {"metadata": {"name": "s", "namespace": "n"}, "spec": given_spec}


def states(text: str) -> list[GroupState]:
    """One letter a group: `n` new and ready, `w` new and not ready, `o` old and ready, `b` old and not ready."""
    return [GroupState(i, ready=c in "no", updated=c in "nw") for i, c in enumerate(text)]


@pytest.mark.parametrize(
    ("groups", "step", "partition", "expected"),
    [
        # From the highest index, as many as may be missing.
        ("oooo", 1, 4, 3),
        ("oooo", 2, 4, 2),
        # One that is not ready yet holds the next back.
        ("ooow", 1, 3, 3),
        ("ooon", 1, 3, 2),
        ("nnnn", 1, 1, 0),
        # One that was broken before counts as missing; it does not hold its own update back.
        ("booo", 1, 4, 4),
        ("ooob", 1, 4, 3),
        # Broken ones are updated step by step too.
        ("bbbb", 1, 4, 3),
        ("bbbb", 4, 4, 0),
        # It never goes up again.
        ("oonw", 1, 2, 2),
        ("oooo", 1, 0, 0),
    ],
)  # fmt: skip
def test_the_partition(groups: str, step: int, partition: int, expected: int) -> None:
    assert compute_partition(states(groups), step, partition) == expected


@pytest.mark.parametrize(
    ("wanted", "leaders", "groups", "is_new", "expected"),
    [
        # Before there is anything: all of the newest revision, no surge.
        (lws(3, max_surge=1), None, "", False, LeadersPlan(3, 0)),
        # The template changes: surge comes, nothing is replaced yet.
        (lws(3, max_surge=1), Leaders(3, 0, 3), "ooo", True, LeadersPlan(4, 3)),
        (lws(3), Leaders(3, 0, 3), "ooo", True, LeadersPlan(3, 3)),
        # Scaling up together with a change comes first, and without surge.
        (lws(5, max_surge=1), Leaders(3, 0, 3), "ooo", True, LeadersPlan(5, 3)),
        # At rest.
        (lws(3, max_surge=1), Leaders(3, 0, 3), "nnn", False, LeadersPlan(3, 0)),
        # A new group of surge stands in for one of the wanted.
        (lws(3, max_surge=1, max_unavailable=0), Leaders(4, 3, 3), "ooon", False, LeadersPlan(4, 2)),
        # Surge goes once what is missing fits into maxUnavailable.
        (lws(3, max_surge=1, max_unavailable=1), Leaders(4, 1, 3), "onnn", False, LeadersPlan(3, 0)),
        # Growing during an update; the partition stays.
        (lws(4), Leaders(3, 2, 3), "oow", False, LeadersPlan(4, 2)),
        # Groups below `partition` are not updated, and surge stays until they are.
        (lws(4, partition=2), Leaders(4, 4, 4), "oooo", False, LeadersPlan(4, 3)),
        (lws(4, partition=2), Leaders(4, 3, 4), "oonn", False, LeadersPlan(4, 2)),
    ],
)
def test_steps(wanted: Object, leaders: Leaders | None, groups: str, is_new: bool, expected: LeadersPlan) -> None:
    assert compute_leaders(wanted, leaders, states(groups), is_new_revision=is_new) == expected


@dataclass
class Fleet:
    """Groups as the StatefulSet controller keeps them by a plan: from the highest index, within its own limit."""

    wanted: Object
    groups: dict[int, str] = field(default_factory=dict)
    leaders: Leaders = field(default_factory=lambda: Leaders(0, 0, 0))

    def apply(self, plan: LeadersPlan) -> None:
        wanted = int(self.wanted["spec"]["replicas"])
        self.leaders = Leaders(plan.replicas, plan.partition, wanted)
        for index in [i for i in self.groups if i >= plan.replicas]:
            del self.groups[index]
        for index in range(plan.replicas):
            self.groups.setdefault(index, "w" if index >= plan.partition else "b")
        limit = max(1, max_unavailable(self.wanted) + max_surge(self.wanted))
        budget = limit - sum(s in "wb" for s in self.groups.values())
        for index in sorted(self.groups, reverse=True):
            if index < plan.partition or self.groups[index] in "nw":
                continue
            if self.groups[index] == "o":
                if budget <= 0:
                    continue
                budget -= 1
            self.groups[index] = "w"

    def ready(self, index: int) -> None:
        self.groups[index] = {"w": "n", "b": "o"}.get(self.groups[index], self.groups[index])

    @property
    def text(self) -> str:
        return "".join(self.groups[i] for i in sorted(self.groups))


@given(st.integers(1, 8), st.integers(0, 3), st.integers(0, 3), st.integers(0, 8), st.randoms(use_true_random=False))
def test_an_update_ends_within_its_bounds(replicas: int, surge: int, unavailable: int, partition: int, order) -> None:
    if not min(surge, replicas) and not unavailable:
        unavailable = 1
    wanted = lws(replicas, max_surge=surge, max_unavailable=unavailable, partition=partition)
    fleet = Fleet(wanted, dict.fromkeys(range(replicas), "o"), Leaders(replicas, 0, replicas))
    fleet.apply(compute_leaders(wanted, fleet.leaders, states(fleet.text), is_new_revision=True))
    for _ in range(40 * (replicas + surge)):
        # Whatever is replaced: so many are ready, in all, as were promised; and no more exist than surge allows.
        assert sum(s in "on" for s in fleet.text) >= replicas - unavailable
        assert len(fleet.text) <= replicas + min(surge, replicas)
        waiting = [i for i, s in fleet.groups.items() if s in "wb"]
        if waiting:
            fleet.ready(order.choice(waiting))
        before = fleet.leaders.partition
        plan = compute_leaders(wanted, fleet.leaders, states(fleet.text), is_new_revision=False)
        assert plan.partition <= max(before, partition)
        fleet.apply(plan)
    assert fleet.text[:replicas] == "o" * min(partition, replicas) + "n" * max(0, replicas - partition)
    if partition == 0:
        assert len(fleet.text) == replicas
