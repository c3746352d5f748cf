"""How close published devices are to each other, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from fairlead.cli.columns import columns
from fairlead.cli.device_view import Shown
from fairlead.devices.inventory import Attribute, Link
from fairlead.devices.topology.links import FABRIC_SCORE, SELF, LinkMatrix, Spot, link_matrix, spot_from

_FABRICS = {"xgmiHive": "XGMI", "nvlinkDomain": "NVLINK"}
"""Attribute whose equal values mean one fabric -> what its links are called. Slices carry no links themselves."""


def links_of(devices: Sequence[Shown]) -> LinkMatrix:
    names = _names(devices)
    spots: dict[str, Spot] = {}
    for one in devices:
        attributes: dict[str, Attribute] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in one.attributes().items()
        }
        spots[names[one.key]] = spot_from(names[one.key], attributes)
    fabric = [
        Link(names[a.key], names[b.key], kind, FABRIC_SCORE)
        for a, b in combinations(devices, 2)
        for attribute, kind in _FABRICS.items()
        if a.driver == b.driver and a.attribute(attribute) == b.attribute(attribute) != "-"
    ]
    return link_matrix(spots, fabric)


def links_text(devices: Sequence[Shown]) -> str:
    matrix = links_of(devices)
    rows = [
        [name, *(kind if kind == SELF else f"{kind} {score}" for kind, score in zip(kinds, scores, strict=True))]
        for name, kinds, scores in zip(matrix.names, matrix.kinds, matrix.scores, strict=True)
    ]
    return columns(["", *matrix.names], rows)


def links_json(devices: Sequence[Shown]) -> dict[str, Any]:
    matrix = links_of(devices)
    return {
        "devices": list(matrix.names),
        "kinds": [list(r) for r in matrix.kinds],
        "scores": [list(r) for r in matrix.scores],
    }


def _names(devices: Sequence[Shown]) -> dict[tuple[str, str, str], str]:
    """Names, with the driver's where two drivers have the same."""
    times = Counter(one.name for one in devices)
    return {one.key: one.name if times[one.name] == 1 else f"{one.driver}/{one.name}" for one in devices}
