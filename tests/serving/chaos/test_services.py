"""Services whose controller is killed: they end as without the kill, and nothing that is promised is broken on the
way."""

from __future__ import annotations

import random

import pytest

from chaos.kill import Kill
from chaos.trial import Bench, run, run_all
from serving.chaos.services import SCENARIOS, ServiceScenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name.replace(" ", "-"))
async def test_a_kill_changes_nothing(bench: Bench, scenario: ServiceScenario) -> None:
    whole = await run(bench, scenario, Kill())
    assert not whole.violations, str(whole)
    seed = random.randrange(10_000)
    draw = random.Random(seed)
    places = [
        Kill(when, at, draw.randrange(1000)) for when in ("before", "after") for at in range(1, len(whole.calls) + 1)
    ]
    kills = draw.sample(places, min(4, len(places)))
    outcomes = await run_all(bench, scenario, kills, whole.form)
    print(*((str(o.kill), o.killed, f"{o.seconds:.1f}") for o in (whole, *outcomes)))
    wrong = [str(o) for o in outcomes if o.violations]
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong)
