"""What is kept of requests for comparing versions: whose they are, which count as failed, and what is known of them
beforehand."""

from __future__ import annotations

import json
import math
from random import Random

import msgspec
import pytest

from fairlead.api.traffic_report import WORK_TOKENS, Moments, TrafficGroup, TrafficReport, asked_for
from fairlead.clock import VirtualClock
from fairlead.gateway.assembly import Assembly
from fairlead.gateway.endpoints import Endpoint, Pool, Rewrite
from fairlead.gateway.membership import REVISION_LABEL
from fairlead.gateway.observe.traffic import MAX_GROUPS
from fairlead.gateway.route import Completion, RequestHead, Route
from fairlead.serving import names

STABLE, CANARY = "10.0.0.1:80", "10.0.0.2:80"


def _pool(key="ns/tiny", models=("tiny",), address=STABLE, revision="old", reports="a/0", **more):
    return Pool(key, models, (Endpoint(address, "ns/pod", labels={REVISION_LABEL: revision}),), reports=reports, **more)


def _assembly(*pools):
    parts = Assembly(random=Random(1), clock=VirtualClock())
    for pool in pools or (_pool(),):
        parts.registry.set_pool(pool)
    return parts


def _ask(parts, text="hello", **more) -> Route:
    found = []
    head = RequestHead("POST", "/v1/chat/completions", {}, None, parts.clock.monotonic_s())
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": True, **more}
    parts.director.decide_on_headers(head)
    parts.director.route(head, json.dumps(body).encode(), found.append)
    return found[0]


def _end(parts, route, code=200, **more):
    good = {"first_byte_s": 0.5, "last_byte_s": 2.5, "output_tokens": 11, "served": route.pick.address}
    parts.director.completed(Completion(route.pick_id, code, 3.0, **{**good, **more}))


def _groups(parts, key="ns/tiny"):
    return {(g.revision, g.model): g for g in parts.traffic.groups(parts.registry.pools[key])}


def test_a_request_is_its_engines_and_its_revisions():
    parts = _assembly()
    _end(parts, _ask(parts))
    (group,) = parts.traffic.groups(parts.registry.pools["ns/tiny"])
    assert (group.revision, group.model, group.endpoint) == ("old", "tiny", STABLE)
    assert (group.requests, group.errors, group.in_flight) == (1, 0, 0)
    assert (group.ttft.n, group.itl.n, group.output_length.n) == (1, 1, 1)
    assert group.ttft.y == pytest.approx(math.log(0.5))
    assert group.itl.y == pytest.approx(math.log(0.2))
    assert group.output_length.y == pytest.approx(math.log(12))
    assert group.itl.x == pytest.approx(math.log(1))


def test_shares_of_one_name_are_told_apart_by_pool_revision_and_model():
    rule = Rewrite(("tiny",), (("tiny", 1), ("tiny~new", 1)))
    parts = _assembly(_pool(rewrites=(rule,)), _pool("ns/tiny-canary", ("tiny~new",), CANARY, "new"))
    for _ in range(40):
        _end(parts, _ask(parts))
    stable, canary = _groups(parts), _groups(parts, "ns/tiny-canary")
    assert set(stable) == {("old", "tiny")}
    assert set(canary) == {("new", "tiny~new")}
    assert sum(g.requests for g in (*stable.values(), *canary.values())) == 40
    assert canary["new", "tiny~new"].requests > 10


def test_longer_prompts_are_more_work_and_cached_ones_less():
    parts = _assembly()
    works = []
    for text in ("short", "long " * 2000, "long " * 2000):
        before = _groups(parts).get(("old", "tiny"))
        _end(parts, _ask(parts, text))
        works.append(_groups(parts)["old", "tiny"].ttft.x - (before.ttft.x if before else 0.0))
    short, long, cached = works
    assert short == pytest.approx(math.log(WORK_TOKENS), abs=0.1)
    assert long > short + 1.5
    assert cached < short + 0.5


def test_what_is_before_a_request_is_its_work_too():
    parts = _assembly()
    first, second = _ask(parts, "a long one " * 2000), _ask(parts, "hello")
    _end(parts, second)
    assert _groups(parts)["old", "tiny"].ttft.x > math.log(WORK_TOKENS) + 1.5
    assert _groups(parts)["old", "tiny"].itl.x == pytest.approx(math.log(2))
    assert _groups(parts)["old", "tiny"].in_flight == 1
    _end(parts, first)
    assert _groups(parts)["old", "tiny"].in_flight == 0


@pytest.mark.parametrize(
    ("end", "counted"),
    [
        ({"code": 500}, (1, 1)),
        ({"code": 503}, (1, 1)),
        ({"code": 404}, (1, 1)),
        ({"code": 400}, (1, 0)),
        ({"code": 429}, (1, 0)),
        ({"code": 0, "first_byte_s": None}, (1, 1)),
        ({"died": True}, (1, 1)),
        ({"connect_failed": True, "attempts": 2, "served": "10.0.0.9:80"}, (1, 1)),
        ({"client_left": True}, (0, 0)),
        ({"code": 0, "client_left": True}, (0, 0)),
        ({"client_left": True, "died": True}, (1, 1)),
    ],
)  # fmt: skip
def test_what_counts_as_failed(end, counted):
    parts = _assembly()
    _end(parts, _ask(parts), **end)
    found = parts.traffic.groups(parts.registry.pools["ns/tiny"])
    assert (sum(g.requests for g in found), sum(g.errors for g in found)) == counted
    assert sum(g.ttft.n + g.itl.n + g.output_length.n for g in found) == 0


