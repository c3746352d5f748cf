"""Devices of a node, by closeness."""

from __future__ import annotations

from fairlead.devices.inventory import Device, Link
from fairlead.devices.topology.links import fabric_links, link_matrix
from fairlead.devices.topology.text import matrix_lines

ROOT, NUMA = "resource.kubernetes.io/pcieRoot", "resource.kubernetes.io/numaNode"


def _card(name: str, switch: str, root: str, numa: int, socket: int) -> Device:
    return Device(name, {"pcieSwitch": switch, ROOT: root, NUMA: numa, "npu.furiosa.ai/socket": socket})


DEVICES = [
    _card("npu0", "0000:20", "pci0000:20", 0, 0),
    _card("npu1", "0000:20", "pci0000:20", 0, 0),
    _card("npu2", "0000:30", "pci0000:20", 0, 0),
    _card("npu3", "0000:50", "pci0000:50", 0, 0),
    _card("npu4", "0000:60", "pci0000:60", 1, 0),
    _card("npu5", "0000:90", "pci0000:90", 2, 1),
    Device("npu0pe0-3", {}, parent="npu0"),
    Device("bare"),
]


def test_words_and_scores_from_attributes() -> None:
    matrix = link_matrix(DEVICES)
    assert matrix.between("npu0", "npu0") == ("X", 70)
    assert matrix.between("npu0", "npu1") == ("PIX", 30)
    assert matrix.between("npu0", "npu2") == ("PHB", 20)
    assert matrix.between("npu0", "npu3") == ("NODE", 20)
    assert matrix.between("npu0", "npu4") == ("SYS", 20)
    assert matrix.between("npu0", "npu5") == ("SYS", 10)
    assert matrix.between("npu0", "npu0pe0-3") == ("CARD", 70)
    assert matrix.between("npu0", "bare") == ("?", 0)


def test_links_of_the_inventory_win_where_they_are_closer() -> None:
    links = [Link("npu0", "npu5", "NV18", 70), Link("npu0", "npu1", "SYS", 10), Link("npu5", "npu0", "NV1", 40)]
    matrix = link_matrix(DEVICES, links)
    assert matrix.between("npu5", "npu0") == ("NV18", 70)
    assert matrix.between("npu0", "npu1") == ("PIX", 30)
    assert matrix.between("npu0pe0-3", "npu5") == ("NV18", 70)


def test_the_matrix_is_symmetric_and_prints() -> None:
    matrix = link_matrix(DEVICES[:2])
    assert matrix.kinds == (("X", "PIX"), ("PIX", "X"))
    assert matrix_lines(matrix) == ["      npu0  npu1", "npu0  X     PIX", "npu1  PIX   X"]
    assert matrix_lines(matrix, scores=True)[1].split() == ["npu0", "70", "30"]


def test_attributes_that_name_one_fabric_are_links() -> None:
    devices = {
        "gpu0": {"nvlinkDomain": "a"},
        "gpu1": {"gpu.nvidia.com/nvlinkDomain": "a"},
        "gpu2": {"nvlinkDomain": "b"},
    }
    assert fabric_links(devices) == [Link("gpu0", "gpu1", "NVLINK", 70)]
