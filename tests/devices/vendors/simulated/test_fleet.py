"""Fleets from YAML: what a good one becomes, and what a bad one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairlead.devices.vendors.simulated.fleet import (
    DOMAIN_LABEL,
    TIER_LABEL,
    Fleet,
    builtin_fleets,
    parse_fleet,
    read_fleet,
)
from fairlead.devices.vendors.simulated.models import MODELS, TpuModel
from fairlead.devices.vendors.simulated.node_text import nodes_text
from fairlead.devices.vendors.simulated.strict import FleetError
from fairlead.embedded.agent.node_spec import parse_nodes

RNGD = "devices: [{model: rngd, count: 8}]"


def test_the_built_in_fleets_are_those_of_the_docs() -> None:
    assert builtin_fleets() == ("gb200", "h100x8", "mi300x8", "mixed", "rngdx8", "tpu-v6e")


@pytest.mark.parametrize("name", builtin_fleets())
def test_a_built_in_fleet_is_described_and_its_nodes_are_understood_by_the_agent(name: str) -> None:
    fleet = read_fleet(name)
    assert fleet.description
    specs = parse_nodes(nodes_text(fleet))
    assert [(spec.name, dict(spec.labels)) for spec in specs] == [(n.name, dict(n.labels)) for n in fleet.nodes]
    assert all(spec.cpu and spec.memory for spec in specs)


def test_rngdx8_is_the_topology_of_furiosas_own_mock() -> None:
    (placed,) = read_fleet("rngdx8").nodes[0].devices
    buses = [seat.bus_id[5:7] for seat in placed.seats]
    assert buses == ["27", "2a", "51", "57", "9e", "a4", "c7", "ca"]
    assert [seat.socket for seat in placed.seats] == [0, 0, 0, 0, 1, 1, 1, 1]
    switches = [seat.switch for seat in placed.seats]
    assert len(set(switches)) == 4 and all(switches[n] == switches[n + 1] for n in (0, 2, 4, 6))


def test_each_h100_has_a_nic_at_its_switch() -> None:
    gpus, nics = read_fleet("h100x8").nodes[0].devices
    assert [seat.root for seat in gpus.seats] == [seat.root for seat in nics.seats]
    assert len({seat.switch for seat in gpus.seats}) == 4


def test_a_rack_of_gb200_is_one_domain() -> None:
    fleet = read_fleet("gb200")
    assert len(fleet.nodes) == 18
    assert len({node.labels[DOMAIN_LABEL] for node in fleet.nodes}) == 1
    assert len({node.devices[0].domain for node in fleet.nodes}) == 1


def test_hosts_of_a_slice_are_numbered_and_know_each_other() -> None:
    nodes = [node for node in read_fleet("tpu-v6e").nodes if node.name.startswith("tpu-4x4")]
    toruses = [node.devices[0].torus for node in nodes]
    assert [torus.worker for torus in toruses if torus] == [0, 1, 2, 3]
    assert {torus.hosts for torus in toruses if torus} == {tuple(node.name for node in nodes)}
    assert {torus.topology for torus in toruses if torus} == {(4, 4, 1)}


def test_several_slices_of_one_group() -> None:
    text = "nodes: [{name: t, count: 8, devices: [{model: tpu-v6e, count: 4, slice: {topology: 4x4}}]}]"
    fleet = parse_fleet(text, "f")
    assert [node.labels[DOMAIN_LABEL] for node in fleet.nodes] == ["t-0-slice"] * 4 + ["t-4-slice"] * 4


def test_tiers_fill_in_order() -> None:
    text = f"network: [{{name: leaf, nodes: 2}}, {{name: spine, nodes: 4}}]\nnodes: [{{name: n, count: 5, {RNGD}}}]"
    labels = [node.labels for node in parse_fleet(text, "f").nodes]
    assert [found[TIER_LABEL.format(0)] for found in labels] == ["leaf-0", "leaf-0", "leaf-1", "leaf-1", "leaf-2"]
    assert [found[TIER_LABEL.format(1)] for found in labels] == ["spine-0"] * 4 + ["spine-1"]


def test_a_bus_without_quotes_is_read_as_meant() -> None:
    text = "nodes: [{name: n, devices: [{model: rngd, at: [{bus: 27}, {bus: 07}, {bus: 9e}]}]}]"
    (placed,) = parse_fleet(text, "f").nodes[0].devices
    assert [seat.bus_id for seat in placed.seats] == ["0000:27:00.0", "0000:07:00.0", "0000:9e:00.0"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'f: expected a mapping with "nodes", found nothing'),
        ("[]", 'f: expected a mapping with "nodes", found list'),
        ("nodes:\n- a: b: c", "f: line 2: not YAML"),
        ("{}", "f: nodes: is missing"),
        ("nodes: []", "f: nodes: there are none"),
        ("nodes: [{}]", "f: nodes[0].name: is missing"),
        ("nodes: [{name: a, coutn: 2}]", "f: nodes[0].coutn: there is no such field; did you mean count?"),
        ("nodes: [{name: a, count: two}]", 'f: nodes[0].count: expected int | null, got "two"'),
        ("nodes: [{name: A}]", "f: nodes[0].name: expected up to 50 lowercase letters"),
        ("nodes: [{name: a, count: 0}]", "f: nodes[0].count: expected 1 to 1000, got 0"),
        ("nodes: [{name: a, count: 600}, {name: b, count: 401}]", "f: nodes[1].count: more than 1000 nodes"),
        ("nodes: [{name: a-1}, {name: a, count: 2}]", 'f: nodes[1].name: "a-1" is also a node of nodes[0]'),
        ("nodes: [{name: a, sockets: 9}]", "f: nodes[0].sockets: expected 1 to 8, got 9"),
        ("nodes: [{name: a, taints: [x]}]", "f: nodes[0].taints[0]: expected key[=value]:Effect"),
        ("nodes: [{name: a, labels: {x: 'a,b'}}]", "f: nodes[0].labels[x]: blanks and the characters"),
        ("nodes: [{name: a, devices: [{count: 1}]}]", "f: nodes[0].devices[0].model: is missing"),
        ("nodes: [{name: a, devices: [{model: rngdd}]}]",
         'f: nodes[0].devices[0].model: no model "rngdd"; did you mean rngd'),
        ("nodes: [{name: a, devices: [{model: rngd, count: 0}]}]", "f: nodes[0].devices[0].count: expected 1 to 64"),
        ("nodes: [{name: a, devices: [{model: rngd, mig: true}]}]",
         "f: nodes[0].devices[0].mig: Furiosa model rngd has no such field"),
        ("nodes: [{name: a, devices: [{model: l4, mig: true}]}]",
         "f: nodes[0].devices[0].mig: NVIDIA L4 cannot be partitioned"),
        ("nodes: [{name: a, devices: [{model: l4, fabric: {nodes: 1}}]}]", "NVIDIA L4 has no NVLink"),
        ("nodes: [{name: a, count: 3, devices: [{model: gb200, count: 4, fabric: {nodes: 2}}]}]",
         "f: nodes[0].devices[0].fabric.nodes: 3 nodes do not divide into domains of 2"),
        ("nodes: [{name: a, devices: [{model: tpu-v6e, count: 3}]}]", "a TPU host has 1, 2, 4 or 8 chips, got 3"),
        ("nodes: [{name: a, devices: [{model: tpu-v6e, count: 4, slice: {topology: 4x}}]}]",
         'f: nodes[0].devices[0].slice.topology: TPU v6e has 2 axes, as 4x4; got "4x"'),
        ("nodes: [{name: a, devices: [{model: tpu-v6e, count: 4, slice: {topology: 4x4}}]}]",
         "a slice of 16 chips takes 4 nodes of 4, and the group has 1; make count a multiple of 4"),
        ("nodes: [{name: a, devices: [{model: tpu-v6e, count: 8, slice: {topology: 2x2}}]}]",
         '"2x2" does not divide into hosts of 2x4 chips'),
        ("nodes: [{name: a, devices: [{model: rngd, at: [{bus: zz}]}]}]",
         'f: nodes[0].devices[0].at[0].bus: expected a PCI bus id such as "27"'),
        ("nodes: [{name: a, devices: [{model: rngd, at: [{bus: '27'}, {bus: '0000:27:00.0'}]}]}]",
         "f: nodes[0].devices[0].at[1].bus: 0000:27:00.0 is also the address of nodes[0].devices[0].at[0]"),
        ("nodes: [{name: a, devices: [{model: rngd, count: 2, at: [{bus: '27'}]}]}]", "but `at` has 1 addresses"),
        ("nodes: [{name: a, pcieSwitches: 32, devices: [{model: rngd, count: 64}, {model: l4, count: 64},"
         " {model: l4, count: 64}]}]", "no PCI bus is left"),
        ("network: [{name: leaf, nodes: 4}, {name: spine, nodes: 6}]\nnodes: [{name: a}]",
         "f: network[1].nodes: 6 is no multiple of the 4 nodes"),
        ("network: [{name: 'a b', nodes: 4}]\nnodes: [{name: a}]", "f: network[0].name: expected a label value"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_path_value_and_remedy(text: str, said: str) -> None:
    with pytest.raises(FleetError) as error:
        parse_fleet(text, "f")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("rngdx9", "rngdx9: no fleet of that name; did you mean rngdx8"),
        ("./nothing.yaml", "./nothing.yaml: no such file"),
        ("/", "/: cannot be read"),
    ],
)
def test_a_fleet_that_is_not_there(asked: str, said: str) -> None:
    with pytest.raises(FleetError, match=said):
        read_fleet(asked)


def test_a_file_of_bytes_is_no_fleet(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FleetError, match="not UTF-8"):
        read_fleet(str(file))


def test_only_some_nodes() -> None:
    fleet = read_fleet("mixed")
    assert [node.name for node in fleet.only(["rngd", "h100"]).nodes] == ["h100", "rngd"]
    with pytest.raises(FleetError, match=r'no node "h10"; did you mean h100'):
        fleet.only(["h10"])


groups = st.builds(
    lambda count, sockets, numa, switches, devices: {
        "count": count, "sockets": sockets, "numaPerSocket": numa, "pcieSwitches": switches, "devices": devices,
    },
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 2), st.integers(0, 8),
    st.lists(
        st.fixed_dictionaries({
            "model": st.sampled_from([n for n, m in MODELS.items() if not isinstance(m, TpuModel)]),
            "count": st.integers(1, 8),
        }),
        max_size=3,
    ),
)  # fmt: skip


def fleet_of(found: list[dict[str, object]]) -> Fleet:
    named = [{"name": f"g{n}", **group} for n, group in enumerate(found)]
    return parse_fleet(yaml.safe_dump({"nodes": named}), "f")


@given(st.lists(groups, min_size=1, max_size=3))
def test_every_device_has_a_bus_of_its_own_and_a_place_that_makes_sense(found: list[dict[str, object]]) -> None:
    for node in fleet_of(found).nodes:
        seats = [seat for placed in node.devices for seat in placed.seats]
        assert len({seat.bus_id for seat in seats}) == len(seats)
        socket_of_switch: dict[str, int] = {}
        for seat in seats:
            assert seat.numa_node // node.group.numa_per_socket == seat.socket < node.group.sockets
            assert (seat.switch is None) == (node.group.pcie_switches == 0)
            assert socket_of_switch.setdefault(seat.switch or seat.root, seat.socket) == seat.socket
            low = int(seat.root[-2:], 16)
            assert int(seat.bus_id[5:7], 16) > low


@given(st.lists(groups, min_size=1, max_size=3))
def test_the_agent_reads_what_a_fleet_becomes(found: list[dict[str, object]]) -> None:
    fleet = fleet_of(found)
    assert [spec.name for spec in parse_nodes(nodes_text(fleet))] == [node.name for node in fleet.nodes]
