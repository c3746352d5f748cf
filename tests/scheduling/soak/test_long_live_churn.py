"""Real processes under churn for minutes (`make test-soak`): FAIRLEAD_SOAK_MINUTES."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from scheduling.chaos.live import Live

MINUTES = float(os.environ.get("FAIRLEAD_SOAK_MINUTES", "5"))

pytestmark = [pytest.mark.soak, pytest.mark.timeout(MINUTES * 60 + 300)]


async def test_nothing_is_given_out_twice_or_left_behind_in_minutes(tmp_path: Path) -> None:
    live = Live(tmp_path, seed=int(time.time()))
    watch = await live.run(MINUTES * 60)
    print(f"seed {live.seed}: {live.counts}, {dict(watch.counts)}")
    assert watch.counts["pods bound"] > 20 * MINUTES
