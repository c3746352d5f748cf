"""Controllers are killed at any call or await: what they keep ends as without the kill, and nothing that is promised is
broken on the way. A few places at random here; all of them in the soak."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from chaos import adapters, services, workloads
from chaos.kill import Kill
from chaos.trial import Bench, Outcome, Scenario, differences, run

SCENARIOS: Sequence[Scenario] = (*services.SCENARIOS, *adapters.SCENARIOS, *workloads.SCENARIOS)
AT_ONCE = 4
QUICK = (
    "scale down", "rolling", "edited midway", "prefill and decode", "gang", "canary by route", "orphaned",
    "adapter version", "deployment edited", "stateful set goes back", "job", "resource claims",
)  # fmt: skip
"""Those that are looked at each time: what they do covers what the others do."""


def of(scenarios: Sequence[Scenario]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scenario", scenarios, ids=lambda s: s.name.replace(" ", "-"))


async def outcomes_of(bench: Bench, scenario: Scenario, kills: Sequence[Kill]) -> list[Outcome]:
    """Of the scenario with each kill, all compared with the first."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(kill: Kill) -> Outcome:
        async with room:
            return await run(bench, scenario, kill)

    outcomes = list(await asyncio.gather(*map(one, kills)))
    for outcome in outcomes[1:]:
        found = differences(outcomes[0].form, outcome.form)
        outcome.violations += [f"it ended otherwise: {line}" for line in found]
    return outcomes


def told(outcomes: Sequence[Outcome], seed: int) -> str:
    return "\n".join([f"seed {seed}", *(str(o) for o in outcomes if o.violations)])


@of([s for s in SCENARIOS if s.name in QUICK])
async def test_a_kill_changes_nothing(bench: Bench, scenario: Scenario) -> None:
    seed = random.randrange(1_000_000)
    draw = random.Random(seed)
    kills = [Kill(when, draw.randint(1, scenario.calls), draw.randrange(1000)) for when in ("before", "after")]
    outcomes = await outcomes_of(bench, scenario, [Kill(), *kills])
    assert not any(o.violations for o in outcomes), told(outcomes, seed)
    assert any(o.killed for o in outcomes), f"seed {seed}: no kill was reached; {len(outcomes[0].calls)} calls"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@of(SCENARIOS)
async def test_no_kill_changes_anything(bench: Bench, scenario: Scenario) -> None:
    (whole,) = await outcomes_of(bench, scenario, [Kill()])
    seed = random.randrange(1, 1_000_000)
    places = [(when, at) for when in ("before", "after") for at in range(1, len(whole.calls) + 1)]
    kills = [Kill(when, at, order) for when, at in places for order in (0, seed)]
    kills += [Kill("suspended", at) for at in range(1, whole.suspensions + 1)]
    outcomes = await outcomes_of(bench, scenario, [Kill(), *kills])
    killed, wrong = sum(o.killed for o in outcomes), [o for o in outcomes if o.violations]
    print(f"{scenario.name}: {len(whole.calls)} calls, {killed} of {len(kills)} kills reached, {len(wrong)} violations")
    assert not wrong, told(wrong, seed)
