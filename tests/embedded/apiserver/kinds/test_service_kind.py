"""Services: defaults, and cluster IPs and node ports that are given once, also after a restart."""

import random
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.kinds.service import CLUSTER_NETWORK, ServiceStrategy
from fairlead.embedded.apiserver.kinds.service_allocation import NODE_PORTS, Allocations, Full
from fairlead.embedded.apiserver.registry import Object


def service(name: str = "x", /, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def test_defaults_and_cluster_address(kinds: Any) -> None:
    spec = kinds.accepted("Service", service())["spec"]
    address = spec["clusterIP"]
    assert IPv4Address(address) in CLUSTER_NETWORK
    assert spec == {
        "clusterIP": address,
        "clusterIPs": [address],
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }


def test_node_ports_are_kept_by_updates(kinds: Any) -> None:
    old = kinds.accepted("Service", service(type="NodePort"))
    assert old["spec"]["ports"][0]["nodePort"] in NODE_PORTS

    def apply_again(obj: Object) -> None:
        obj["spec"] = service(type="NodePort")["spec"]

    new, problems = kinds.change("Service", old, apply_again)
    assert not problems
    assert new["spec"] == old["spec"]


def test_headless_services_have_no_address(kinds: Any) -> None:
    assert kinds.accepted("Service", service(clusterIP="None"))["spec"]["clusterIPs"] == ["None"]


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"clusterIP": "10.96.0.9"}, "provided IP is already allocated"),
        ({"clusterIP": "10.0.0.1"}, "is not in the valid range. The range of valid IPs is 10.96.0.0/16"),
        ({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30123}]}, "provided port is already allocated"),
        ({"type": "NodePort", "ports": [{"port": 1, "nodePort": 99}]}, "The range of valid ports is 30000-32767"),
    ],
)
def test_refused_wishes(kinds: Any, wanted: Object, problem: str) -> None:
    taken = service("a", type="NodePort", clusterIP="10.96.0.9", ports=[{"port": 1, "nodePort": 30123}])
    kinds.accepted("Service", taken)
    (found,) = kinds.problems("Service", service("b", **wanted))
    assert found.endswith(problem)


def test_what_a_deleted_service_held_is_free_again(kinds: Any) -> None:
    wish = {"clusterIP": "10.96.0.9"}
    kinds.accepted("Service", service("a", **wish))
    del kinds.stored["", "services", "n", "a"]
    assert kinds.accepted("Service", service("b", **wish))["spec"]["clusterIP"] == "10.96.0.9"


def test_a_dry_run_takes_nothing(kinds: Any) -> None:
    wish = service(clusterIP="10.96.0.9")
    assert not kinds.create("Service", wish, dry_run=True)[1]
    other = {**wish, "metadata": {"name": "other"}}
    assert kinds.accepted("Service", other)


def test_a_restart_remembers(kinds: Any) -> None:
    stored = kinds.accepted("Service", service("a", type="NodePort"))
    strategy = ServiceStrategy()
    strategy.restore([stored])
    held = strategy.allocations
    assert held.address_taken(stored["spec"]["clusterIP"], ("n", "b"), lambda *_: True)
    assert not held.address_taken(stored["spec"]["clusterIP"], ("n", "a"), lambda *_: True)
    assert held.port_taken(stored["spec"]["ports"][0]["nodePort"], ("n", "b"), lambda *_: True)


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_addresses_are_given_once_until_none_is_left(seed: int, wishes: int) -> None:
    network = IPv4Network("10.0.0.0/28")
    held, given_out = Allocations(network, random.Random(seed)), list[str]()
    for number in range(wishes):
        try:
            address = held.free_address(("n", str(number)), lambda *_: True)
        except Full:
            assert len(given_out) == network.num_addresses - 2
            break
        held.keep({"metadata": {"namespace": "n", "name": str(number)}, "spec": {"clusterIPs": [address]}})
        given_out.append(address)
    assert len(set(given_out)) == len(given_out)
    assert all(held.contains(address) for address in given_out)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"ports": []}, "spec.ports"),
        ({"ports": [{"port": 80}, {"port": 81}]}, "spec.ports[0].name"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port"),
        ({"type": "X"}, "spec.type"),
        ({"sessionAffinity": "X"}, "spec.sessionAffinity"),
        ({"selector": {"a": "-"}}, "spec.selector"),
        ({"type": "ExternalName"}, "spec.externalName"),
        ({"externalIPs": ["x"]}, "spec.externalIPs[0]"),
    ],
)
def test_refused_fields(kinds: Any, spec: Object, field: str) -> None:
    assert field in [problem.partition(":")[0] for problem in kinds.problems("Service", service(**spec))]


def test_the_address_of_a_service_does_not_change(kinds: Any) -> None:
    old = kinds.accepted("Service", service())

    def move(obj: Object) -> None:
        obj["spec"] |= {"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"]}

    _, problems = kinds.change("Service", old, move)
    assert problems
    assert all(problem.endswith("field is immutable") or "may not change" in problem for problem in problems)
