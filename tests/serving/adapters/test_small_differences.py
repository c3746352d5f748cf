"""A new version of an adapter whose answers are 3 % shorter, or whose tokens take 3 % longer, is taken back, and one
that is as good passes: the controller on an API server, with reports as pickers write them, at the default margins."""

from __future__ import annotations

import asyncio
import math
from random import Random

import msgspec
import pytest

from fairlead.api.traffic_report import TRAFFIC_REPORTS, Moments, TrafficGroup, TrafficReport

ROLLOUT = {
    "steps": [{"weight": 50}],
    "analysis": {"criteria": [{"measure": m} for m in ("itl", "outputLength")], "warmUpRequests": 0},
}


class Version:
    """Sums of one version's requests at one engine, which grow."""

    def __init__(self, name, draw, *, slower=1.0, longer=1.0):
        self.group = TrafficGroup("r1", name, "e1")
        self.draw, self.slower, self.longer = draw, slower, longer

    def serves(self, requests):
        draw, group = self.draw, self.group
        lengths = [(x, 0.2 * x + draw.gauss(4.0, 0.1) + math.log(self.longer)) for x in draw_many(draw, requests)]
        times = [(x, 0.3 * x + draw.gauss(-4.0, 0.1) + math.log(self.slower)) for x in draw_many(draw, requests)]
        self.group = msgspec.structs.replace(
            group, requests=group.requests + requests, itl=grown(group.itl, times),
            output_length=grown(group.output_length, lengths),
        )  # fmt: skip


def draw_many(draw, count):
    return [draw.gauss(2.0, 0.5) for _ in range(count)]


def grown(before, pairs):
    return Moments(
        before.n + len(pairs),
        before.x + sum(x for x, _ in pairs),
        before.y + sum(y for _, y in pairs),
        before.xx + sum(x * x for x, _ in pairs),
        before.xy + sum(x * y for x, y in pairs),
        before.yy + sum(y * y for _, y in pairs),
    )


async def _report(site, *versions):
    asked = (await site.pool()).get("fairlead.dev/report-traffic", "")
    made = TrafficReport(metadata={"name": "svc.test", "namespace": "default"}, pool="svc", picker="test", asked=asked)
    made.groups = [v.group for v in versions]
    await site.client.apply(TRAFFIC_REPORTS, msgspec.to_builtins(made), force=True)


@pytest.mark.parametrize(
    ("differs", "reason", "says"),
    [({"longer": 0.97}, "Rejected", "length"), ({"slower": 1.03}, "Rejected", "ITL"), ({}, "Complete", "")],
)  # fmt: skip
async def test_three_percent_are_told(site, differs, reason, says):
    await site.service()
    await site.engine("e1", 3)
    await site.adapter("sql", rollout=ROLLOUT)
    await site.until_condition("sql", "RolledOut", "Complete")
    await site.until_condition("sql", "Ready", "Serving")
    await site.change("sql", source=site.adapter_folder("sql-2"))

    async def is_on_trial():
        return (await site.get("sql"))["status"].get("rollout", {}).get("weight") == 50

    await site.until(is_on_trial)
    status = (await site.get("sql"))["status"]
    draw = Random(5)
    old = Version(f"sql~{status['version'][:8]}", draw)
    new = Version(f"sql~{status['updateVersion'][:8]}", draw, **differs)
    for _ in range(400):
        old.serves(150)
        new.serves(150)
        await _report(site, old, new)
        if (await site.condition("sql", "RolledOut"))[1] == reason:
            break
        await asyncio.sleep(0.2)
    await site.until_condition("sql", "RolledOut", reason)
    assert says in (await site.condition("sql", "RolledOut"))[2]
