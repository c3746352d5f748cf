"""The other sources: LLDP, NetQ, clouds, files, labels, devices."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.devices.topology.errors import InvalidTopology, SourceError
from fairlead.devices.topology.model import Place, Switch
from fairlead.devices.topology.providers import accelerators, cloud, labels, lldp, netq, racks, simulation, slurm_conf
from fairlead.devices.topology.providers.sources import read_any


def _neighbour(switch: str, kind: str = "Bridge", *, enabled: bool = True) -> dict[str, Any]:
    return {
        "via": "LLDP",
        "rid": "1",
        "chassis": {
            switch: {"id": {"type": "mac", "value": "aa:bb"}, "capability": [{"type": kind, "enabled": enabled}]}
        },
        "port": {"id": {"type": "ifname", "value": "swp1"}},
    }


def test_lldp_in_all_its_shapes() -> None:
    single = json.dumps({"lldp": {"interface": {"eth0": _neighbour("leaf1")}}})
    several = json.dumps(
        {"lldp": {"interface": [{"eth0": _neighbour("leaf1")}, {"eth1": _neighbour("peer", "Station")}]}}
    )
    every = json.dumps(
        {
            "lldp": [
                {"interface": [{"name": "eth0", "chassis": [{"id": [{"value": "m"}], "name": [{"value": "leaf1"}]}]}]}
            ]
        }
    )
    unnamed = json.dumps({"lldp": {"interface": {"eth0": {"chassis": {"id": {"type": "mac", "value": "aa:bb"}}}}}})
    assert lldp.parse_lldpctl(single) == lldp.parse_lldpctl(several) == lldp.parse_lldpctl(every) == [("eth0", "leaf1")]
    assert lldp.parse_lldpctl(unnamed) == [("eth0", "aa:bb")]
    assert lldp.parse_lldpctl('{"lldp": {}}') == []


def test_lldp_of_nodes_and_switches_is_one_tree() -> None:
    def heard(*switches: str) -> str:
        return json.dumps({"lldp": {"interface": [{f"e{n}": _neighbour(switch)} for n, switch in enumerate(switches)]}})

    folded = lldp.topology_from_lldp(
        {
            "n1": heard("leaf1", "leaf2"),
            "n2": heard("leaf1", "leaf2"),
            "n3": heard("leaf3"),
            "leaf1": heard("spine1", "spine2"),
            "leaf2": heard("spine1"),
            "leaf3": heard("spine1", "spine2"),
            "n4": heard(),
        },
    )
    topology = folded.topology
    assert topology.path("n1") == ("leaf1", "spine1")
    assert topology.path("n3") == ("leaf3", "spine1")
    assert topology.switches["leaf1"].members == ("leaf1", "leaf2")
    assert topology.path("n4") == () and "n4" in folded.remarks[-1]


def test_netq_follows_its_tiers_and_leaves_dangling_links_out() -> None:
    graph = [
        {
            "nodes": [
                {
                    "compounded_nodes": [
                        {"id": "h1", "name": "node-a", "tier": -1},
                        {"id": "h2", "name": "stranger", "tier": -1},
                        {"id": "l1", "name": "leaf", "tier": 1},
                        {"id": "s1", "name": "spine", "tier": 2},
                    ]
                }
            ],
            "links": [{"id": "h1-*-l1", "size": 4}, {"id": "h2-*-l1"}, {"id": "s1-*-l1"}, {"id": "h1-*-nobody"}],
        }
    ]
    folded = netq.topology_from_netq(json.dumps(graph), ["node-a"])
    assert folded.topology.path("node-a") == ("l1", "s1")
    assert list(folded.topology.places) == ["node-a"]
    assert any("h1-*-nobody" in remark for remark in folded.remarks)
    with pytest.raises(SourceError, match="one graph"):
        netq.topology_from_netq("[{},{}]")


def test_air_tells_switches_by_system_and_function() -> None:
    document = {
        "format": "JSON",
        "content": {
            "nodes": {
                "leaf01": {"os": "cumulus-vx-5.9"},
                "spine01": {"function": "spine"},
                "server01": {"os": "ubuntu"},
            },
            "links": [
                [{"node": "leaf01", "interface": "swp1"}, {"node": "server01", "interface": "eth1"}],
                [{"node": "spine01", "interface": "swp1"}, {"node": "leaf01", "interface": "swp51"}],
                [{"node": "server01", "interface": "eth0"}, "exit"],
            ],
        },
    }
    assert netq.topology_from_json(json.dumps(document)).topology.path("server01") == ("leaf01", "spine01")


AWS = {
    "Instances": [
        {
            "InstanceId": "i-1",
            "NetworkNodes": ["nn-top", "nn-mid", "nn-leaf"],
            "CapacityBlockId": "cb-1",
            "AvailabilityZone": "us-west-2b",
        },
        {"InstanceId": "i-2", "NetworkNodes": ["nn-top", "nn-mid", "nn-leaf2"], "AvailabilityZone": "us-west-2b"},
    ]
}
GCP = {
    "items": [
        {
            "id": "11",
            "name": "vm-1",
            "zone": "https://x/zones/us-a1-b",
            "resourceStatus": {"physicalHostTopology": {"cluster": "c", "block": "b", "subblock": "s", "host": "h"}},
        }
    ]
}
OCI = {
    "data": {
        "items": [
            {
                "instance-id": "ocid1",
                "local-block-id": "lb",
                "network-block-id": "nb",
                "hpc-island-id": "hi",
                "gpu-memory-fabric-id": "gf",
                "additional-data": {"locationDetails": {"rack": "r7"}},
            },
            {"id": "", "local-block-id": "x"},
        ]
    }
}
NEBIUS = {
    "items": [
        {
            "metadata": {"id": "computeinstance-1", "name": "w-1"},
            "spec": {"nvl_instance_group_id": "g"},
            "status": {"infiniband_topology_path": {"path": ["t", "m", "l"]}},
        }
    ]
}


@pytest.mark.parametrize(
    ("provider", "answer", "node", "path", "domain"),
    [
        ("aws", AWS, "i-1", ("nn-leaf", "nn-mid", "nn-top"), "cb-1"),
        ("gcp", GCP, "vm-1", ("s", "b", "c"), "s"),
        ("gcp", GCP["items"], "vm-1", ("s", "b", "c"), "s"),
        (
            "gcp",
            {"items": [{"id": "1", "resourceStatus": {"physicalHost": "/cl/rack/host"}}]},
            "1",
            ("cl/rack", "cl"),
            "",
        ),
        ("oci", OCI, "ocid1", ("lb", "nb", "hi"), "gf"),
        (
            "oci",
            {
                "id": "o2",
                "rdmaTopologyData": {
                    "customerLocalBlock": "l",
                    "customerNetworkBlock": "n",
                    "customerHPCIslandId": "h",
                },
            },
            "o2",
            ("l", "n", "h"),
            "",
        ),
        ("nebius", NEBIUS, "w-1", ("l", "m", "t"), "g"),
    ],
)
def test_clouds(provider: str, answer: Any, node: str, path: tuple[str, ...], domain: str) -> None:
    topology = cloud.topology_from_answers(provider, json.dumps(answer)).topology
    assert topology.path(node) == path
    assert topology.places[node].domain == domain


def test_cloud_instances_become_the_nodes_that_the_caller_names() -> None:
    known = {"i-1": cloud.KnownInstance("node-1", "us-west-2"), "i-9": cloud.KnownInstance("node-9")}
    folded = cloud.topology_from_answers("aws", json.dumps([AWS]), known)
    assert folded.topology.places["node-1"] == Place(
        "node-1", ("nn-leaf",), "cb-1", "", "us-west-2b", "us-west-2", "i-1"
    )
    assert list(folded.topology.places) == ["node-1"]
    assert "i-9" in folded.remarks[0]


def test_a_cloud_that_contradicts_itself_is_refused() -> None:
    broken = {
        "Instances": [{"InstanceId": "a", "NetworkNodes": ["x", "l"]}, {"InstanceId": "b", "NetworkNodes": ["y", "l"]}]
    }
    with pytest.raises(SourceError, match='"l" is under "x" for one node and under "y"'):
        cloud.topology_from_answers("aws", json.dumps(broken))
    with pytest.raises(SourceError, match="twice"):
        cloud.topology_from_answers("aws", json.dumps([AWS, AWS]))


@pytest.mark.parametrize("provider", list(cloud.PARSERS))
@pytest.mark.parametrize("raw", ["", "{", "[1]", '{"x": 1}', '{"Instances": [{}]}', '{"items": [1]}', "null"])
def test_what_is_no_answer_is_refused(provider: str, raw: str) -> None:
    if provider == "oci" and raw in ('{"x": 1}', '{"Instances": [{}]}'):
        # One host's own metadata may be any object: without an instance it says nothing.
        assert cloud.topology_from_answers(provider, raw).topology.places == {}
        return
    with pytest.raises(SourceError):
        cloud.topology_from_answers(provider, raw)


@given(st.integers(0, 10_000))
def test_half_an_answer_is_refused(cut: int) -> None:
    text = json.dumps(AWS)
    if cut < len(text):
        with pytest.raises(SourceError):
            cloud.topology_from_answers("aws", text[:cut])


MODEL = """
switches:
  core: {labels: {topology.kubernetes.io/region: r1, example.com/a: core}, switches: [leaf]}
  leaf: {labels: {topology.kubernetes.io/zone: z1, example.com/a: leaf}}
