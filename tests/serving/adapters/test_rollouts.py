"""A new version of an adapter beside the old one, on real engines: promoted when it is as good, taken back when it is
worse, and no request without an engine that has its version."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

import aiohttp
import msgspec
import pytest

from fairlead.api.model_adapter import AdapterRollout
from fairlead.api.model_service import Analysis, CanaryStep, RolloutStatus
from fairlead.api.traffic_report import TRAFFIC_REPORTS, Moments, TrafficGroup, TrafficReport
from fairlead.gateway.assembly import Assembly
from fairlead.gateway.route import Completion, RequestHead, Route
from fairlead.gateway.sources.ask_adapters import AskForAdapters
from fairlead.gateway.sources.kube import KubeSource
from fairlead.kube.client import Client
from fairlead.serving.adapters.objects import REWRITES
from fairlead.serving.adapters.rollout import VersionFacts, version_step
from fairlead.serving.analysis.judge import Verdict
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("adapters")

ERRORS = [{"measure": "errorRate", "marginPercent": 10}]
QUICK = {
    "steps": [{"weight": 50}],
    "analysis": {"minRequests": 20, "warmUpRequests": 0, "criteria": ERRORS},
}


class Gateway:
    """A picker in this process that sends what it decides itself."""

    def __init__(self, site):
        self.parts = Assembly()
        self.source = KubeSource(Client(site.client.credentials), look_interval_s=0.05)
        self.asking = AskForAdapters(site.client)
        self.parts.director.adapters.wanted = self.asking.wanted
        self.answers = Counter()
        self.tasks = [asyncio.create_task(self.source.run(self.parts.registry))]

    async def ask(self, session, model):
        """The status and the name that answered."""
        loop = asyncio.get_running_loop()
        decided = loop.create_future()
        body = json.dumps({"model": model, "prompt": "x", "max_tokens": 3}).encode()
        head = RequestHead("POST", "/v1/completions", {})
        self.parts.director.route(head, body, lambda outcome: decided.done() or decided.set_result(outcome))
        outcome = await asyncio.wait_for(decided, PATIENCE_S)
        if not isinstance(outcome, Route):
            return outcome.status, json.loads(outcome.body)["error"]["message"]
        url = f"http://{outcome.pick.address}/v1/completions"
        headers = {"content-type": "application/json"}
        async with session.post(url, data=outcome.body or body, headers=headers) as answer:
            status, said = answer.status, await answer.json()
        self.parts.director.completed(Completion(outcome.pick_id, status, 0.01, served=outcome.pick.address))
        return status, said.get("model", str(said))

    async def flow(self, models, clients=12):
        """Requests without a pause until cancelled."""
        async with aiohttp.ClientSession() as session:

            async def client(number):
                names = random.Random(number)
                while True:
                    answer = await self.ask(session, names.choice(models))
                    self.answers[answer] += 1
                    await asyncio.sleep(0.005)

            await asyncio.gather(*(client(n) for n in range(clients)))

    def start(self, models):
        self.tasks.append(asyncio.create_task(self.flow(models)))

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.asking.close()


@pytest.fixture
async def gateway(site):
    one = Gateway(site)
    yield one
    await one.stop()


async def report(site, groups, number):
    """As a picker writes it, for what the pool asks now."""
    asked = (await site.pool()).get("fairlead.dev/report-traffic", "")
    made = TrafficReport(metadata={"name": "svc.test", "namespace": "default"}, pool="svc", picker="test", asked=asked)
    made.groups = groups(number)
    await site.client.apply(TRAFFIC_REPORTS, msgspec.to_builtins(made), force=True)


def sums(n):
    return Moments(n, 0.0, 0.0, 0.0, 0.0, 0.0)


def seen(old, new, errors):
    """Sums that grow: a share of the new version's requests fails."""

    def groups(number):
        n = 20 * number
        return [
            TrafficGroup("r1", old, "e1", 0, n, 0, sums(n), sums(n), sums(n)),
            TrafficGroup("r1", new, "e1", 0, n, int(n * errors), sums(n), sums(n), sums(n)),
        ]

    return groups


