"""ibnetdiscover's output, whole, odd and broken."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.devices.topology.errors import SourceError
from fairlead.devices.topology.providers.infiniband import parse_nvlink_partition, topology_from_ibnetdiscover


def fabric(groups: int = 2, nodes: int = 4, rails: int = 2, spines: int = 2, extra: str = "") -> str:
    """A rail-optimised fabric: a node has an adapter to each leaf of its group, a leaf a port to every spine."""
    ports: dict[str, list[str]] = {}
    heads: dict[str, str] = {}

    def cable(one: str, other: str, text: str) -> None:
        for end, peer in ((one, other), (other, one)):
            lines = ports.setdefault(end, [])
            lines.append(f'[{len(lines) + 1}]\t"{peer}"[1](aa) \t\t# "{text}" lid 6 4xNDR')

    for spine in range(spines):
        heads[f"S-s{spine}"] = _switch(f"S-s{spine}", f"spine {spine}")
    for group in range(groups):
        for rail in range(rails):
            leaf = f"S-l{group}{rail}"
            heads[leaf] = _switch(leaf, f"leaf-{group}-{rail}")
            for node in range(nodes):
                adapter = f"H-{group}-{node}-{rail}"
                heads[adapter] = f'Ca\t1 "{adapter}"\t\t# "n{group}-{node} mlx5_{rail}"'
                cable(leaf, adapter, f"n{group}-{node} mlx5_{rail}")
            for spine in range(spines):
                cable(leaf, f"S-s{spine}", "MF0;any:MQM9700/U1")
    text = "#\n# Topology file: generated on Wed Aug  6 16:11:23 2025\n#\n\n"
    for identifier, head in heads.items():
        text += f"vendid=0x2c9\ndevid=0xd2f2\nswitchguid=0x1({identifier})\n{head}\n"
        text += "\n".join(ports.get(identifier, [])) + "\n\n"
    return text + extra


def _switch(identifier: str, name: str) -> str:
    return f'Switch\t65 "{identifier}"\t\t# "MF0;{name}:MQM9700/U1" enhanced port 0 lid 7 lmc 0'


def test_rails_and_spines_fold_into_groups() -> None:
    folded = topology_from_ibnetdiscover(fabric())
    topology = folded.topology
    assert folded.remarks == ()
    assert topology.path("n0-0") == ("S-l00", "S-s0")
    assert topology.path("n1-3") == ("S-l10", "S-s0")
    assert topology.switches["S-l00"].members == ("S-l00", "S-l01")
    assert topology.switches["S-s0"].name == "spine 0"
    assert topology.tiers == {"S-l00": 0, "S-l10": 0, "S-s0": 1}


def test_planes_that_never_meet_are_one_tree() -> None:
    """Each rail with spines of its own: leaves are joined by their nodes, spines by the leaves' groups."""
    text = fabric(spines=0)
    cables = ""
    for rail in range(2):
        cables += (
            f'Switch 65 "S-p{rail}" # "plane {rail}"\n'
            + "".join(f'[{g + 1}] "S-l{g}{rail}"[60] # "l"\n' for g in range(2))
            + "\n"
        )
    topology = topology_from_ibnetdiscover(text + cables).topology
    assert topology.path("n0-1") == ("S-l00", "S-p0")
    assert topology.switches["S-p0"].members == ("S-p0", "S-p1")


def test_aggregation_nodes_unnamed_adapters_and_a_host_on_a_spine_change_nothing() -> None:
    extra = (
        'Ca 1 "H-agg" # "Mellanox Technologies Aggregation Node"\n[1](a) "S-s0"[65] # "x"\n\n'
        'Ca 1 "H-raw" # "MT4129 ConnectX7   Mellanox Technologies"\n[1](a) "S-l00"[30] # "x"\n\n'
        'Ca 1 "H-ufm" # "ufm-01 mlx5_0"\n[1](b) "S-s0"[64] # "x"\n\n'
    )
    plain = topology_from_ibnetdiscover(fabric(nodes=8)).topology
    topology = topology_from_ibnetdiscover(fabric(nodes=8, extra=extra)).topology
    assert topology.switches.keys() == plain.switches.keys()
    assert topology.path("ufm-01") == ("S-s0",)
    assert {node: topology.path(node) for node in plain.places} == {node: plain.path(node) for node in plain.places}


def test_only_nodes_of_the_cluster_count_and_the_rest_is_told() -> None:
    folded = topology_from_ibnetdiscover(fabric(), ["n0-0.example.com", "n0-1", "absent"])
    assert list(folded.topology.places) == ["n0-0.example.com", "n0-1"]
    assert list(folded.topology.switches) == ["S-l00", "S-s0"]
    assert any("no nodes of the cluster" in remark for remark in folded.remarks)
    assert any("absent" in remark for remark in folded.remarks)


def test_one_misplaced_cable_joins_no_groups() -> None:
    extra = 'Ca 1 "H-x" # "n0-0 mlx5_9"\n[1](a) "S-l10"[20] # "x"\n\n'
    folded = topology_from_ibnetdiscover(fabric(extra=extra))
    assert folded.topology.path("n0-0") == ("S-l00", "S-s0")
    assert any('"n0-0"' in remark for remark in folded.remarks)


@pytest.mark.parametrize("text", ["", "# only a comment\n", '[1] "S-1"[2] # "x"\n', "garbage\n"])
def test_what_is_no_output_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="ibnetdiscover"):
        topology_from_ibnetdiscover(text)


def test_a_guid_that_is_there_twice_is_refused_with_its_line() -> None:
    with pytest.raises(SourceError, match=r'line \d+: "S-s0" is described twice'):
        topology_from_ibnetdiscover(fabric() + fabric())


@given(st.data())
def test_cut_off_output_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    text = fabric()
    with contextlib.suppress(SourceError):
        topology_from_ibnetdiscover(text[: data.draw(st.integers(0, len(text)))])


def test_nvlink_partitions() -> None:
    gpu = "Fabric\n  State : Completed\n  CliqueId : 1\n  ClusterUUID : 8f2c\n"
    assert parse_nvlink_partition(gpu * 4) == "8f2c.1"
    assert parse_nvlink_partition("CliqueId : N/A\nClusterUUID : N/A\n") == ""
    assert parse_nvlink_partition("CliqueId : 0\nClusterUUID : 00000000-0000-0000-0000-000000000000\n") == ""
    with pytest.raises(SourceError, match="several"):
        parse_nvlink_partition(gpu + gpu.replace("1", "2"))
    with pytest.raises(SourceError, match="cut off"):
        parse_nvlink_partition("ClusterUUID : 8f2c\n")
