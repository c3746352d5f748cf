"""Adapters on real simulated engines through a real API server: loaded, said, moved, brought back, and unloaded."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.api.model_adapter import MODEL_ADAPTERS
from fairlead.api.model_service import MODEL_SERVICES
from fairlead.clock import SYSTEM, format_time
from fairlead.kube.errors import NotFound
from fairlead.serving.adapters.objects import REWRITES

from .conftest import RAW_PODS

pytestmark = pytest.mark.xdist_group("adapters")


async def shadow(site, name):
    status = (await site.get(name))["status"]
    return f"{status['servedName']}~{status['version'][:8]}"


async def test_an_adapter_is_loaded_said_and_led_to(site):
    await site.service()
    await site.engine("e1")
    await site.engine("e2")
    await site.adapter("sql")
    await site.until_condition("sql", "Loaded", "AsWanted")
    await site.until_condition("sql", "Ready", "Serving")
    name = await shadow(site, "sql")
    assert sorted(await site.listed("e1") + await site.listed("e2")) == [name]
    assert sorted(await site.said("e1") + await site.said("e2")) == [name]
    pool = await site.pool()
    assert (pool["fairlead.dev/adapters"], pool["fairlead.dev/adapter-placement"]) == (name, "pods")
    rules = (await site.client.get(REWRITES, "adapter-sql", "default"))["spec"]["rules"]
    assert rules[0]["targets"] == [{"modelRewrite": name, "weight": 100}]
    status = (await site.get("sql"))["status"]
    assert (status["desired"], status["loaded"], len(status["engines"])) == (1, 1, 1)
    # More engines are to have it.
    await site.change("sql", placement={"minReplicas": 2})
    await site.until(lambda: _both(site, [name]))
    # And it goes with its object.
    await site.client.delete(MODEL_ADAPTERS, "sql", "default")
    await site.until(lambda: _both(site, []))
    await site.until(lambda: _gone(site, "sql"))
    assert "fairlead.dev/adapters" not in await site.pool()
    assert await site.said("e1") == []


async def _both(site, names):
    return [await site.listed("e1"), await site.listed("e2")] == [names, names]


async def _gone(site, name):
    try:
        await site.get(name)
    except NotFound:
        return True
    return False


async def test_an_engine_that_starts_again_gets_its_adapters_back(site):
    await site.service()
    await site.engine("e1")
    await site.adapter("sql")
    await site.until_condition("sql", "Loaded", "AsWanted")
    name = await shadow(site, "sql")
    await site.kill("e1")
    await site.start("e1")
    assert await site.listed("e1") == []
    await site.ready("e1", restarts=1)

    async def is_back():
        return await site.listed("e1") == [name]

    await site.until(is_back)

    async def is_said():
        pod = await site.client.get(RAW_PODS, "e1", "default")
        return pod["metadata"]["annotations"]["fairlead.dev/adapter-starts"] == "1"

    await site.until(is_said)


async def test_another_controller_goes_on_from_what_is_there(site):
    await site.service()
    # An engine answers to the name of its model's version too, which looks like that of an adapter's.
    await site.engine("e1", 3, "--served-model-name", "base~0123abcd")
    await site.adapter("sql")
    await site.until_condition("sql", "Loaded", "AsWanted")
    await site.until_said("e1", [await shadow(site, "sql")])
    await site.stop_controller()
    # What one left behind that was killed between a load and its word.
    async with aiohttp.ClientSession() as session:
        url = f"http://{site.addresses['e1']}:8000/v1/load_lora_adapter"
        body = {"lora_name": "old~0123abcd", "lora_path": site.adapter_folder("old")}
        async with session.post(url, json=body) as answer:
            assert answer.status == 200
    await site.adapter("fr")
    await site.start_controller()
    await site.until_condition("fr", "Loaded", "AsWanted")
    names = sorted([await shadow(site, "sql"), await shadow(site, "fr")])

    async def settled():
        return await site.listed("e1") == names == await site.said("e1")

    await site.until(settled)


UNFIT = {
    "rank": ({}, {"r": 64}, "RankTooHigh", "its rank is 64 and the service's engines have room for 16"),
    "wrong": ({"baseModel": "org/other"}, {}, "OtherBaseModel", "trained on org/base"),
    "other": ({}, {"base_model_name_or_path": "org/other"}, "OtherBaseModel", "spec.baseModel: org/other"),
    "kind": ({}, {"peft_type": "IA3"}, "NotLora", "peft_type IA3"),
    "taken": ({"name": "base"}, {}, "NameTaken", "is the name of a model of default/svc"),
    "lone": ({"service": "none"}, {}, "NoService", "there is no ModelService none"),
}


async def test_what_does_not_fit_is_not_loaded_and_told(site):
    await site.service()
    await site.engine("e1")
    for name, (spec, config, _, _) in UNFIT.items():
        await site.adapter(name, site.adapter_folder(name, **config), **spec)
    for name, (_, _, reason, words) in UNFIT.items():
        await site.until_condition(name, "Ready", reason)
        assert words in (await site.condition(name))[2]
    assert await site.listed("e1") == []


async def test_a_source_that_is_not_there_is_told_in_the_engines_words_and_tried_again(site):
    await site.service()
    await site.engine("e1")
    source = site.folder / "late"
    await site.adapter("late", str(source))
    await site.until_condition("late", "Loaded", "LoadFailed")
    assert "No adapter found" in (await site.condition("late", "Loaded"))[2]
    site.adapter_folder("late")
    await site.until_condition("late", "Ready", "Serving")


async def test_services_without_adapters_and_slots_that_are_full_are_told(site):
    await site.service()
    await site.engine("e1", 1)
    await site.adapter("a")
    await site.until_condition("a", "Loaded", "AsWanted")
    await site.adapter("b")
    await site.until_condition("b", "Loaded", "NoSlot")
    assert "raise spec.adapters.slots" in (await site.condition("b", "Loaded"))[2]
    await site.client.patch(MODEL_SERVICES, "svc", {"spec": {"adapters": None}}, "default")
    await site.until_condition("a", "Ready", "AdaptersOff")


async def test_one_that_nobody_asks_for_is_loaded_when_somebody_does(site):
    await site.service()
    await site.engine("e1")
    await site.adapter("rare", placement={"minReplicas": 0, "idleSeconds": 3})
    await site.until_condition("rare", "Ready", "OnDemand")
    name = await shadow(site, "rare")
    assert await site.listed("e1") == []
    asked = f'{{"{name}": "{format_time(SYSTEM.wall_s())}"}}'
    change = {"metadata": {"annotations": {"fairlead.dev/adapters-asked": asked}}}
    await site.client.patch(INFERENCE_POOLS, "svc", change, "default")
    await site.until_condition("rare", "Ready", "Serving")
    assert await site.listed("e1") == [name]
    await site.until_condition("rare", "Ready", "OnDemand", 30)

    async def is_unloaded():
        return await site.listed("e1") == []

    await site.until(is_unloaded)


async def test_engines_of_another_revision_have_theirs_before_the_old_ones_leave(site):
    await site.service()
    await site.engine("old")
    await site.adapter("sql")
    await site.until_condition("sql", "Loaded", "AsWanted")
    name = await shadow(site, "sql")
    await site.engine("new", revision="r2")

    async def has(engine, names):
        return await site.listed(engine) == names == await site.said(engine)

    await site.until(lambda: has("new", [name]))
    assert await site.listed("old") == [name]
    draining = {"metadata": {"annotations": {"fairlead.dev/draining": "2026-01-01T00:00:00Z"}}}
    await site.client.patch(RAW_PODS, "old", draining, "default")
    await asyncio.sleep(0.5)
    assert await site.listed("old") == [name]
    await site.until_condition("sql", "Loaded", "AsWanted")