async def versions(site, name):
    status = (await site.get(name))["status"]
    return status["version"], status["updateVersion"]


async def roll(site, errors, reason):
    """A changed source on trial, with reports until it is decided."""
    await site.service()
    await site.engine("e1", 3)
    await site.adapter("sql", rollout=QUICK)
    await site.until_condition("sql", "RolledOut", "Complete")
    await site.until_condition("sql", "Ready", "Serving")
    first, _ = await versions(site, "sql")
    await site.change("sql", source=site.adapter_folder("sql-2"))

    async def is_on_trial():
        return (await site.get("sql"))["status"].get("rollout", {}).get("weight") == 50

    await site.until(is_on_trial)
    _, second = await versions(site, "sql")
    old, new = f"sql~{first[:8]}", f"sql~{second[:8]}"
    rules = (await site.client.get(REWRITES, "adapter-sql", "default"))["spec"]["rules"]
    assert rules[0]["targets"] == [{"modelRewrite": old, "weight": 50}, {"modelRewrite": new, "weight": 50}]
    assert await site.listed("e1") == sorted([old, new])
    for number in range(1, 200):
        await report(site, seen(old, new, errors), number)
        if (await site.condition("sql", "RolledOut"))[1] == reason:
            break
        await asyncio.sleep(0.2)
    await site.until_condition("sql", "RolledOut", reason)
    return old, new


async def _serves_alone(site, name):
    rules = (await site.client.get(REWRITES, "adapter-sql", "default"))["spec"]["rules"]
    return await site.listed("e1") == [name] and rules[0]["targets"] == [{"modelRewrite": name, "weight": 100}]


async def test_a_version_that_is_as_good_is_promoted(site):
    old, new = await roll(site, 0.0, "Complete")
    await site.until(lambda: _serves_alone(site, new))
    assert (await site.get("sql"))["status"]["version"].startswith(new.partition("~")[2])
    # And back again: the source of before is a change like any other.
    await site.change("sql", source=site.adapter_folder("sql"), rollout={"paused": True})
    await site.until_condition("sql", "RolledOut", "Paused")
    assert old != new


async def test_a_version_that_fails_is_taken_back(site):
    old, new = await roll(site, 0.6, "Rejected")
    await site.until(lambda: _serves_alone(site, old))
    status = (await site.get("sql"))["status"]
    assert status["rejectedVersion"].startswith(new.partition("~")[2])
    assert "errors" in (await site.condition("sql", "RolledOut"))[2]
    # It is not tried again by itself, and can be after the source of the other was wanted in between.
    await asyncio.sleep(1.5)
    assert await site.listed("e1") == [old]
    await site.change("sql", source=site.adapter_folder("sql"))
    await site.until_condition("sql", "RolledOut", "Complete")
    assert "rejectedVersion" not in (await site.get("sql"))["status"]


async def test_a_version_that_does_not_fit_leaves_the_one_that_serves(site):
    await site.service()
    await site.engine("e1", 3)
    await site.adapter("sql")
    await site.until_condition("sql", "Ready", "Serving")
    await site.change("sql", source=site.adapter_folder("big", r=64))
    await site.until_condition("sql", "RolledOut", "Stuck")
    assert "rank is 64" in (await site.condition("sql", "RolledOut"))[2]
    assert (await site.condition("sql"))[:2] == ("True", "Serving")


