"""The way of a request through the director: names, tenants, waiting, refusals, and what is learned at the end."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from fairlead.engines import EngineSignals
from fairlead.gateway.assembly import Assembly
from fairlead.gateway.endpoints import Endpoint, Pool, Rewrite
from fairlead.gateway.errors import Reply
from fairlead.gateway.flow import FlowSettings, concurrency_detector
from fairlead.gateway.plan import PoolSettings, read_settings
from fairlead.gateway.route import Completion, RequestHead, Route

CHAT = "/v1/chat/completions"


def _assembly(*pools: Pool, settings: PoolSettings | None = None) -> Assembly:
    parts = Assembly(default=settings, random=Random(1))
    for pool in pools:
        parts.registry.set_pool(pool)
    return parts


def _pool(key="ns/tiny", models=("tiny",), addresses=("10.0.0.1:80", "10.0.0.2:80"), **more) -> Pool:
    return Pool(key, models, tuple(Endpoint(a) for a in addresses), **more)


def _ask(parts: Assembly, body: dict | bytes, path: str = CHAT, **headers: str):
    """The list that the decision comes into, and what holds the request."""
    found: list[Route | Reply] = []
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = RequestHead("POST", path, {k.replace("_", "-"): v for k, v in headers.items()})
    early = parts.director.decide_on_headers(head)
    if early is not None:
        return [early], None
    return found, parts.director.route(head, data, found.append)


def _chat(model="tiny", text="hello", **more) -> dict:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def _end(route: Route, **more) -> Completion:
    return Completion(route.pick_id, 200, 1.0, **more)


def test_a_request_goes_to_an_endpoint_and_is_counted_until_its_end():
    parts = _assembly(_pool())
    (route,), held = _ask(parts, _chat())
    assert held is None
    assert isinstance(route, Route)
    assert parts.loads.of(route.pick.address).candidate.in_flight == 1
    parts.director.completed(_end(route))
    parts.director.completed(_end(route))
    assert parts.loads.of(route.pick.address).candidate.in_flight == 0


def test_what_a_rule_sends_to_engines_that_know_the_name_reaches_them_as_it_came():
    """Or answers of a version on trial would have another name than those of the stable one."""
    rule = Rewrite(("tiny", "alias"), (("tiny~2", 1),), "ns/rule")
    trial = _pool("ns/canary", ("tiny~2",), ("10.0.0.9:80",), known_names=("tiny",))
    parts = _assembly(_pool(models=("tiny", "alias"), rewrites=(rule,)), trial)
    (route,), _ = _ask(parts, _chat("tiny"))
    assert (route.pick.address, route.body) == ("10.0.0.9:80", None)
    (other,), _ = _ask(parts, _chat("alias"))
    assert json.loads(other.body)["model"] == "tiny~2", "a name that they do not know"


def test_a_rewrite_changes_the_body_and_nothing_else():
    rule = Rewrite(("friendly",), (("tiny-v2", 1),), "ns/rule")
    parts = _assembly(_pool(models=("tiny", "tiny-v2"), rewrites=(rule,)))
    (route,), _ = _ask(parts, _chat("friendly", temperature=0.25))
    assert json.loads(route.body) == _chat("tiny-v2", temperature=0.25)
    assert route.model == "friendly"
    (plain,), _ = _ask(parts, _chat("tiny"))
    assert plain.body is None


def test_weights_of_a_rewrite_are_kept_over_many_requests():
    rule = Rewrite(("split",), (("a", 30), ("b", 70)), "ns/rule")
    parts = _assembly(_pool(models=("a", "b"), rewrites=(rule,)))
    names = []
    for _ in range(600):
        (route,), _ = _ask(parts, _chat("split"))
        names.append(json.loads(route.body)["model"])
        parts.director.completed(_end(route))
    assert 120 <= names.count("a") <= 240


@pytest.mark.parametrize(
    ("body", "path", "status", "reason"),
    [
        (b"{", CHAT, 400, "invalid_request"),
        (_chat("nobody"), CHAT, 404, "model_not_found"),
        (_chat(), "/v1/nowhere", 404, "unknown_url"),
        (_chat("empty"), CHAT, 503, "no_ready_endpoints"),
    ],
)
async def test_refusals(body, path, status, reason):
    parts = _assembly(_pool(), _pool("ns/empty", ("empty",), ()))
    (reply,), _ = _ask(parts, body, path)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.reason) == (status, reason)
    assert json.loads(reply.body)["error"]["message"]


def test_anthropics_clients_get_errors_of_its_form():
    parts = _assembly(_pool())
    (reply,), _ = _ask(parts, _chat("nobody", max_tokens=1), "/v1/messages")
    assert json.loads(reply.body)["error"]["type"] == "not_found_error"


def test_a_nonsense_objective_names_the_header():
    parts = _assembly(_pool())
    (reply,), _ = _ask(parts, _chat(), x_slo_ttft_ms="soon")
    assert reply.status == 400
    assert "x-slo-ttft-ms" in json.loads(reply.body)["error"]["message"]


def test_a_request_for_what_is_cached_goes_where_it_is_or_is_refused():
    parts = _assembly(_pool())
    text = "It was the best of times. " * 100
    (refused,), _ = _ask(parts, _chat(text=text), prefer="if-available")
    assert isinstance(refused, Reply)
    assert (refused.status, refused.reason) == (412, "precondition_failed")
    assert all(not parts.loads.of(a).candidate.in_flight for a in ("10.0.0.1:80", "10.0.0.2:80"))
    (first,), _ = _ask(parts, _chat(text=text))
    for _ in range(8):
        (route,), _ = _ask(parts, _chat(text=text), prefer="return=minimal, If-Available;x=1")
        assert route.pick.address == first.pick.address
    (other,), _ = _ask(parts, _chat(text="Call me Ishmael. " * 100), prefer="if-available")
    assert other.status == 412
    (unlike,), _ = _ask(parts, _chat(text="Call me Ishmael. " * 100), prefer="if-available-but-different")
    assert isinstance(unlike, Route)


def test_with_session_affinity_the_answer_says_who_gave_it_and_the_client_comes_back():
    settings = read_settings(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
        "- type: queue-scorer\n- type: session-affinity-filter\n"
    )
    endpoints = tuple(Endpoint(f"10.0.0.{n}:80", f"ns/pod-{n}") for n in range(4))
    parts = _assembly(Pool("ns/tiny", ("tiny",), endpoints), settings=settings)
    (first,), _ = _ask(parts, _chat())
    ((name, token),) = first.answer_headers
    assert name == "x-session-token"
    for _ in range(8):
        (route,), _ = _ask(parts, _chat(), x_session_token=token)
        assert route.pick.address == first.pick.address
        assert route.answer_headers == first.answer_headers
    plain = _assembly(Pool("ns/tiny", ("tiny",), endpoints))
    assert _ask(plain, _chat())[0][0].answer_headers == ()


def test_of_one_pool_a_request_without_a_body_goes_to_some_endpoint():
    parts = _assembly(_pool())
    head = RequestHead("POST", "/v1/completions", ends=True)
    assert parts.director.decide_on_headers(head) is None
    parts.director.pools.one_pool = True
    assert isinstance(parts.director.decide_on_headers(RequestHead("POST", "/v1/completions", ends=True)), Route)


async def test_a_full_pool_holds_a_request_until_another_ends():
    parts = _assembly(_pool(addresses=("10.0.0.1:80",)), settings=PoolSettings(detector=concurrency_detector(1)))
    (first,), _ = _ask(parts, _chat())
    found, held = _ask(parts, _chat())
    assert found == []
    assert held is not None
    parts.director.completed(_end(first))
    assert isinstance(found[0], Route)


async def test_the_more_important_of_those_that_wait_goes_first():
    pool = _pool(addresses=("10.0.0.1:80",), objectives={"urgent": 10})
    parts = _assembly(pool, settings=PoolSettings(detector=concurrency_detector(1)))
    (first,), _ = _ask(parts, _chat())
    usual, _ = _ask(parts, _chat())
    urgent, _ = _ask(parts, _chat(), x_gateway_inference_objective="urgent")
    parts.director.completed(_end(first))
    assert (len(usual), len(urgent)) == (0, 1)
    parts.director.completed(_end(urgent[0]))
    assert len(usual) == 1


async def test_a_client_that_leaves_while_it_waits_is_not_decided_on():
    parts = _assembly(_pool(addresses=("10.0.0.1:80",)), settings=PoolSettings(detector=concurrency_detector(1)))
    (first,), _ = _ask(parts, _chat())
    found, held = _ask(parts, _chat())
    held.abandon()
    parts.director.completed(_end(first))
    assert found == []
    assert parts.loads.of("10.0.0.1:80").candidate.in_flight == 0


async def test_who_waits_too_long_is_told_when_to_come_back():
    flow = FlowSettings(ttl_s=0.05)
    parts = _assembly(_pool(), settings=PoolSettings(detector=concurrency_detector(1), flow=flow))
    for _ in range(2):
        _ask(parts, _chat())
    found, _ = _ask(parts, _chat())
    await asyncio.sleep(0.3)
    assert found[0].status == 429
    assert int(found[0].headers["retry-after"]) >= 1
    assert found[0].headers["x-llm-d-request-dropped-reason"] == "rejected-ttl-expired"


async def test_what_waits_for_a_first_replica_goes_on_when_there_is_one():
    class Coming:
        asked = 0

        def wanted(self) -> str:
            Coming.asked += 1
            return ""

        def story(self) -> str:
            return "One was asked for."

    parts = _assembly(_pool(addresses=(), scale_target="ModelService/ns/tiny"))
    parts.make_waker = lambda pool, target: Coming()
    found, held = _ask(parts, _chat())
    assert held is not None
    assert Coming.asked
    parts.registry.set_pool(_pool(scale_target="ModelService/ns/tiny"))
    assert isinstance(found[0], Route)


async def test_a_pool_that_goes_answers_those_who_wait_for_it():
    parts = _assembly(_pool(addresses=("10.0.0.1:80",)), settings=PoolSettings(detector=concurrency_detector(1)))
    _ask(parts, _chat())
    found, _ = _ask(parts, _chat())
    parts.registry.remove_pool("ns/tiny")
    assert found[0].status == 503


async def test_who_had_to_wait_goes_where_there_is_room():
    parts = _assembly(_pool(addresses=("10.0.0.1:80",)), settings=PoolSettings(detector=concurrency_detector(1)))
    (first,), _ = _ask(parts, _chat())
    found, _ = _ask(parts, _chat())
    parts.director.completed(_end(first))

    def plugins(route: Route) -> list[str]:
        return [use.type for use in parts.journal.find(route.pick_id).record().uses]

    assert "room-filter" in plugins(found[0])
    assert "room-filter" not in plugins(first)


def test_engines_that_speak_http_2_are_told_by_a_header():
    parts = _assembly(_pool(h2c=True))
    (route,), _ = _ask(parts, _chat())
    assert dict(route.headers)["x-fairlead-engine-protocol"] == "h2c"


def test_a_foreign_gateways_subset_is_kept_to():
    parts = _assembly(_pool())
    for address in ("10.0.0.1:80", "10.0.0.2:80") * 3:
        found: list[Route | Reply] = []
        head = RequestHead("POST", CHAT, {}, (address,))
        assert parts.director.decide_on_headers(head) is None
        parts.director.route(head, json.dumps(_chat()).encode(), found.append)
        assert found[0].pick.address == address
        assert found[0].pick.fallbacks == ()


def test_prompts_with_the_same_beginning_go_to_the_same_endpoint():
    parts = _assembly(_pool(addresses=tuple(f"10.0.0.{n}:80" for n in range(1, 9))))
    beginning = "It was a dark and stormy night; the rain fell in torrents. " * 200
    picked = set()
    for n in range(6):
        (route,), _ = _ask(parts, _chat(text=beginning + str(n)))
        picked.add(route.pick.address)
        parts.director.completed(_end(route, first_byte_s=0.1, last_byte_s=0.2, output_tokens=10))
    assert len(picked) == 1


def test_speeds_and_answer_lengths_are_learned_from_ends():
    parts = _assembly(_pool(addresses=("10.0.0.1:80",)))
    for _ in range(30):
        (route,), _ = _ask(parts, _chat(stream=True))
        parts.director.completed(_end(route, first_byte_s=0.5, last_byte_s=1.5, output_tokens=11))
    speed = parts.loads.of("10.0.0.1:80").candidate.speed
    assert speed.observations == 30
    # Far from what is believed of an endpoint of which nothing is known.
    assert 0.05 < speed.itl_base_s + speed.itl_request_s < 0.13
    assert parts.director.output_lengths.expected_tokens("tiny") == pytest.approx(11, rel=0.2)
    (route,), _ = _ask(parts, _chat())
    parts.director.completed(_end(route, first_byte_s=9.0, last_byte_s=9.0, output_tokens=11))
    assert speed.observations == 31, "an answer in one piece tells, too"


def test_an_end_by_a_fallback_says_nothing_of_the_picked_endpoint_but_that_it_refused():
    parts = _assembly(_pool())
    (route,), _ = _ask(parts, _chat(stream=True))
    parts.director.completed(_end(route, first_byte_s=0.5, last_byte_s=1.5, output_tokens=11, connect_failed=True))
    candidate = parts.loads.of(route.pick.address).candidate
    assert candidate.speed is None or candidate.speed.observations == 0
    assert not candidate.reachable


def test_an_adapter_is_a_query_of_its_own():
    parts = _assembly(_pool(adapters=("sql",)))
    (route,), _ = _ask(parts, _chat("sql"))
    assert parts.loads.in_flight(route.pick_id).adapter == "sql"


def test_configurations_are_read_again_and_a_broken_one_leaves_the_last():
    parts = _assembly(_pool(config="ns/config"))

    def profile_after(text: str) -> list[str]:
        parts.registry.set_config("ns/config", text)
        return [named.name for named in parts.plans.get("ns/tiny").settings.profile.scorers]

    config = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: "
    assert profile_after(config + "queue-scorer\n") == ["queue-scorer"]
    assert profile_after(config + "no-such-scorer\n") == ["queue-scorer"]
    assert profile_after("{") == ["queue-scorer"]
    assert profile_after(config + "kv-cache-utilization-scorer\n") == ["kv-cache-utilization-scorer"]


def test_a_path_that_names_its_model_is_decided_by_its_head_alone():
    parts = _assembly(_pool())
    head = RequestHead("POST", "/v2/models/tiny/infer")
    assert isinstance(parts.director.decide_on_headers(head), Route)


async def test_a_path_that_names_a_busy_model_waits_with_its_body():
    parts = _assembly(_pool(addresses=("10.0.0.1:80",)), settings=PoolSettings(detector=concurrency_detector(1)))
    (first,), _ = _ask(parts, _chat())
    head = RequestHead("POST", "/v2/models/tiny/infer")
    assert parts.director.decide_on_headers(head) is None
    found: list[Route | Reply] = []
    assert parts.director.route(head, b"{}", found.append) is not None
    parts.director.completed(_end(first))
    assert isinstance(found[0], Route)


def test_the_page_of_metrics_counts_what_happened():
    parts = _assembly(_pool())
    now_s = parts.clock.monotonic_s()
    parts.loads.scraped("10.0.0.1:80", EngineSignals(running_requests=0, waiting_requests=2), now_s, now_s)
    (route,), _ = _ask(parts, _chat(), x_llm_d_inference_fairness_id="team")
    parts.director.completed(
        _end(route, first_byte_s=0.2, last_byte_s=0.9, prompt_tokens=30, output_tokens=8, cached_tokens=16)
    )
    _ask(parts, _chat("nobody"))
    page = parts.metrics_page().decode()
    labels = '{fairness_id="team",model_name="tiny",priority="0",target_model_name="tiny"}'
    for line in (
        'fairlead_gateway_requests_routed_total{pool="ns/tiny"} 1.0',
        'fairlead_gateway_requests_completed_total{code_class="2xx",pool="ns/tiny"} 1.0',
        'fairlead_gateway_requests_answered_total{code="404",reason="model_not_found"} 1.0',
        f"llm_d_epp_request_total{labels} 1.0",
        f"inference_objective_request_total{labels} 1.0",
        f"llm_d_epp_request_output_tokens_sum{labels} 8.0",
        f"llm_d_epp_request_ttft_seconds_count{labels} 1.0",
        'llm_d_epp_average_queue_size{name="tiny"} 2.0',
        'inference_pool_ready_pods{name="tiny"} 2.0',
        'fairlead_gateway_in_flight_requests{pool="ns/tiny"} 0.0',
    ):
        assert line in page.splitlines(), line


def test_clients_cannot_make_more_series_than_there_is_room_for():
    parts = _assembly(Pool("ns/any", (), (Endpoint("10.0.0.1:80"),)))
    for n in range(5000):
        (route,), _ = _ask(parts, _chat(f"m{n}"), x_llm_d_inference_fairness_id=f"t{n}")
        parts.director.completed(_end(route))
    assert len(parts.metrics.requests.all) <= 4001
    assert sum(series.routed for series in parts.metrics.requests.all.values()) == 5000
