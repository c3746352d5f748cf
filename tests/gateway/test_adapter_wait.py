"""Requests for an adapter that no engine has: they wait until one has, are answered with the reason after a while, and
whoever loads adapters hears of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from fairlead.clock import SYSTEM
from fairlead.gateway.adapter_wait import MAX_WAITING, AdapterWait
from fairlead.gateway.assembly import Assembly
from fairlead.gateway.endpoints import Endpoint, Pool, Rewrite
from fairlead.gateway.plan import PoolSettings, plan_of
from fairlead.gateway.route import RequestHead, Route
from patience import PATIENCE_S

CHAT = "/v1/chat/completions"


def pool(*loaded, **more):
    """A pool of which each engine says which adapters it has; None = it says nothing."""
    engines = tuple(
        Endpoint(f"10.0.0.{n}:80", adapters=None if names is None else frozenset(names))
        for n, names in enumerate(loaded, start=1)
    )
    return Pool("ns/p", ("base",), engines, adapters=("sql", "fr"), **more)


def asked(parts, model="sql"):
    found = []
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}).encode()
    return found, parts.director.route(RequestHead("POST", CHAT, {}), body, found.append)


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def gateway(*loaded):
    parts = Assembly()
    parts.registry.set_pool(pool(*loaded))
    wanted = []
    parts.director.adapters.wanted = lambda key, adapter: wanted.append((key, adapter))
    return parts, wanted


async def test_only_engines_that_have_the_adapter_get_its_requests():
    parts, wanted = gateway((), ("sql",), ("fr",), ())
    for _ in range(20):
        (route,), held = asked(parts)
        assert held is None
        assert route.pick.address == "10.0.0.2:80"
        assert route.pick.fallbacks == ()
    assert len({asked(parts, "base")[0][0].pick.address for _ in range(20)}) > 1
    assert wanted == []


async def test_where_pods_say_nothing_any_may_have_it():
    parts, wanted = gateway(None, None)
    assert {asked(parts)[0][0].pick.address for _ in range(20)} == {"10.0.0.1:80", "10.0.0.2:80"}
    assert wanted == []


async def test_a_request_waits_until_an_engine_has_its_adapter():
    parts, wanted = gateway((), ())
    found, held = asked(parts)
    second, _ = asked(parts)
    other, _ = asked(parts, "fr")
    assert held is not None
    assert (found, second, other) == ([], [], [])
    assert wanted == [("ns/p", "sql"), ("ns/p", "fr")]
    assert parts.director.adapters.waiting("ns/p") == {"sql": 2, "fr": 1}
    parts.registry.set_pool(pool((), ("sql",)))
    assert [type(f[0]) for f in (found, second)] == [Route, Route]
    assert {f[0].pick.address for f in (found, second)} == {"10.0.0.2:80"}
    assert other == []
    parts.registry.remove_pool("ns/p")
    assert other[0].status == 503
    assert len(parts.director.adapters) == 0


async def test_one_whose_version_has_gone_meanwhile_goes_on_with_the_one_that_serves():
    def rule(version):
        return (Rewrite(("sql",), ((version, 1),), "ns/adapter-sql"),)

    parts, wanted = gateway(())
    parts.registry.set_pool(replace(pool(()), adapters=("sql~1",), rewrites=rule("sql~1")))
    found, _ = asked(parts)
    assert found == []
    # The queue of a full pool, say: it is its turn only when the version it was meant for is unloaded.
    parts.registry.set_pool(replace(pool(("sql~2",)), adapters=("sql~2",), rewrites=rule("sql~2")))
    waiting = next(iter(parts.director.adapters._parked["ns/p"]))
    waiting.abandon()
    waiting.go("")
    assert json.loads(found[0].body)["model"] == "sql~2"
    assert wanted == [("ns/p", "sql~1")]


async def test_who_leaves_waits_no_more():
    parts, _ = gateway(())
    found, held = asked(parts)
    held.abandon()
    assert len(parts.director.adapters) == 0
    parts.registry.set_pool(pool(("sql",)))
    assert found == []


async def test_it_is_asked_again_and_refused_in_the_end():
    wanted, ends = [], []
    wait = AdapterWait(SYSTEM, wait_s=0.15, ask_again_s=0.02)
    wait.wanted = lambda *what: wanted.append(what)
    ended = asyncio.Event()
    wait.park("ns/p", "sql", lambda refusal: (ends.append(refusal), ended.set()))
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    assert ends == ["No engine has loaded the adapter `sql` within 0 s."]
    assert len(wanted) > 1
    assert len(wait) == 0


async def test_no_more_wait_than_there_is_room_for():
    wait = AdapterWait()
    parked = [wait.park("ns/p", "sql", lambda _: None) for _ in range(MAX_WAITING)]
    assert wait.park("ns/p", "sql", lambda _: None) is None
    parked[0].abandon()
    parked[0].abandon()
    assert wait.park("ns/p", "sql", lambda _: None) is not None


async def test_one_that_waits_and_leaves_in_the_middle_of_the_others_turns_is_not_called():
    wait, ends = AdapterWait(), []
    second = None

    def first_goes(refusal):
        ends.append("first")
        second.abandon()

    wait.park("ns/p", "sql", first_goes)
    second = wait.park("ns/p", "sql", lambda _: ends.append("second"))
    wait.changed("ns/p", plan_of(pool(("sql",)), PoolSettings()))
    assert ends == ["first"]


async def test_a_request_that_waited_in_vain_is_told_which_adapter_is_missing():
    parts, _ = gateway(())
    parts.director.adapters = AdapterWait(SYSTEM, wait_s=0.0, ask_again_s=0.01)
    found, _ = asked(parts)
    await until(lambda: found)
    error = json.loads(found[0].body)["error"]
    assert (found[0].status, error["code"]) == (503, "adapter_not_loaded")
    assert "`sql`" in error["message"]
