"""How close published devices are to each other, as a table and as JSON."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.cli.columns import columns
from fairlead.cli.device_view import Shown
from fairlead.devices.inventory import Attribute
from fairlead.devices.topology.links import SELF, LinkMatrix, Spot, fabric_links, link_matrix, spot_from


def links_of(devices: Sequence[Shown]) -> LinkMatrix:
    names = _names(devices)
    spots: dict[str, Spot] = {}
    by_driver: dict[str, dict[str, Mapping[str, Attribute]]] = defaultdict(dict)
    for one in devices:
        attributes: dict[str, Attribute] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in one.attributes().items()
        }
        spots[names[one.key]] = spot_from(names[one.key], attributes)
        by_driver[one.driver][names[one.key]] = attributes
    return link_matrix(spots, [link for of_driver in by_driver.values() for link in fabric_links(of_driver)])


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