def test_answers_in_one_piece_tell_the_time_of_a_token_and_not_of_the_first():
    parts = _assembly()
    _end(parts, _ask(parts, stream=False))
    group = _groups(parts)["old", "tiny"]
    assert (group.ttft.n, group.itl.n) == (0, 1)
    assert group.itl.y == pytest.approx(math.log(2.5 / 11))


def test_the_first_answers_of_each_engine_do_not_count_but_its_failures_do():
    parts = _assembly(_pool(reports=asked_for("a", 2)))
    for code in (200, 500, 200, 200, 200):
        _end(parts, _ask(parts), code)
    group = _groups(parts)["old", "tiny"]
    assert (group.requests, group.errors, group.ttft.n) == (5, 1, 2)


def test_a_pool_that_does_not_ask_is_not_looked_at():
    parts = _assembly(_pool(reports=""))
    _end(parts, _ask(parts))
    assert parts.traffic.pools == {}


def test_only_what_was_sent_for_this_question_counts():
    parts = _assembly(_pool(reports=""))
    unasked = _ask(parts)
    parts.registry.set_pool(_pool(reports="a/0"))
    _end(parts, unasked)
    of_a = _ask(parts)
    parts.registry.set_pool(_pool(reports="b/0"))
    _end(parts, of_a)
    assert parts.traffic.groups(parts.registry.pools["ns/tiny"]) == []
    _end(parts, _ask(parts))
    assert _groups(parts)["old", "tiny"].requests == 1
    parts.registry.set_pool(_pool(reports=""))
    assert parts.traffic.pools == {}


def test_the_end_of_a_request_whose_engine_is_gone_counts_as_it_ended():
    parts = _assembly(_pool(), _pool("ns/tiny-canary", ("other",), CANARY, "new"))
    route = _ask(parts, model="other")
    parts.registry.set_pool(Pool("ns/tiny-canary", ("other",), (), reports=asked_for("a", 0)))
    _end(parts, route, code=0, first_byte_s=None, died=True)
    group = _groups(parts, "ns/tiny-canary")["new", "other"]
    assert (group.requests, group.errors) == (1, 1)


def test_gateway_and_serving_mean_the_same_label():
    assert REVISION_LABEL == names.REVISION_LABEL


async def test_an_engines_load_is_that_of_the_whole_time_of_a_request():
    """Alone for 6 s, with another for 2 s: 1.25 in the mean."""
    parts = _assembly()
    first = _ask(parts)
    await parts.clock.advance(6.0)
    second = _ask(parts, "a long one " * 2000)
    await parts.clock.advance(2.0)
    _end(parts, first)
    itl = _groups(parts)["old", "tiny"].itl
    assert itl.x == pytest.approx(math.log(1.25))
    # What the other was sent, and nothing of its own.
    assert itl.z == pytest.approx(5.5 / 8, rel=0.3)
    assert (itl.zz, itl.xz, itl.zy) == pytest.approx((itl.z**2, itl.x * itl.z, itl.z * itl.y))
    await parts.clock.advance(2.0)
    _end(parts, second)
    assert _groups(parts)["old", "tiny"].itl.x == pytest.approx(math.log(1.25) + math.log(1.5))


async def test_requests_from_before_a_pool_asked_are_part_of_its_engines_load():
    parts = _assembly(_pool(reports=""))
    before = _ask(parts)
    parts.registry.set_pool(_pool())
    during = _ask(parts)
    await parts.clock.advance(4.0)
    _end(parts, before)
    await parts.clock.advance(4.0)
    _end(parts, during)
    (group,) = parts.traffic.groups(parts.registry.pools["ns/tiny"])
    assert group.itl.n == 1
    assert group.itl.x == pytest.approx(math.log(1.5))


def test_a_stream_that_does_not_tell_its_tokens_is_as_long_as_it_has_events():
    parts = _assembly()
    _end(parts, _ask(parts), output_tokens=None, stream_events=102)
    (group,) = parts.traffic.groups(parts.registry.pools["ns/tiny"])
    assert group.output_length.y == pytest.approx(math.log(101))


def test_a_report_of_as_many_groups_as_there_may_be_fits_into_etcd():
    sums = [-123456789.0123456] * 9
    plain, itl = Moments(10**8, *sums[:5]), Moments(10**8, *sums)
    name = "a-model-of-some-name~f6a85d6d8c"
    group = TrafficGroup("f6a85d6d8c", name, "10.100.100.100:8000", 100, 10**8, 10**6, plain, itl, plain)
    report = TrafficReport({"name": "pool.picker"}, groups=[group] * MAX_GROUPS)
    assert len(msgspec.json.encode(report)) < 1.4e6
