"""A few seconds of real processes under churn, killed and stopped at random; minutes of it are in `scheduling/soak`."""

from __future__ import annotations

from pathlib import Path

from scheduling.chaos.live import Live


async def test_whatever_is_killed_nothing_is_given_out_twice_and_all_that_fits_is_placed(tmp_path: Path) -> None:
    live = Live(tmp_path, seed=11, nodes=4, pods=25, disturb_every_s=1.5)
    watch = await live.run(8.0)
    assert watch.counts["pods bound"] > 10
    assert sum(count for what, count in live.counts.items() if what.startswith("disturbed")) >= 1
