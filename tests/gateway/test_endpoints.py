"""Pools, model names, and who is told of changes; pods as endpoints; the endpoints file."""

import pytest

from fairlead.gateway.endpoints import Endpoint, Pool, Registry
from fairlead.gateway.file_source import read_pools
from fairlead.gateway.membership import (
    PodCondition,
    PoolSelector,
    ServingPod,
    ServingPodStatus,
    ServingPool,
    ServingPoolSpec,
    TargetPort,
    compute_pool,
)
from fairlead.kube.objects.meta import ObjectMeta

A, B = Endpoint("127.0.0.1:1"), Endpoint("127.0.0.1:2")


def test_the_oldest_pool_keeps_a_model_name_and_passes_it_on():
    registry = Registry()
    registry.set_pool(Pool("ns/young", ("m", "n"), (A,), age_key="2026-01-02"))
    registry.set_pool(Pool("ns/old", ("m",), (B,), age_key="2026-01-01"))
    assert registry.pool_of("m").key == "ns/old"
    assert registry.pool_of("n").key == "ns/young"
    registry.remove_pool("ns/old")
    assert registry.pool_of("m").key == "ns/young"
    assert list(registry.models) == ["m", "n"]


def test_listeners_hear_which_endpoints_are_gone_from_every_pool():
    registry, heard = Registry(), []
    registry.on_change(heard.append)
    registry.set_pool(Pool("ns/p", ("m",), (A, B)))
    registry.set_pool(Pool("ns/q", ("n",), (A,)))
    registry.set_pool(Pool("ns/p", ("m",), ()))
    registry.set_pool(Pool("ns/p", ("m",), ()))
    registry.remove_pool("ns/q")
    assert heard == [set(), set(), {B.address}, {A.address}]


def _pod(name="p", *, ready="True", ip="127.1.0.1", deleting=None, labels=None, annotations=None, namespace="ns"):
    metadata = ObjectMeta(
        name=name,
        namespace=namespace,
        labels={"app": "m"} if labels is None else labels,
        annotations=annotations or {},
        deletion_timestamp=deleting,
    )
    return ServingPod(metadata=metadata, status=ServingPodStatus(ip, [PodCondition("Ready", ready)]))


def _pool(selector=None, **annotations):
    metadata = ObjectMeta(name="pool", namespace="ns", annotations={"fairlead.dev/models": "m, alias,m", **annotations})
    labels = {"app": "m"} if selector is None else selector
    return ServingPool(
        metadata=metadata, spec=ServingPoolSpec(PoolSelector(labels), [TargetPort(8000), TargetPort(8001)])
    )


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


def test_runtimes_the_gateway_does_not_know_are_read_like_vllm():
    assert compute_pool(_pool(), []).runtime == "vllm"
    assert compute_pool(_pool(**{"fairlead.dev/runtime": "simulated"}), []).runtime == "simulated"
    assert compute_pool(_pool(**{"fairlead.dev/runtime": "martian"}), []).runtime == "vllm"


def test_the_endpoints_file():
    (pool,) = read_pools(b'{"pools": [{"key": "a/b", "models": ["m"], "endpoints": ["1.2.3.4:5"]}]}')
    assert pool == Pool("a/b", ("m",), (Endpoint("1.2.3.4:5"),), "vllm", "000000")
    with pytest.raises(ValueError, match="unknown runtime 'x'"):
        read_pools(b'{"pools": [{"key": "a/b", "models": [], "endpoints": [], "runtime": "x"}]}')
