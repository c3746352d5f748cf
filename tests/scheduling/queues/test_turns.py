"""Two queues that each want the whole cluster at once take turns, if the past counts."""

from __future__ import annotations

import pytest

from fairlead.scheduling.queues.rights import Rights
from fairlead.scheduling.queues.shares import fair_shares
from fairlead.scheduling.queues.tree import QueueTree
from fairlead.scheduling.queues.usage import DecayedUsage, Holdings
from scheduling.queues.queue_objects import GPU, queue, running


@pytest.mark.parametrize(("half_life_s", "takes_turns"), [(600.0, True), (0.0, False)])
def test_whole_cluster_gangs_take_turns(half_life_s: float, takes_turns: bool) -> None:
    tree = QueueTree([queue(name, half_life_s=half_life_s, reclaim_min_runtime_s=300.0) for name in "ab"])
    gangs = {name: running(name, name, 16) for name in "ab"}
    holdings = Holdings(tree, [gangs["a"]])
    usage = DecayedUsage(0.0)
    turns = {"a": 0, "b": 0}
    holder, changes = "a", 0
    for now_s in range(60, 100_000, 60):
        usage.advance(tree, holdings, {GPU: 16}, float(now_s))
        turns[holder] += 1
        other = "b" if holder == "a" else "a"
        shares = fair_shares(tree, {GPU: 16}, {"a": {GPU: 16}, "b": {GPU: 16}}, usage.values)
        rights = Rights(tree, shares, holdings)
        if rights.may_reclaim(other, {GPU: 16}, gangs[holder], float(now_s)).is_allowed:
            holdings.drop(holder)
            gangs[other] = running(other, other, 16, started_s=float(now_s))
            holdings.put(gangs[other])
            holder, changes = other, changes + 1
    assert (changes > 2) == takes_turns
    if takes_turns:
        assert turns["a"] / turns["b"] == pytest.approx(1.0, abs=0.1)
