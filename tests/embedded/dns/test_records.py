"""Which records the names of a cluster have."""

from __future__ import annotations

import pytest
from dns_builders import DOMAIN, Objects, pod, service

from fairlead.embedded.dns.records import NOTHING, Cluster, Found, ServiceRecord, look_up, look_up_address

HTTP = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
LISTENING = [{"ports": [{"name": "http", "containerPort": 8000}]}]
PODS = (
    pod("a", "127.64.0.2", hostname="a", subdomain="web", containers=LISTENING),
    pod("b", "127.64.0.3", containers=LISTENING),
    pod("late", "127.64.0.4", ready=False, hostname="late", subdomain="web"),
    pod("ended", "127.64.0.5", phase="Succeeded"),
    pod("other", "127.64.0.6", app="db"),
)


def find(cluster: Cluster, name: str) -> Found:
    return look_up(cluster, name.split(".") if name else [], DOMAIN)


CLUSTER = Objects(
    service(ports=[HTTP]),
    service("eager", selector={"app": "web"}, publishNotReadyAddresses=True),
    service("routed", selector={"app": "web"}, clusterIP="10.96.1.2"),
    service("away", type="ExternalName", externalName="db.example.com", selector=None),
    service("written", selector=None),
    *PODS,
    addresses={"written": ["10.0.0.9", "10.0.0.8", "10.0.0.9"]},
)


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("web.default.svc", ["127.64.0.2", "127.64.0.3"]),
        # Nothing routes a cluster IP here.
        ("routed.default.svc", ["127.64.0.2", "127.64.0.3"]),
        ("eager.default.svc", ["127.64.0.2", "127.64.0.3", "127.64.0.4"]),
        ("a.web.default.svc", ["127.64.0.2"]),
        ("written.default.svc", ["10.0.0.8", "10.0.0.9"]),
        ("127-64-0-6.default.pod", ["127.64.0.6"]),
    ],
)
def test_names_have_addresses(name: str, addresses: list[str]) -> None:
    assert list(find(CLUSTER, name).addresses) == addresses


@pytest.mark.parametrize(
    "name",
    [
        "none.default.svc",
        "web.elsewhere.svc",
        # Not ready, and the Service does not publish such pods.
        "late.web.default.svc",
        # No host name, and another subdomain.
        "b.web.default.svc",
        "a.eager.default.svc",
        "_grpc._tcp.web.default.svc",
        "_http._udp.web.default.svc",
        "10-1-1-1.default.pod",
        "127-64-0-6.elsewhere.pod",
        "not-an-address.default.pod",
        "a.b.c.web.default.svc",
        "web.default",
        "x.away.default.svc",
    ],
)
def test_names_that_do_not_exist(name: str) -> None:
    assert find(CLUSTER, name) == NOTHING


@pytest.mark.parametrize("name", ["", "svc", "pod", "default.svc", "default.pod", "_tcp.web.default.svc"])
def test_names_that_exist_without_records(name: str) -> None:
    assert find(CLUSTER, name) == Found()


def test_an_external_name_is_an_alias() -> None:
    assert find(CLUSTER, "away.default.svc") == Found(alias="db.example.com")


def test_ports_are_found_where_the_pods_listen() -> None:
    found = find(CLUSTER, "_http._tcp.web.default.svc")
    assert found.services == (
        ServiceRecord(8000, "a.web.default.svc.cluster.local"),
        ServiceRecord(8000, "127-64-0-3.web.default.svc.cluster.local"),
    )


def test_a_service_without_pods_exists() -> None:
    assert find(Objects(service()), "web.default.svc") == Found()


def test_addresses_have_the_names_of_their_pods() -> None:
    assert look_up_address(CLUSTER, "127.64.0.2", DOMAIN) == Found(pointer="a.web.default.svc.cluster.local")
    for address in ("127.64.0.3", "127.64.0.4", "10.1.1.1"):
        assert look_up_address(CLUSTER, address, DOMAIN) == NOTHING
