"""Which pods are endpoints of which pool, and what else the objects of the API say of pools."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.endpoints import Rewrite
from fairlead.gateway.membership import (
    ModelRewrite,
    Objective,
    PodCondition,
    PoolSelector,
    SelectorIndex,
    ServingPod,
    ServingPodStatus,
    ServingPool,
    ServingPoolSpec,
    StartedContainer,
    TargetPort,
    compute_pool,
    compute_rules,
    config_text,
    selects,
)
from fairlead.kube.objects.meta import ObjectMeta, OwnerReference


def _pod(name="p", *, ready="True", ip="127.1.0.1", deleting=None, labels=None, annotations=None, namespace="ns"):
    metadata = ObjectMeta(
        name=name,
        namespace=namespace,
        labels={"app": "m"} if labels is None else labels,
        annotations=annotations or {},
        deletion_timestamp=deleting,
    )
    return ServingPod(metadata=metadata, status=ServingPodStatus(ip, [PodCondition("Ready", ready)]))


def _pool(selector=None, ports=(8000, 8001), labels=None, owners=(), **annotations):
    metadata = ObjectMeta(
        name="pool", namespace="ns", labels=labels or {}, owner_references=owners,
        annotations={"fairlead.dev/models": "m, alias,m", **{k.replace("__", "/"): v for k, v in annotations.items()}},
    )  # fmt: skip
    labels = {"app": "m"} if selector is None else selector
    return ServingPool(metadata=metadata, spec=ServingPoolSpec(PoolSelector(labels), [TargetPort(p) for p in ports]))


def test_ready_pods_serve_on_every_target_port():
    pool = compute_pool(_pool(), [_pod("b"), _pod("a", ip="fd00::1")])
    assert pool.models == ("m", "alias")
    assert [(e.address, e.pod) for e in pool.endpoints] == [
        ("[fd00::1]:8000", "ns/a"),
        ("[fd00::1]:8001", "ns/a"),
        ("127.1.0.1:8000", "ns/b"),
        ("127.1.0.1:8001", "ns/b"),
    ]


@pytest.mark.parametrize(
    "pod",
    [
        _pod(ready="False"),
        _pod(ip=""),
        _pod(deleting="2026-01-01T00:00:00Z"),
        _pod(labels={"app": "other"}),
        _pod(annotations={"fairlead.dev/draining": "true"}),
        _pod(namespace="elsewhere"),
    ],
)
def test_pods_that_must_not_get_requests(pod):
    assert compute_pool(_pool(), [pod]).endpoints == ()


def test_an_empty_selector_selects_nothing():
    assert compute_pool(_pool(selector={}), [_pod()]).endpoints == ()


@pytest.mark.parametrize("annotation", ["llm-d.ai/active-ports", "inference.networking.k8s.io/active-ports"])
def test_pods_that_use_only_some_ports(annotation):
    pool = compute_pool(_pool(), [_pod(annotations={annotation: " 8001, 9999,x"})])
    assert pool.addresses == ("127.1.0.1:8001",)
    assert compute_pool(_pool(), [_pod(annotations={annotation: ""})]).addresses == ()


def test_more_ports_than_a_pool_may_have():
    pool = compute_pool(_pool(ports=(*range(8000, 8010), 8000, 0, 70_000)), [_pod()])
    assert len(pool.addresses) == 8
    assert "10 ports" in pool.problems[0]


@pytest.mark.parametrize(
    ("labels", "role"),
    [
        ({}, "both"),
        ({"llm-d.ai/role": "prefill"}, "prefill"),
        ({"fairlead.dev/role": "decode"}, "decode"),
        ({"llm-d.ai/role": "encode", "fairlead.dev/role": "decode"}, "encode"),
        ({"llm-d.ai/role": "prefill-decode"}, "prefill-decode"),
        ({"llm-d.ai/role": "encode-prefill-decode"}, "both"),
    ],
)
def test_roles(labels, role):
    (endpoint,) = compute_pool(_pool(ports=[80]), [_pod(labels={"app": "m", **labels})]).endpoints
    assert endpoint.role == role
    assert endpoint.labels["app"] == "m"


def test_a_role_that_nobody_knows_is_a_problem_of_the_pool():
    pool = compute_pool(_pool(), [_pod(labels={"app": "m", "llm-d.ai/role": "chef"})])
    assert {e.role for e in pool.endpoints} == {"both"}
    assert pool.problems == ("pod ns/p: unknown role 'chef'; it is taken for one that does everything",)


def test_runtimes():
    assert compute_pool(_pool(), []).runtime == "vllm"
    assert compute_pool(_pool(labels={"fairlead.dev/runtime": "simulated"}), []).runtime == "simulated"
    assert compute_pool(_pool(fairlead_dev=""), []).runtime == "vllm"
    odd = compute_pool(_pool(labels={"fairlead.dev/runtime": "martian"}), [])
    assert odd.runtime == "vllm"
    assert "unknown runtime 'martian'" in odd.problems[0]
    mixed = compute_pool(
        _pool(ports=[80]),
        [
            _pod("a", ip="10.0.0.1", labels={"app": "m", "llm-d.ai/engine-type": "sglang"}),
            _pod("b", ip="10.0.0.2", labels={"app": "m", "llm-d.ai/engine-type": "trtllm-serve"}),
            _pod("c", ip="10.0.0.3", labels={"app": "m", "llm-d.ai/engine-type": "vllm"}),
        ],
    )
    assert [e.runtime for e in mixed.endpoints] == ["sglang", "tensorrt-llm", ""]


def test_what_annotations_and_owners_say():
    pool = compute_pool(
        _pool(
            **{
                "fairlead.dev/adapters": "lora-a, lora-b",
                "fairlead.dev/picker-config": "picker/default.yaml",
                "fairlead.dev/tokenizer": "/models/tokenizer.json",
                "fairlead.dev/scale-target": "Deployment/engine",
            }
        ),
        [],
    )
    assert pool.adapters == ("lora-a", "lora-b")
    assert pool.config == "ns/picker/default.yaml"
    assert pool.tokenizer == "/models/tokenizer.json"
    assert pool.scale_target == "Deployment/ns/engine"
    owner = OwnerReference("fairlead.dev/v1alpha1", "ModelService", "svc", "uid", True)
    assert compute_pool(_pool(owners=[owner]), []).scale_target == "ModelService/ns/svc"
    assert compute_pool(_pool(labels={"fairlead.dev/model-service": "svc"}), []).scale_target == "ModelService/ns/svc"
    bad = compute_pool(_pool(**{"fairlead.dev/scale-target": "engine"}), [])
    assert bad.scale_target == ""
    assert "'engine' is not Kind/name" in bad.problems[0]


def test_the_picker_reference_and_protocol():
    raw = {
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {"appProtocol": "kubernetes.io/h2c", "endpointPickerRef": {"name": "x", "failureMode": "FailOpen"}},
    }
    pool = compute_pool(msgspec.convert(raw, ServingPool), [])
    assert (pool.h2c, pool.fails_open, pool.models) == (True, True, ())


def _rewrite(name, created, *rules):
    raw = {
        "metadata": {"name": name, "namespace": "ns", "creationTimestamp": created},
        "spec": {"poolRef": {"name": "pool"}, "rules": list(rules)},
    }
    return msgspec.convert(raw, ModelRewrite)


def _rule(*models, **weights):
    rule = {"targets": [{"modelRewrite": m, **({} if w is None else {"weight": w})} for m, w in weights.items()]}
    return {**rule, "matches": [{"model": {"type": "Exact", "value": m}} for m in models]} if models else rule


def test_rules_in_order_of_precedence():
    rules = compute_rules(
        [
            _rewrite("young", "2026-02-02T00:00:00Z", _rule("m", a=1), _rule(b=1)),
            _rewrite("old", "2026-01-01T00:00:00Z", _rule(c=1), _rule("m", "n", d=3, e=1)),
        ]
    )
    assert rules == (
        Rewrite(("m", "n"), (("d", 3), ("e", 1)), "ns/old"),
        Rewrite(("m",), (("a", 1),), "ns/young"),
        Rewrite((), (("c", 1),), "ns/old"),
        Rewrite((), (("b", 1),), "ns/young"),
    )


def test_weights_that_are_not_there():
    (rule,) = compute_rules([_rewrite("r", "", _rule(a=None, b=None))])
    assert rule.targets == (("a", 1), ("b", 1))
    (rule,) = compute_rules([_rewrite("r", "", _rule(a=5, b=None))])
    assert rule.targets == (("a", 5),)
    assert compute_rules([_rewrite("r", "", {"targets": []})]) == ()
    assert compute_rules([_rewrite("r", "", {"targets": [{"modelRewrite": "x"}], "matches": [{}]})]) == ()


def test_objectives():
    raw = [
        {"metadata": {"name": "high"}, "spec": {"priority": 7, "poolRef": {"name": "pool"}}},
        {"metadata": {"name": "unset"}, "spec": {"poolRef": {"name": "pool"}}},
        {"metadata": {"name": "low"}, "spec": {"priority": -1, "poolRef": {"name": "pool"}}},
    ]
    pool = compute_pool(_pool(), [], (), msgspec.convert(raw, list[Objective]))
    assert pool.objectives == {"high": 7, "unset": 0, "low": -1}


def test_which_text_of_a_config_map():
    assert config_text({"a": "1", "b": "2"}, "b") == "2"
    assert config_text({"a": "1"}, "") == "1"
    assert config_text({"a": "1", "config.yaml": "2"}, "") == "2"
    assert config_text({"a": "1", "b": "2"}, "") is None
    assert config_text({}, "x") is None


_labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["p", "q", "r"]), st.one_of(st.none(), _labels)), max_size=15), _labels)
def test_the_index_finds_every_pool_that_selects_a_pod(steps, labels):
    index, pools = SelectorIndex(), {}
    for name, selector in steps:
        if selector is None:
            pools.pop(name, None)
            index.drop(name)
        else:
            pools[name] = _pool(selector=selector)
            index.put(name, pools[name])
    pod = _pod(labels=labels)
    assert {name for name, pool in pools.items() if selects(pool, pod)} <= index.candidates(pod) <= set(pools)
    for name in list(pools):
        index.drop(name)
    assert index._under == {}


def test_a_label_that_all_pools_share_does_not_make_them_candidates():
    index = SelectorIndex()
    for n in range(100):
        index.put(f"ns/{n}", _pool(selector={"app": "engine", "model": f"m{n}"}))
    pod = _pod(labels={"app": "engine", "model": "m42"})
    assert len(index.candidates(pod)) <= 2
    assert "ns/42" in index.candidates(pod)


@pytest.mark.parametrize(
    ("annotations", "restarts", "told"),
    [
        ({}, 0, set()),
        ({"fairlead.dev/adapters": ""}, 0, set()),
        ({"fairlead.dev/adapters": "sql, fr"}, 0, {"sql", "fr"}),
        ({"fairlead.dev/adapters": "sql", "fairlead.dev/adapter-starts": "0"}, 1, set()),
        ({"fairlead.dev/adapters": "sql", "fairlead.dev/adapter-starts": "1"}, 1, {"sql"}),
    ],
)
def test_pods_say_which_adapters_they_have_until_their_next_start(annotations, restarts, told):
    pod = _pod(annotations=annotations)
    status = ServingPodStatus("127.1.0.1", pod.status.conditions, [StartedContainer(restarts), StartedContainer(0)])
    pod = ServingPod(metadata=pod.metadata, status=status)
    rule = {
        "metadata": {"name": "r", "labels": {"fairlead.dev/model-adapter": "x"}},
        "spec": {"poolRef": {"name": "pool"}, "rules": [{"targets": [{"modelRewrite": "sql~1"}]}]},
    }
    led = compute_pool(_pool(ports=(80,)), [pod], [msgspec.convert(rule, ModelRewrite)])
    assert (led.endpoints[0].adapters, led.adapters) == (told, ("sql~1",))
    by_pod = compute_pool(_pool(ports=(80,), **{"fairlead.dev__adapter-placement": "pods"}), [pod])
    assert by_pod.endpoints[0].adapters == told
    assert compute_pool(_pool(ports=(80,)), [pod]).endpoints[0].adapters is None
