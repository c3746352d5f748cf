"""Which pools foreign workloads get, and what each of them is told."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.endpoints import Pool
from fairlead.gateway.membership import ModelRewrite, ServingPod, ServingPool, compute_pool, selects
from fairlead.gateway.resolve import ModelNames, resolve
from fairlead.serving.adoption.decide import Decision, decide
from fairlead.serving.adoption.objects import is_as_wanted, pool_object, rewrite_object
from fairlead.serving.adoption.workloads import Workload, workload_of


def deployment(name: str, model: str = "m", adopt: str = "true", created: int = 0, **more: Any) -> dict[str, Any]:
    """`pod_labels`, `annotations`, `port`, `owner` and `selector` in `more` replace what is usual."""
    labels = more.get("pod_labels", {"app": name})
    command = ["vllm", "serve", model, "--port", str(more.get("port", 8000))]
    probe = {"httpGet": {"path": "/health", "port": 1}}
    return {
        "metadata": {
            "name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {"fairlead.dev/adopt": adopt},
            "creationTimestamp": f"2026-01-01T00:00:{created:02}Z", "annotations": more.get("annotations", {}),
            **({"ownerReferences": [more["owner"]]} if "owner" in more else {}),
        },
        "spec": {
            "selector": more.get("selector", {"matchLabels": {"app": name}}),
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [
                    {"name": "c", "image": "i", "command": command, "readinessProbe": probe,
                     **more.get("container", {})}
                ]},
            },
        },
    }  # fmt: skip


def pod(name: str, adopt: str, **labels: str) -> dict[str, Any]:
    raw = deployment(name)
    template = raw["spec"]["template"]["spec"]
    raw["metadata"]["labels"] = {"fairlead.dev/adopt": adopt, **labels}
    return {**raw, "spec": template}


def workloads(*raws: dict[str, Any], kind: str = "Deployment") -> list[Workload]:
    return [w for raw in raws if (w := workload_of(kind, raw)) is not None]


def told(decision: Decision) -> dict[str, tuple[bool, str, str]]:
    return {v.workload.name: (v.is_served, v.reason, v.message) for v in decision.verdicts}


def existing(name: str, models: str, created: str = "2025-01-01T00:00:00Z", namespace: str = "default") -> Any:
    meta = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return {"metadata": {**meta, "annotations": {"fairlead.dev/models": models}}, "spec": {}}


def gateway_pool(obj: dict[str, Any], rule: dict[str, Any] | None = None) -> Pool:
    rules = [msgspec.convert(rule, ModelRewrite)] if rule is not None else []
    return compute_pool(msgspec.convert(obj, ServingPool), [], rules)


def test_a_deployment_becomes_a_pool_of_its_own() -> None:
    decision = decide(workloads(deployment("chat", "org/m", port=8123)), [])
    (pool,) = decision.pools
    obj = pool_object(pool)
    assert obj["spec"]["selector"] == {"matchLabels": {"app": "chat"}}
    assert obj["spec"]["targetPorts"] == [{"number": 8123}]
    seen = gateway_pool(obj)
    assert (seen.models, seen.runtime, seen.scale_target, seen.problems) == (("org/m",), "vllm", "", ())
    assert obj["metadata"]["ownerReferences"] == [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "uid": "uid-chat"}
    ]
    assert rewrite_object(pool) is None
    assert told(decision)["chat"] == (
        True, "Adopted", "requests for org/m reach its pods through pool chat; vllm on port 8123",
    )  # fmt: skip


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]), min_size=1), st.randoms())
def test_a_pool_selects_the_pods_of_its_workload_and_no_others(labels: dict[str, str], draw: random.Random) -> None:
    keys = draw.sample(sorted(labels), draw.randint(1, len(labels)))
    by_value, by_expression = keys[: len(keys) // 2], keys[len(keys) // 2 :]
    selector = {
        "matchLabels": {key: labels[key] for key in by_value},
        "matchExpressions": [{"key": key, "operator": "In", "values": [labels[key]]} for key in by_expression],
    }
    (pool,) = decide(workloads(deployment("w", pod_labels=labels, selector=selector)), []).pools
    made = msgspec.convert(pool_object(pool), ServingPool)
    for other in ({**labels, "more": "x"}, {**labels, keys[0]: "other"}, {}):
        raw = {"metadata": {"name": "p", "namespace": "default", "labels": other}, "spec": {}, "status": {}}
        is_own = all(other.get(key) == labels[key] for key in keys)
        assert selects(made, msgspec.convert(raw, ServingPod)) == is_own


def test_leaders_of_groups_alone_get_requests() -> None:
    raw = deployment("groups")
    template = raw["spec"].pop("template")
    worker = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "w", "image": "i"}]}}
    raw["spec"] = {"leaderWorkerTemplate": {"size": 2, "leaderTemplate": template, "workerTemplate": worker}}
    (pool,) = decide(workloads(raw, kind="LeaderWorkerSet"), []).pools
    assert pool.selector == {
        "leaderworkerset.sigs.k8s.io/name": "groups", "leaderworkerset.sigs.k8s.io/worker-index": "0",
    }  # fmt: skip
    raw["spec"]["leaderWorkerTemplate"] = {"size": 1, "workerTemplate": template}
    assert decide(workloads(raw, kind="LeaderWorkerSet"), []).pools[0].names == ("m",)


def test_annotations_say_what_the_template_does_not() -> None:
    said = {
        "fairlead.dev/adopt-engine": "sglang", "fairlead.dev/adopt-model": "a, b", "fairlead.dev/adopt-port": "81",
    }  # fmt: skip
    script = {"command": ["/start.sh"]}
    decision = decide(workloads(deployment("w", container=script, annotations=said)), [])
    assert [(p.runtime, p.names, p.port, p.target) for p in decision.pools] == [("sglang", ("a", "b"), 81, "")]
    for missing, words in (("engine", "adopt-engine"), ("model", "adopt-model"), ("port", "adopt-port")):
        fewer = {key: value for key, value in said.items() if not key.endswith(missing)}
        decision = decide(workloads(deployment("w", container=script, annotations=fewer)), [])
        (_, reason, message) = told(decision)["w"]
        assert not decision.pools and reason == "Unreadable" and words in message and "/start.sh" in message


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        ("engine", "vlm", "known are"), ("port", "0", "1 to 65535"), ("port", "http", "1 to 65535"),
        ("model", "a b", "blanks"),
    ],
)  # fmt: skip
def test_annotations_are_checked(annotation: str, value: str, words: str) -> None:
    decision = decide(workloads(deployment("w", annotations={f"fairlead.dev/adopt-{annotation}": value})), [])
    assert not decision.pools and told(decision)["w"][1] == "BadAnnotation" and words in told(decision)["w"][2]


def test_names_that_the_engine_does_not_know_are_rewritten() -> None:
    said = {"fairlead.dev/adopt-model": "chat,talk"}
    decision = decide(workloads(deployment("w", "org/m", annotations=said)), [])
    (pool,) = decision.pools
    names = ModelNames()
    names.put(gateway_pool(pool_object(pool), rewrite_object(pool)))
    for name in ("chat", "talk"):
        found = resolve(names, name, "", 0.5)
        assert (found.model, found.pool.key) == ("org/m", "default/w")  # type: ignore[union-attr]
    assert "its engine is asked for org/m" in told(decision)["w"][2]


REFUSED = {
    "kept by us": (deployment("w", owner={
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelService", "name": "s", "controller": True}), "NotForeign"),
    "of a service": (deployment("w", pod_labels={"app": "w", "fairlead.dev/model-service": "s"}), "NotForeign"),
    "no name for a pool": (deployment("w", adopt="Chat_1"), "BadName"),
    "no selector": (deployment("w", selector={"matchExpressions": [
        {"key": "app", "operator": "DoesNotExist"}]}, pod_labels={"x": "y"}), "NoSelector"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_adopted_is_told(case: str) -> None:
    raw, reason = REFUSED[case]
    decision = decide(workloads(raw), [])
    assert not decision.pools and told(decision)["w"][:2] == (False, reason)


def test_who_does_not_ask_is_left_alone() -> None:
    going = deployment("w")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    kept = pod("p", "pool")
    kept["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "r", "controller": True}]
    assert workloads(deployment("w", adopt="false"), going) == workloads(kept, kind="Pod") == []


def test_a_pool_of_somebody_else_is_not_touched() -> None:
    decision = decide(workloads(deployment("w")), [existing("w", "x")])
    assert not decision.pools and told(decision)["w"][1] == "PoolTaken"
    # One of another namespace is another.
    assert decide(workloads(deployment("w")), [existing("w", "x", namespace="other")]).pools


def test_two_that_want_the_same_pool_by_different_pods_do_not_share_it() -> None:
    decision = decide(workloads(deployment("b", adopt="p", created=1), deployment("a", adopt="p", created=2)), [])
    assert [[w.name for w in pool.workloads] for pool in decision.pools] == [["b"]]
    assert told(decision)["a"][:2] == (False, "PoolTaken") and "Deployment/b" in told(decision)["a"][2]


def test_those_whose_pods_have_the_label_share_a_pool() -> None:
    shared = {"pod_labels": {"app": "x", "fairlead.dev/adopt": "p"}, "adopt": "p"}
    both = workloads(deployment("a", **shared), deployment("b", created=1, **shared))
    alone = workloads(pod("c", "p"), kind="Pod")
    decision = decide([*both, *alone], [])
    (pool,) = decision.pools
    assert pool.selector == {"fairlead.dev/adopt": "p"} and len(pool.workloads) == 3
    assert {v[:2] for v in told(decision).values()} == {(True, "Adopted")}
    other = workloads(deployment("d", created=2, port=9, **shared))
    decision = decide([*both, *other], [])
    assert told(decision)["d"][:2] == (False, "Differs") and "port 9 is not 8000" in told(decision)["d"][2]
    assert [w.name for w in decision.pools[0].workloads] == ["a", "b"]


def test_a_single_pod_needs_the_name_of_a_pool() -> None:
    assert told(decide(workloads(pod("p", "true"), kind="Pod"), []))["p"][1] == "NoSelector"
    done = pod("p", "pool")
    done["status"] = {"phase": "Failed"}
    assert workloads(done, kind="Pod") == []


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 9)), min_size=1, max_size=5), st.booleans())
def test_what_is_told_of_names_is_what_the_gateway_does(ones: list[tuple[str, int]], is_made: bool) -> None:
    """Whoever is told that requests reach it gets them; whoever is not does not."""
    raws = [deployment(f"w{n}", model, created=age) for n, (model, age) in enumerate(ones)]
    others = [existing("old", "y", namespace="other")]
    first = decide(workloads(*raws), others)
    # The API server gives pools their times of creation, in the order in which they are made.
    made = [pool_object(p) for p in first.pools]
    for n, obj in enumerate(made):
        obj["metadata"]["creationTimestamp"] = f"2026-02-01T00:00:{n:02}Z"
    decision = decide(workloads(*raws), [*others, *made]) if is_made else first
    names = ModelNames()
    for obj in [*others, *made]:
        names.put(gateway_pool(obj))
    for verdict in decision.verdicts:
        model = ones[int(verdict.workload.name[1:])][0]
        found = names.pool_of(model)
        assert found is not None
        assert (found.key == f"default/{verdict.pool}") == verdict.is_served == (verdict.reason == "Adopted")
        assert verdict.is_served or found.key in verdict.message


@given(st.permutations(range(4)))
def test_the_order_of_arrival_does_not_matter(order: list[int]) -> None:
    raws = [deployment(f"w{n}", f"m{n % 2}", adopt="p" if n < 2 else "true", created=n) for n in range(4)]
    assert decide(workloads(*(raws[n] for n in order)), []) == decide(workloads(*raws), [])


def test_what_is_there_and_not_wanted_has_to_be_written() -> None:
    (pool,) = decide(workloads(deployment("w")), []).pools
    wanted = pool_object(pool)
    served = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": "1", "labels": {
        **wanted["metadata"]["labels"], "of": "others"}}}  # fmt: skip
    assert is_as_wanted(served, wanted) and not is_as_wanted(None, wanted)
    extra = {**served, "spec": {**served["spec"], "selector": {"matchLabels": {"app": "w", "old": "1"}}}}
    assert not is_as_wanted(extra, wanted)
    said = {**served["metadata"]["annotations"], "fairlead.dev/adapters": "old"}
    assert not is_as_wanted({**served, "metadata": {**served["metadata"], "annotations": said}}, wanted)
