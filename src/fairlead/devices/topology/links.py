"""How close the devices of one node are to each other, as a matrix.

Two vocabularies for one thing. Furiosa's scale (furiosa-smi's link types, larger is closer): 70 on one card or its
own fabric, 30 under one PCIe switch, 20 under one socket, 10 across sockets, 0 unknown. The words of `nvidia-smi
topo -m`: NV# (lanes of NVLink), PIX (one PCIe bridge), PXB (several bridges), PHB (a host bridge), NODE (host
bridges of one NUMA node), SYS (across NUMA nodes). CARD is ours: parts of one card, for which `topo -m` has no word.
"?" is unknown.

Attributes tell what they can: `pcieSwitch`, `resource.kubernetes.io/pcieRoot`, `numaNode`, `socket`, a device's
parent. `Inventory.links` tell the rest (NVLink lanes, bridges between switches), and win where they are closer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from fairlead.devices.inventory import NUMA_NODE, PCIE_ROOT, Attribute, Device, Link

FABRIC_SCORE = 70
SWITCH_SCORE = 30
SOCKET_SCORE = 20
INTERCONNECT_SCORE = 10
UNKNOWN_SCORE = 0

_FABRICS = {"nvlinkDomain": "NVLINK", "xgmiHive": "XGMI"}
"""Attribute whose equal values mean one fabric -> the word for it, where the number of lanes is not known."""

SELF = "X"
UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a device is in its node; "" and None where its attributes do not tell. `card` is the whole device."""

    card: str
    pcie_switch: str = ""
    pcie_root: str = ""
    numa: frozenset[int] = frozenset()
    socket: int | None = None


@dataclass(frozen=True, slots=True)
class LinkMatrix:
    """`kinds[i][j]` and `scores[i][j]` join `names[i]` and `names[j]`; both are symmetric, and X on the diagonal."""

    names: tuple[str, ...]
    kinds: tuple[tuple[str, ...], ...]
    scores: tuple[tuple[int, ...], ...]

    def between(self, one: str, other: str) -> tuple[str, int]:
        """Word and score of two devices. Raises KeyError for a name that is not there."""
        try:
            row, column = self.names.index(one), self.names.index(other)
        except ValueError:
            raise KeyError(one if one not in self.names else other) from None
        return self.kinds[row][column], self.scores[row][column]


def link_matrix(devices: Sequence[Device] | Mapping[str, Spot], links: Iterable[Link] = ()) -> LinkMatrix:
    """Of an inventory's devices, or of spots by device name (as read back from ResourceSlices)."""
    spots = devices if isinstance(devices, Mapping) else {device.name: spot_of(device) for device in devices}
    known: dict[frozenset[str], Link] = {}
    for link in links:
        pair = frozenset((link.a, link.b))
        if len(pair) == 2 and (pair not in known or known[pair].score < link.score):
            known[pair] = link
    names = tuple(spots)
    kinds = [[SELF] * len(names) for _ in names]
    scores = [[FABRIC_SCORE] * len(names) for _ in names]
    for row, one in enumerate(names):
        for column in range(row + 1, len(names)):
            kind, score = _link(names[row], names[column], spots[one], spots[names[column]], known)
            kinds[row][column] = kinds[column][row] = kind
            scores[row][column] = scores[column][row] = score
    return LinkMatrix(names, tuple(map(tuple, kinds)), tuple(map(tuple, scores)))


def fabric_links(devices: Mapping[str, Mapping[str, Attribute]]) -> list[Link]:
    """Links between devices whose attributes name one fabric, for slices, which carry no links themselves. `devices`:
    name -> attributes; those of different drivers must not be in one call."""
    found: list[Link] = []
    short = {
        name: {key.rpartition("/")[2]: value for key, value in attributes.items()}
        for name, attributes in devices.items()
    }
    for attribute, kind in _FABRICS.items():
        groups: dict[Attribute | None, list[str]] = {}
        for name, attributes in short.items():
            if (value := attributes.get(attribute)) not in (None, ""):
                groups.setdefault(value, []).append(name)
        found += [Link(a, b, kind, FABRIC_SCORE) for names in groups.values() for a, b in combinations(names, 2)]
    return found


def spot_of(device: Device) -> Spot:
    return spot_from(device.name, device.attributes, device.parent)


def spot_from(name: str, attributes: Mapping[str, Attribute], parent: str = "") -> Spot:
    """From attributes, whatever domain a vendor's own ones carry ("npu.furiosa.ai/pcieSwitch" is `pcieSwitch`)."""
    short = {key.rpartition("/")[2]: value for key, value in attributes.items()}
    numa = attributes.get(NUMA_NODE, short.get("numaNode"))
    nodes = numa if isinstance(numa, tuple) else (numa,)
    socket = short.get("socket")
    return Spot(
        card=parent or name,
        pcie_switch=_text(short.get("pcieSwitch")),
        pcie_root=_text(attributes.get(PCIE_ROOT, short.get("pcieRoot"))),
        numa=frozenset(node for node in nodes if isinstance(node, int) and not isinstance(node, bool)),
        socket=socket if isinstance(socket, int) and not isinstance(socket, bool) else None,
    )


def _link(one: str, other: str, a: Spot, b: Spot, known: Mapping[frozenset[str], Link]) -> tuple[str, int]:
    if a.card == b.card:
        return "CARD", FABRIC_SCORE
    told = known.get(frozenset((one, other))) or known.get(frozenset((a.card, b.card)))
    kind, score = _from_spots(a, b)
    if told is not None and told.score >= score:
        return told.kind, told.score
    return kind, score


def _from_spots(a: Spot, b: Spot) -> tuple[str, int]:
    if a.pcie_switch and a.pcie_switch == b.pcie_switch:
        return "PIX", SWITCH_SCORE
    if a.pcie_root and a.pcie_root == b.pcie_root:
        return "PHB", SOCKET_SCORE
    same_numa = bool(a.numa & b.numa)
    if a.socket is not None and b.socket is not None:
        if a.socket != b.socket:
            return "SYS", INTERCONNECT_SCORE
        return ("NODE" if same_numa or not (a.numa and b.numa) else "SYS"), SOCKET_SCORE
    if a.numa and b.numa:
        return ("NODE", SOCKET_SCORE) if same_numa else ("SYS", INTERCONNECT_SCORE)
    return UNKNOWN, UNKNOWN_SCORE


def _text(value: Attribute | None) -> str:
    return value if isinstance(value, str) else ""