blocks:
- {switch: leaf, nodes: ["n[1-2]"], annotations: {accelerator.topology.test/domain: d}}
- {nodes: [loose]}
"""


def test_simulation_models_hand_labels_down() -> None:
    topology = simulation.topology_from_model(MODEL)
    assert topology.path("n1") == ("leaf", "core")
    assert topology.places["n2"] == Place("n2", ("leaf",), "d", "", "z1", "r1", labels={"example.com/a": "leaf"})
    assert topology.path("loose") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("switches: {a: {switches: [b]}, b: {switches: [a]}}", "ring"),
        ("switches: {a: {switches: [c]}, b: {switches: [c]}}", "two parents"),
        ("blocks: [{switch: gone, nodes: [n]}]", '"gone"'),
        ("blocks: [{nodes: []}]", "no nodes"),
        ("blocks: [{nodes: [n]}, {nodes: [n]}]", "twice"),
        ("switchez: {}", "switchez"),
    ],
)
def test_models_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises((SourceError, InvalidTopology), match=message):
        simulation.topology_from_model(text)


def test_rack_files_and_csv_say_the_same() -> None:
    nested = racks.topology_from_racks('levels: [block, rack]\nzone: z\nnodes: {b1: {r1: "n[1-2]"}, b2: {r1: [n3]}}')
    table = racks.topology_from_csv("node,zone,block,rack\nn[1-2],z,b1,r1\n# a remark\nn3,z,b2,r1\n")
    assert nested == table
    assert nested.path("n3") == ("b2.r1", "b2")
    with pytest.raises(SourceError, match="line 2: 1 cells, expected 2"):
        racks.topology_from_csv("node,rack\nn1\n")
    with pytest.raises(SourceError, match="expected 2 levels, found 1"):
        racks.topology_from_racks("levels: [a, b]\nnodes: {x: n1}")


def test_labels_with_names_that_repeat_go_by_their_path() -> None:
    def tiers(*values: str) -> dict[str, str]:
        return {f"fabric.topograph.run/tier-{tier}": value for tier, value in enumerate(values)}

    topology = labels.topology_from_labels({"n1": tiers("rack-1", "a"), "n2": tiers("rack-1", "b"), "n3": tiers("b")})
    assert topology.path("n1") == ("a/rack-1", "a")
    assert topology.path("n2") == ("b/rack-1", "b")
    assert topology.path("n3") == ("b",)
    # Each says the opposite of the other: both keep their place, and nobody else loses theirs.
    ring = labels.topology_from_labels({"n1": tiers("a", "b"), "n2": tiers("b", "a"), "n3": tiers("c")})
    assert {node: ring.path(node) for node in ring.places} == {"n1": ("b/a", "b"), "n2": ("a/b", "a"), "n3": ("c",)}


def _tier_labels(**values: str) -> dict[str, str]:
    return {f"fabric.topograph.run/tier-{key[1:]}": value for key, value in values.items()}


def test_leaves_below_racks_of_one_name_are_apart() -> None:
    topology = labels.topology_from_labels(
        {"n1": _tier_labels(t0="leaf", t1="rack", t2="a"), "n2": _tier_labels(t0="leaf", t1="rack", t2="b")}
    )
    assert topology.path("n1") == ("a/rack/leaf", "a/rack", "a")
    assert topology.path("n2") == ("b/rack/leaf", "b/rack", "b")


def test_a_missing_tier_is_told_by_the_neighbours() -> None:
    whole = _tier_labels(t0="l", t1="s", t2="c")
    topology = labels.topology_from_labels({"n1": whole, "n2": _tier_labels(t0="l", t2="c"), "n3": {}})
    assert topology.path("n2") == topology.path("n1") == ("l", "s", "c")
    assert topology.path("n3") == ()
    # Nobody knows, or they do not agree: it is stepped over.
    assert labels.topology_from_labels({"n": _tier_labels(t1="l", t7="c")}).path("n") == ("l", "c")


def test_one_value_on_tiers_above_each_other_is_one_switch() -> None:
    assert labels.topology_from_labels({"n": _tier_labels(t0="d", t1="d", t2="e")}).path("n") == ("d", "e")


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.dictionaries(st.sampled_from(["t0", "t1", "t2", "t3"]), st.sampled_from("uvwx"), max_size=4),
        max_size=6,
    )
)
def test_whatever_labels_say_comes_out_as_a_tree(nodes: dict[str, dict[str, str]]) -> None:
    topology = labels.topology_from_labels({node: _tier_labels(**tiers) for node, tiers in nodes.items()})
    for node, tiers in nodes.items():
        closest = [tiers[key] for key in sorted(tiers)][:1]
        assert [switch.rpartition("/")[2] for switch in topology.path(node)[:1]] == closest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested more than"),
        ('{"switches":' + "[" * 100_000, "nested"),
        ("nodes: {a: n1, a: n2}", "nodes.a: the key is there twice"),
        ("nodes: &a {x: *a}", "refers to nothing"),
        ("blocks:\n- &a {nodes: ['n[1-90000]']}\n" + "- *a\n" * 1000, "more than 300,000 names"),
        (
            "nodes:\n  a0: &a0 {x: n1}\n"
            + "".join(f"  a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(9))}}}\n" for i in range(1, 14)),
            "values",
        ),
    ],
    ids=["deep-yaml", "deep-json", "duplicate", "self", "names", "aliases"],
)
def test_hostile_files_are_refused_at_once(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_any(text)


def test_single_letters_are_names() -> None:
    assert set(read_any("nodes: {y: n}").places) == {"n"}


def test_labels_of_clouds_count_where_there_are_no_tiers() -> None:
    keys = {f"topology.k8s.aws/network-node-layer-{layer}": f"nn-{layer}" for layer in (1, 2, 3)}
    assert labels.topology_from_labels({"n": keys}).path("n") == ("nn-3", "nn-2", "nn-1")


def test_domains_of_devices() -> None:
    assert accelerators.domain_of({"gpu.nvidia.com/clusterUUID": "u", "cliqueID": 3}) == "u.3"
    assert accelerators.domain_of({"sliceName": "d"}) == "d"
    # Also the GPUs of one node have an nvlinkDomain.
    assert accelerators.domain_of({"nvlinkDomain": "GPU-1"}) == ""
    topology = accelerators.topology_from_devices(
        [("n1", {"sliceName": "d"})], {"n1": {}, "n2": {"nvidia.com/gpu.clique": "u.1"}}
    )
    assert {node: place.domain for node, place in topology.places.items()} == {"n1": "d", "n2": "u.1"}
    with pytest.raises(InvalidTopology, match="several domains"):
        accelerators.topology_from_devices([("n1", {"sliceName": "d"}), ("n1", {"sliceName": "e"})])


def test_topology_conf_with_continued_lines_and_mistakes() -> None:
    topology = slurm_conf.topology_from_slurm(
        "SwitchName=s Switches=l[1-2]\nSwitchName=l1 \\\n  Nodes=n[1-2]\nSwitchName=l2 Nodes=n3\n"
    )
    assert topology.switches["l1"] == Switch("l1", "s")
    for text, message in (
        ("SwitchName=a Switches=c\nSwitchName=b Switches=c", "also below"),
        ("SwitchName", "not KEY=VALUE"),
    ):
        with pytest.raises(SourceError, match=message):
            slurm_conf.topology_from_slurm(text)


@pytest.mark.parametrize(
    "text",
    [MODEL, "node,rack\nn1,r\n", "SwitchName=a Nodes=n1\n", "nodes: {r: n1}", '{"nodes": [{"name": "n1"}]}'],
)
def test_files_are_told_apart_by_what_is_in_them(text: str) -> None:
    assert "n1" in read_any(text).places
