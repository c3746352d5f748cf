"""How requests are shared: rewrites by name, objectives, and the weights of an HTTPRoute, which leave others alone."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.membership import ModelRewrite, ServingPool, compute_pool
from fairlead.gateway.resolve import ModelNames, Resolved, resolve
from fairlead.serving.render import pools
from fairlead.serving.render.routes import objectives, rewrite, route_patch, routes_to
from fairlead.serving.resolve import resolve_service
from serving.resolve.services import FACTS, service


def backend(name: str, weight: int | None = None, kind: str = "InferencePool") -> dict[str, Any]:
    said = {} if weight is None else {"weight": weight}
    return {"group": "inference.networking.k8s.io", "kind": kind, "name": name, **said}


def route(*backends: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "7"}, "spec": {"rules": [{"backendRefs": list(backends), "name": "r"}]}}


def weights(patched: dict[str, Any]) -> dict[str, int]:
    return {each["name"]: each.get("weight", 1) for each in patched["spec"]["rules"][0]["backendRefs"]}


@pytest.mark.parametrize("weight", [0, 1, 5, 50, 99, 100])
def test_the_gateway_sends_the_share_to_the_canary_and_nothing_in_a_circle(weight: int) -> None:
    spec: dict[str, Any] = {"model": {"name": "m", "aliases": ["n"]}}
    stable = resolve_service(service(**spec), (), FACTS)
    canary = resolve_service(service(**spec, args=["--itl-ms", "5"]), (), FACTS)
    made = rewrite(service(**spec), stable, canary.shadow, weight)
    rules = [msgspec.convert(made, ModelRewrite)] if made is not None else []
    names = ModelNames()
    for i, each in enumerate(pools(service(**spec), stable, canary)):
        each["metadata"]["creationTimestamp"] = f"2026-01-0{i + 1}T00:00:00Z"
        names.put(compute_pool(msgspec.convert(each, ServingPool), (), rules if i == 0 else ()))
    for asked in ("m", "n"):
        hits = 0
        for draw in range(100):
            found = resolve(names, asked, "", draw / 100)
            assert isinstance(found, Resolved)
            assert (found.pool.key, found.model) in (("prod/chat", asked), ("prod/chat-canary", canary.shadow))
            hits += found.pool.key == "prod/chat-canary"
        assert hits == weight
    direct = resolve(names, canary.shadow, "", 0.5)
    assert isinstance(direct, Resolved) and direct.pool.key == "prod/chat-canary"


def test_the_canarys_pool_says_whose_version_it_is_and_which_names_its_engines_know() -> None:
    spec: dict[str, Any] = {"model": {"name": "m", "aliases": ["n"]}}
    stable = resolve_service(service(**spec), (), FACTS)
    canary = resolve_service(service(**spec, args=["--itl-ms", "5"]), (), FACTS)
    own, tried = (compute_pool(msgspec.convert(p, ServingPool), ()) for p in pools(service(**spec), stable, canary))
    assert (tried.models, tried.known_names) == ((canary.shadow,), ("m", "n"))
    assert own.known_names == ()
    said = pools(service(**spec), stable, canary)[1]["metadata"]["annotations"]
    assert said["fairlead.dev/version-of"] == "chat"


def test_names_of_further_models_that_engines_do_not_know_are_rewritten() -> None:
    spec: dict[str, Any] = {
        "runtime": "triton", "model": {"name": "m", "source": "/r"}, "models": [{"name": "n", "aliases": ["nn"]}],
    }  # fmt: skip
    made = rewrite(service(**spec), resolve_service(service(**spec), (), FACTS))
    assert made is not None
    assert made["spec"]["rules"] == [
        {"matches": [{"model": {"type": "Exact", "value": "nn"}}], "targets": [{"modelRewrite": "n"}]}
    ]


def test_with_an_http_route_names_are_not_rewritten() -> None:
    spec: dict[str, Any] = {"rollout": {"strategy": "Canary", "canary": {"httpRoute": "r"}}}
    assert rewrite(service(**spec), resolve_service(service(**spec), (), FACTS), "m~1", 50) is None


def test_objectives_are_named_after_the_service_and_batch_work_is_one() -> None:
    made = objectives(service(objectives=[{"name": "high", "priority": 5}], batch={"allowed": True, "priority": -3}))
    assert {o["metadata"]["name"]: o["spec"]["priority"] for o in made} == {"chat-high": 5, "chat-batch": -3}
    assert objectives(service(batch={"allowed": False})) == []


def test_the_route_is_split_and_made_whole_again() -> None:
    start = route(backend("chat"))
    split = route_patch(service(), start, 5)
    assert split is not None and split["metadata"] == {"resourceVersion": "7"}
    assert weights(split) == {"chat": 19, "chat-canary": 1}
    assert split["spec"]["rules"][0]["name"] == "r"
    back = route_patch(service(), {**start, **split}, None)
    assert back is not None and weights(back) == {"chat": 1}


def test_rules_without_our_pool_are_left_alone() -> None:
    start = route(backend("other"), backend("chat", kind="Service"))
    assert route_patch(service(), start, 50) is None and not routes_to(service(), start)
    assert route_patch(service(), route(backend("chat")), None) is None


@given(
    st.lists(st.integers(0, 50), max_size=3),
    st.integers(1, 50),
    st.lists(st.integers(0, 100), min_size=1, max_size=4),
)
def test_others_keep_their_share_whatever_the_weights(others: list[int], ours: int, steps: list[int]) -> None:
    start = route(*(backend(f"o{i}", weight) for i, weight in enumerate(others)), backend("chat", ours))
    current = copy.deepcopy(start)
    total = sum(others) + ours
    for step in steps:
        patch = route_patch(service(), current, step)
        current = {**current, **patch} if patch is not None else current
        assert route_patch(service(), current, step) is None, "what is so already is not written"
        found = weights(current)
        whole = sum(found.values())
        for i, weight in enumerate(others):
            assert Fraction(found[f"o{i}"], whole) == Fraction(weight, total)
        both = found["chat"] + found["chat-canary"]
        assert Fraction(found["chat-canary"], both) == Fraction(step, 100)
        assert whole < 1_000_000
    back = route_patch(service(), current, None)
    assert back is not None
    found = weights(back)
    assert "chat-canary" not in found
    assert Fraction(found["chat"], sum(found.values())) == Fraction(ours, total)
