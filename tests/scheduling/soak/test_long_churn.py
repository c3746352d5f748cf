"""The churn of `scheduling/chaos` for minutes (`make test-soak`): FAIRLEAD_SOAK_MINUTES, one story after the other."""

from __future__ import annotations

import os
import time

import pytest

from fairlead.scheduling.settings import Settings
from scheduling.chaos.churn import Churn
from scheduling.chaos.cluster import Profile

MINUTES = float(os.environ.get("FAIRLEAD_SOAK_MINUTES", "5"))
STEPS = 10_000

pytestmark = [pytest.mark.soak, pytest.mark.timeout(MINUTES * 60 + 300)]


def test_no_rule_is_broken_for_minutes() -> None:
    end_s, seed = time.monotonic() + MINUTES * 60, int(time.time())
    while time.monotonic() < end_s:
        size = (3, 6, 12)[seed % 3]
        profile = Profile(nodes=size, pods=size * 7, devices=seed % 5 > 0, queues=seed % 4 > 0)
        churn = Churn(seed, profile, Settings(mode="upstream" if seed % 7 == 0 else "best"))
        for start in range(0, STEPS, 500):
            churn.run(range(start, start + 500))
            if time.monotonic() >= end_s:
                break
        churn.end()
        print(f"seed {seed}: {dict(churn.counts)}")
        seed += 1
