"""What the director keeps of a request, and that every one gets its one answer, whatever fails or goes away."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from random import Random

import pytest

from fairlead.engines import EngineSignals
from fairlead.gateway.assembly import Assembly
from fairlead.gateway.config.parameters import PrecisePrefixParameters
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.gateway.exact_prefixes import ExactPrefixes
from fairlead.gateway.flow import concurrency_detector
from fairlead.gateway.load import LOST_AFTER_S, SETTLE_S
from fairlead.gateway.pick import Profile
from fairlead.gateway.pick.defaults import default_profile
from fairlead.gateway.pick.profile import NamedScorer
from fairlead.gateway.plan import PoolSettings
from fairlead.gateway.route import Completion, RequestHead, Route
from patience import PATIENCE_S

CHAT = "/v1/chat/completions"
TEXT = "The quick brown fox jumps over the lazy dog. " * 400


def _assembly(*pools: Pool, settings: PoolSettings | None = None) -> Assembly:
    parts = Assembly(default=settings, random=Random(1))
    for pool in pools:
        parts.registry.set_pool(pool)
    return parts


def _pool(key="ns/tiny", models=("tiny",), addresses=("10.0.0.1:80",), roles=(), **more) -> Pool:
    roles = roles or ("both",) * len(addresses)
    endpoints = [Endpoint(a, f"ns/pod-{a}", role) for a, role in zip(addresses, roles, strict=True)]
    return Pool(key, models, tuple(endpoints), **more)


def _ask(parts: Assembly, model="tiny", text="hello", found=None, **more):
    found = [] if found is None else found
    head = RequestHead("POST", CHAT, {}, None, parts.clock.monotonic_s())
    assert parts.director.decide_on_headers(head) is None
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return found, parts.director.route(head, json.dumps(body).encode(), found.append)


def _running(parts: Assembly) -> int:
    return sum(series.running for series in parts.metrics.requests.all.values())


def _codes(parts: Assembly) -> int:
    return sum(sum(series.codes.values()) for series in parts.metrics.requests.all.values())


def _end(route: Route, **more) -> Completion:
    return Completion(route.pick_id, 200, 1.0, **more)


def test_the_end_of_a_request_counts_though_its_endpoint_has_left_the_pool():
    parts = _assembly(_pool())
    (route,), _ = _ask(parts)
    parts.registry.set_pool(_pool(addresses=("10.0.0.2:80",)))
    assert _running(parts) == 0
    parts.director.completed(_end(route, first_byte_s=0.5, last_byte_s=1.0, output_tokens=8))
    parts.director.completed(_end(route))
    assert (_running(parts), _codes(parts)) == (0, 1)
    assert [a.output_tokens.sum for a in parts.metrics.requests.all.values()] == [8]


def test_the_end_of_an_earlier_pods_request_is_nothing_of_the_pod_that_has_its_address_now():
    parts = _assembly(_pool())
    (old,), _ = _ask(parts, stream=True)
    parts.registry.set_pool(_pool(addresses=()))
    parts.registry.set_pool(_pool())
    _ask(parts)
    parts.director.completed(_end(old, first_byte_s=0.5, last_byte_s=1.0, output_tokens=8, connect_failed=True))
    load = parts.loads.of("10.0.0.1:80")
    assert load.reachable
    assert load.candidate.in_flight == 1
    assert load.candidate.speed is None
    assert not parts.recovery.outliers.is_suspect("10.0.0.1:80")


def test_a_request_that_its_engine_does_not_have_runs_no_more_but_its_end_counts():
    parts = _assembly(_pool())
    (route,), _ = _ask(parts)
    later_s = parts.clock.monotonic_s() + 2 * SETTLE_S
    parts.loads.scraped("10.0.0.1:80", EngineSignals(running_requests=0, waiting_requests=0), later_s, later_s)
    assert _running(parts) == 0
    parts.director.completed(_end(route))
    assert (_running(parts), _codes(parts)) == (0, 1)


def test_a_request_whose_end_is_never_reported_runs_no_more_in_the_end():
    parts = _assembly(_pool())
    _ask(parts)
    assert parts.loads.expire(parts.clock.monotonic_s() + LOST_AFTER_S + 1.0) == 1
    assert _running(parts) == 0


def test_the_prompt_and_the_client_of_a_request_that_was_routed_are_let_go():
    class Client(list):
        pass

    parts = _assembly(_pool())
    client = Client()
    _ask(parts, text=TEXT, found=client)
    route, gone = client[0], weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    asked = parts.loads.in_flight(route.pick_id).tag
    assert len(asked.body) + len(asked.request.prompt) == 0
    assert asked.blocks is None


def _failing(after: int = 0) -> PoolSettings:
    """A scorer that fails once `after` requests were scored."""
    scored = []

    def score(context):
        scored.append(1)
        if len(scored) > after:
            raise ZeroDivisionError
        return [0.0] * len(context.candidates)

    usual = default_profile()
    profile = Profile("failing", (), (NamedScorer("failing", score),), usual.picker)
    return PoolSettings(profile, detector=concurrency_detector(1))


def test_a_decision_that_fails_is_a_500_and_leaves_nothing_behind():
    parts = _assembly(_pool(), settings=_failing())
    (reply,), _ = _ask(parts)
    assert (reply.status, reply.reason) == (500, "internal_error")
    assert parts.loads.of("10.0.0.1:80").candidate.in_flight == _running(parts) == 0


def test_a_hook_that_fails_after_the_pick_does_not_leave_it_counted():
    def fail(asked, picked):
        raise ZeroDivisionError

    parts = _assembly(_pool())
    parts.watcher.on_picked = fail
    (reply,), _ = _ask(parts)
    assert reply.status == 500
    assert parts.loads.of("10.0.0.1:80").candidate.in_flight == _running(parts) == 0


async def test_those_that_wait_behind_a_decision_that_fails_are_answered_too():
    parts = _assembly(_pool(), settings=_failing(after=1))
    (first,), _ = _ask(parts)
    waiting = [_ask(parts)[0] for _ in range(3)]
    assert waiting == [[], [], []]
    parts.director.completed(_end(first))
    assert [[reply.status for reply in found] for found in waiting] == [[500]] * 3


async def test_ends_that_come_after_their_pool_has_gone_make_no_gate_and_no_series():
    parts = _assembly(_pool(), settings=PoolSettings(detector=concurrency_detector(1)))
    (route,), _ = _ask(parts)
    waiting, _ = _ask(parts)
    parts.registry.remove_pool("ns/tiny")
    assert waiting[0].status == 503
    parts.director.completed(_end(route, output_tokens=9))
    assert not list(parts.gates)
    assert not parts.metrics.flow.dropped
    assert not parts.metrics.flow.queued


def test_pods_are_known_by_name_to_decisions():
    parts = _assembly(_pool())
    assert parts.loads.of("10.0.0.1:80").candidate.pod == "ns/pod-10.0.0.1:80"


@pytest.fixture
async def split():
    """A pool that splits and follows cache events; its engines are nowhere."""
    settings = PoolSettings(remote_prefill_from_tokens=16, precise_prefix=PrecisePrefixParameters())
    parts = _assembly(
        _pool(addresses=("127.0.0.1:1", "127.0.0.1:2"), roles=("prefill", "decode"), runtime="vllm"), settings=settings
    )
    exact = parts.director.exact = ExactPrefixes(parts.plans, parts.prefixes)
    yield parts
    await parts.splitter.close()
    await exact.close()


async def test_a_request_with_exact_prefixes_is_answered_though_its_prefill_fails(split):
    found, held = _ask(split, text=TEXT)
    assert (found, held is None) == ([], False)
    async with asyncio.timeout(PATIENCE_S):
        while not found:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert isinstance(found[0], Route)


async def test_a_client_that_leaves_while_its_prompt_is_computed_is_counted_no_more(split):
    found, held = _ask(split, text=TEXT)
    held.abandon()
    await asyncio.sleep(0)
    assert found == []
    assert split.loads.of("127.0.0.1:2").candidate.in_flight == _running(split) == 0


async def test_a_prompt_that_is_computed_elsewhere_is_no_work_for_who_answers_nor_a_measure_of_it(split):
    found, _ = _ask(split, text=TEXT, stream=True)
    assert split.loads.of("127.0.0.1:2").candidate.prefill_backlog_tokens == 0
    async with asyncio.timeout(PATIENCE_S):
        while not found:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    split.director.completed(_end(found[0], first_byte_s=3.0))
    speed = split.loads.of("127.0.0.1:2").candidate.speed
    assert speed is None or speed.observations == 0


async def test_an_engine_that_cannot_compute_prompts_gets_none_when_no_other_is_left_that_can():
    parts = _assembly(_pool(roles=("decode",), runtime="sglang"))
    (reply,), _ = _ask(parts)
    assert (reply.status, reply.reason) == (503, "no_prefill_endpoints")
    assert parts.loads.of("10.0.0.1:80").candidate.in_flight == _running(parts) == 0


@pytest.mark.parametrize("prompt", [[2**40] * 40, [-5] * 40, [2**70] * 40, [[2**40] * 40] * 2])
async def test_tokens_that_no_engine_has_are_for_the_engine_to_refuse(prompt, split):
    split.registry.set_pool(_pool(addresses=("127.0.0.1:2",)))
    found = []
    head = RequestHead("POST", "/v1/completions", {}, None, split.clock.monotonic_s())
    split.director.decide_on_headers(head)
    split.director.route(head, json.dumps({"model": "tiny", "prompt": prompt}).encode(), found.append)
    assert isinstance(found[0], Route)


@pytest.mark.parametrize("counted", [10**300, -(10**300)])
def test_an_engine_that_counts_nonsense_does_not_shut_its_tenant_out(counted, monkeypatch):
    settled = []
    parts = _assembly(_pool())
    monkeypatch.setattr(parts.gates, "settle", lambda *charge: settled.append(charge[3]))
    (route,), _ = _ask(parts)
    parts.director.completed(_end(route, output_tokens=counted))
    assert abs(settled[0]) <= 1e6


async def test_a_path_that_names_a_model_waits_also_where_only_its_own_priority_has_to():
    parts = _assembly(_pool(objectives={"batch": -1}), settings=PoolSettings(detector=concurrency_detector(10)))
    for _ in range(9):
        assert isinstance(_ask(parts)[0][0], Route)
    head = RequestHead("POST", "/v2/models/tiny/infer", {"x-llm-d-inference-objective": "batch"})
    assert parts.director.decide_on_headers(head) is None
    assert parts.director.route(head, b"{}", print) is not None
    assert isinstance(parts.director.decide_on_headers(RequestHead("POST", "/v2/models/tiny/infer")), Route)
