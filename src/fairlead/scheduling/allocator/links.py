"""How far devices of a node are from each other, told from their attributes.

The scale is Furiosa's (furiosa-smi's link scores, which its own allocator sums over all pairs of a set), extended by
one step for a common root port:

    70  parts of one card, or one fabric (NVLink domain, XGMI hive)
    30  one PCIe switch
    25  one PCIe root
    20  one NUMA node, or one socket
    10  different sockets or NUMA nodes
     0  not known

The distance of two devices is 70 less their score; that of a set is the sum over its pairs. Attributes count under
whatever domain a driver has for its own (`gpu.nvidia.com/nvlinkDomain`), and standard ones under theirs, so that a GPU
and a network card of another driver have a distance, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from fairlead.kube.objects.devices import DeviceAttribute
from fairlead.scheduling.allocator.devices import PreparedDevice

CLOSEST: Final = 70
_SWITCH, _ROOT, _SOCKET, _APART, _UNKNOWN = 30, 25, 20, 10, 0

_CARD: Final = ("resource.kubernetes.io/pciBusID", "pciBusID", "parentUUID", "cardUUID", "uuid")
_SWITCHES: Final = ("fairlead.dev/pcieSwitch", "pcieSwitch")
_ROOTS: Final = ("resource.kubernetes.io/pcieRoot", "pcieRoot")
_NUMA: Final = ("resource.kubernetes.io/numaNode", "numaNode", "numa")
_SOCKETS: Final = ("fairlead.dev/socket", "socket")
_FABRICS: Final = ("nvlinkDomain", "xgmiHive")
_CLUSTERS: Final = ("clusterUUID",)
_CLIQUES: Final = ("cliqueID",)


class Spot(NamedTuple):
    """Where a device is in its node. None where its attributes do not tell."""

    card: Hashable = None
    """The piece of hardware that it is or is a part of."""
    fabric: Hashable = None
    switch: Hashable = None
    root: Hashable = None
    numa: tuple[int, ...] = ()
    """Its NUMA node, or those of its socket."""
    socket: int | None = None


def spot_of(device: PreparedDevice) -> Spot:
    """From the attributes of one device."""
    attributes = device.spec.attributes
    names = _names(device.id.driver)
    found = [_find(attributes, each) for each in names]
    card, switch, root, numa, socket, fabric, cluster, clique = found
    return Spot(
        _text(card),
        _text(fabric) or _clique(cluster, clique),
        _text(switch),
        _text(root),
        _numbers(numa),
        next(iter(_numbers(socket)), None),
    )


def distance(one: Spot, other: Spot) -> int:
    """How far two devices are apart: 0 for the closest, 70 where nothing is known. Symmetric."""
    if one.card is not None and one.card == other.card:
        return 0
    if one.fabric is not None and one.fabric == other.fabric:
        return 0
    if one.switch is not None and one.switch == other.switch:
        return CLOSEST - _SWITCH
    if one.root is not None and one.root == other.root:
        return CLOSEST - _ROOT
    if one.numa and other.numa and not set(one.numa).isdisjoint(other.numa):
        return CLOSEST - _SOCKET
    if one.socket is not None and other.socket is not None:
        return CLOSEST - (_SOCKET if one.socket == other.socket else _APART)
    return CLOSEST - (_APART if one.numa and other.numa else _UNKNOWN)


@lru_cache(maxsize=256)
def _names(driver: str) -> tuple[tuple[str, ...], ...]:
    """The names under which a driver's devices may tell each thing: a name without a domain is the driver's own."""
    asked = (_CARD, _SWITCHES, _ROOTS, _NUMA, _SOCKETS, _FABRICS, _CLUSTERS, _CLIQUES)
    return tuple(
        tuple(full for name in names for full in ((name,) if "/" in name else (name, f"{driver}/{name}")))
        for names in asked
    )


def _find(attributes: Mapping[str, DeviceAttribute], names: tuple[str, ...]) -> DeviceAttribute | None:
    """The first of these attributes that is there."""
    for name in names:
        if name in attributes:
            return attributes[name]
    return None


def _clique(cluster: DeviceAttribute | None, clique: DeviceAttribute | None) -> Hashable:
    return (cluster.string, clique.int_) if cluster is not None and cluster.string and clique is not None else None


def _text(attribute: DeviceAttribute | None) -> str | None:
    return attribute.string or None if attribute is not None else None


def _numbers(attribute: DeviceAttribute | None) -> tuple[int, ...]:
    if attribute is None:
        return ()
    return tuple(sorted(attribute.ints)) if attribute.ints else () if attribute.int_ is None else (attribute.int_,)