async def test_many_adapters_on_few_slots_with_traffic_and_a_restart(site, gateway):
    """Five adapters, three slots: they take turns, requests wait for theirs, and none is told that it is unknown."""
    await site.service(adapters={"slots": 1})
    for name in ("e1", "e2", "e3"):
        await site.engine(name, 1)
    names = [f"a{n}" for n in range(5)]
    for name in names:
        await site.adapter(name, placement={"minReplicas": 0})
    for name in names:
        await site.until_condition(name, "RolledOut", "Complete")
    gateway.start([*names, "base"])
    await site.until(lambda: sum(gateway.answers.values()) > 50, 60)
    await site.ready("e2", value="False")
    await site.kill("e2")
    await site.start("e2", 1)
    await site.ready("e2", restarts=1)

    def all_answered():
        return {model.partition("~")[0] for _, model in gateway.answers} >= {*names, "base"}

    await site.until(all_answered, 60)
    assert {status for status, _ in gateway.answers} == {200}, gateway.answers


async def test_a_rollout_under_traffic_loses_nothing(site, gateway):
    await site.service()
    await site.engine("e1", 2)
    await site.engine("e2", 2)
    await site.adapter("sql", rollout={**QUICK, "steps": [{"weight": 30}]})
    await site.until_condition("sql", "Ready", "Serving")
    first, _ = await versions(site, "sql")
    gateway.start(["sql"])
    await site.until(lambda: sum(gateway.answers.values()) > 50, 30)
    await site.change("sql", source=site.adapter_folder("sql-2"))

    async def has_two():
        return len(gateway.answers) > 1

    await site.until(has_two, 30)
    _, second = await versions(site, "sql")
    old, new = f"sql~{first[:8]}", f"sql~{second[:8]}"
    for number in range(1, 300):
        await report(site, seen(old, new, 0.0), number)
        if (await versions(site, "sql"))[0] == second:
            break
        await asyncio.sleep(0.2)

    async def is_only_new():
        return await site.listed("e1") + await site.listed("e2") in ([new], [new, new])

    await site.until(is_only_new, 30)
    before = sum(gateway.answers.values())
    await site.until(lambda: sum(gateway.answers.values()) > before + 50, 30)
    assert set(gateway.answers) == {(200, old), (200, new)}, gateway.answers


# The step itself


def facts(**more):
    return VersionFacts(**{
        "wanted": "new", "stable": "old", "rejected": "", "status": None, "status_version": "new", "stable_copies": 2,
        "new_copies": 0, **more,
    })  # fmt: skip


def test_the_first_version_serves_at_once():
    step = version_step(AdapterRollout(), facts(stable=""), None, 1e9)
    assert (step.stable, step.weight, step.copies) == ("new", 0, 0)


def test_it_gets_its_share_only_where_it_is_loaded_and_all_copies_before_all_requests():
    rollout = AdapterRollout(steps=[CanaryStep(50)], analysis=Analysis(min_requests=1))
    step = version_step(rollout, facts(), None, 1e9)
    assert (step.stable, step.weight, step.copies, step.status.phase) == ("old", 0, 1, "Progressing")
    step = version_step(rollout, facts(new_copies=1, status=step.status), None, 1e9)
    assert (step.weight, step.copies) == (50, 1)
    assert step.asked
    good = Verdict("AsGood", (), "as good", step_requests=100)
    step = version_step(rollout, facts(new_copies=1, status=step.status), good, 1e9 + 10)
    assert (step.status.phase, step.stable, step.copies) == ("Promoting", "old", 2)
    step = version_step(rollout, facts(new_copies=2, status=step.status), good, 1e9 + 11)
    assert (step.status.phase, step.stable, step.weight) == ("Stable", "new", 0)


def test_one_that_nobody_uses_gives_way_without_a_comparison():
    step = version_step(AdapterRollout(), facts(stable_copies=0, is_kept=False), None, 1e9)
    assert step.status.phase == "Promoting"


def test_what_serves_again_is_forgotten_to_be_rejected():
    status = RolloutStatus("Reverted")
    step = version_step(AdapterRollout(), facts(wanted="old", rejected="new", status=status), None, 1e9)
    assert (step.stable, step.rejected, step.weight) == ("old", "", 0)
    step = version_step(AdapterRollout(), facts(rejected="new", status=status), None, 1e9)
    assert (step.stable, step.rejected, step.copies, step.status.phase) == ("old", "new", 0, "Reverted")
