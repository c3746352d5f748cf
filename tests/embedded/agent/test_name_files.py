"""What a pod's /etc/hosts and /etc/resolv.conf say."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_builders import pod

from fairlead.embedded.agent.name_files import ClusterDns, Resolution, compute_resolution, hostname, hosts_text, write

CLUSTER = ClusterDns("127.70.0.10")
MACHINE = Resolution(("10.0.0.1",), ("corp.example",), ("timeout:1",))


def test_cluster_names_come_first() -> None:
    assert compute_resolution(pod(), CLUSTER, MACHINE) == Resolution(
        ("127.70.0.10",),
        ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"),
        ("ndots:5",),
    )


@pytest.mark.parametrize(
    ("fields", "cluster"),
    [({"dnsPolicy": "Default"}, CLUSTER), ({"hostNetwork": True}, CLUSTER), ({}, ClusterDns())],
)
def test_the_machines_file_stays_where_nothing_else_is_asked_for(
    fields: dict[str, object], cluster: ClusterDns
) -> None:
    assert compute_resolution(pod(**fields), cluster, MACHINE) is None


def test_a_pod_on_the_nodes_network_may_ask_for_cluster_names() -> None:
    asked = pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
    found = compute_resolution(asked, CLUSTER, MACHINE)
    assert found is not None and found.servers == ("127.70.0.10",)


def test_a_pods_own_configuration_is_laid_over_the_policys() -> None:
    config = {
        "nameservers": ["10.9.9.9", "127.70.0.10"],
        "searches": ["my.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    found = compute_resolution(pod(dnsConfig=config), CLUSTER, MACHINE)
    assert found is not None
    assert found.servers == ("127.70.0.10", "10.9.9.9")
    assert found.searches[-2:] == ("corp.example", "my.example")
    assert found.options == ("ndots:2", "edns0")
    alone = compute_resolution(pod(dnsPolicy="None", dnsConfig=config), CLUSTER, MACHINE)
    assert alone == Resolution(("10.9.9.9", "127.70.0.10"), ("my.example",), ("ndots:2", "edns0"))


def test_a_file_is_read_as_it_is_written() -> None:
    text = "# by hand\ndomain old.example\nsearch a.example b.example\nnameserver 10.0.0.1\noptions ndots:2 rotate\n"
    read = Resolution.parse(text)
    assert read == Resolution(("10.0.0.1",), ("a.example", "b.example"), ("ndots:2", "rotate"))
    assert Resolution.parse(read.text()) == read


def test_hosts_have_the_pods_own_names_and_its_aliases() -> None:
    aliases = [{"ip": "10.1.2.3", "hostnames": ["one.example", "one"]}, {"ip": "10.1.2.4", "hostnames": ["two"]}]
    member = pod(name="set-0", hostname="set-0", subdomain="set", hostAliases=aliases)
    lines = hosts_text(member, "127.64.0.2", "cluster.local", "127.0.0.1 localhost\n").splitlines()
    assert "127.0.0.1 localhost" in lines
    assert "127.64.0.2\tset-0.set.default.svc.cluster.local\tset-0" in lines
    assert lines[-2:] == ["10.1.2.3\tone.example\tone", "10.1.2.4\ttwo"]
    assert "127.64.0.2\tweb" in hosts_text(pod(), "127.64.0.2", "cluster.local", "").splitlines()


def test_a_pod_on_the_nodes_network_is_known_by_the_nodes_names() -> None:
    assert "127.64.0.1" not in hosts_text(pod(hostNetwork=True), "127.64.0.1", "cluster.local", "")


def test_a_long_name_is_cut_to_a_label() -> None:
    assert hostname(pod(name="x" * 62 + "-1")) == "x" * 62


def test_files_can_be_read_by_every_user(tmp_path: Path) -> None:
    made = write(tmp_path, pod(), "127.64.0.2", CLUSTER)
    assert made.keys() == {"/etc/hosts", "/etc/resolv.conf"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in made.values())
