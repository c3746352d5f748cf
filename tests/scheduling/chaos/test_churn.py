"""Random events into the planner: nothing is ever given out twice, no gang stands in part, and nothing is forgotten.

Every seed is a story of its own. One that goes wrong is told again, and made shorter, with

    PYTHONPATH=tests python -m scheduling.chaos.churn --seed SEED --steps STEPS --shrink
"""

from __future__ import annotations

import pytest

from fairlead.scheduling.settings import Settings
from scheduling.chaos.churn import Churn
from scheduling.chaos.cluster import Profile

STORIES = [
    (Profile(), Settings(), 1, 1000),
    (Profile(), Settings(mode="upstream"), 2, 1000),
    (Profile(nodes=3, pods=30), Settings(), 3, 1000),
    (Profile(nodes=10, pods=60), Settings(), 4, 1000),
    (Profile(devices=False), Settings(), 5, 1000),
    (Profile(devices=False, queues=False, nodes=4), Settings(), 6, 1000),
    (Profile(queues=False), Settings(), 7, 1000),
]


@pytest.mark.parametrize(("profile", "settings", "seed", "steps"), STORIES)
def test_no_rule_is_broken_whatever_happens(profile: Profile, settings: Settings, seed: int, steps: int) -> None:
    churn = Churn(seed, profile, settings)
    churn.run(range(steps))
    churn.end()
    # A story in which nothing happens proves nothing.
    assert churn.counts["pods placed"] > steps / 20
    assert churn.counts["Cleared"] and churn.writes.evicted and churn.writes.bound
    assert churn.counts["rests"] == steps // 150 + 1
