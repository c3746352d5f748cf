"""Files that people keep about their machine rooms: nodes by rack and block, as YAML, JSON or CSV.

YAML nests from the outside in; each level's keys are names, the innermost value is a host list:

    levels: [block, rack]            # outermost first
    nodes: {b1: {r1: "n[1-4]", r2: "n[5-8]"}}

CSV has a header: `node`, then any of `region`, `zone`, `domain`, `subDomain`, `instance`; every other column is a
tier, the outermost first. Names of racks repeat between blocks, so a tier's id carries those above it: `b1.r1`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.devices.topology.errors import SourceError
from fairlead.devices.topology.hostlist import HostLists
from fairlead.devices.topology.model import Place, Switch, Topology
from fairlead.devices.topology.providers.decoding import decode_yaml

_FIELDS = {"node", "region", "zone", "domain", "subDomain", "instance"}
_DEEPEST = 16


class RackFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nodes: Mapping[str, Any]
    levels: tuple[str, ...] = ()
    region: str = ""
    zone: str = ""


def topology_from_racks(raw: bytes | str, source: str = "rack file") -> Topology:
    """From YAML or JSON. Raises SourceError, InvalidTopology."""
    file = decode_yaml(raw, RackFile, source)
    lists = HostLists()
    switches: dict[str, Switch] = {}
    places: list[Place] = []

    def walk(value: Any, path: tuple[str, ...]) -> None:
        where = ".".join(path) or "nodes"
        if isinstance(value, Mapping):
            if (file.levels and len(path) >= len(file.levels)) or len(path) >= _DEEPEST:
                raise SourceError(
                    f"{source}: {where}: expected a host list below {len(path)} levels, found more levels"
                )
            for name, below in value.items():
                walk(below, (*path, str(name)))
            return
        if file.levels and len(path) != len(file.levels):
            raise SourceError(f"{source}: {where}: expected {len(file.levels)} levels, found {len(path)}")
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise SourceError(f'{source}: {where}: expected a host list such as "n[1-8]", found {value!r}')
        leaf = _add(switches, path)
        places.extend(Place(node, leaf, zone=file.zone, region=file.region) for node in lists.expand(texts))

    walk(file.nodes, ())
    return Topology.of(switches.values(), places)


def topology_from_csv(text: str, source: str = "CSV") -> Topology:
    """Raises SourceError with the line, InvalidTopology."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    lists = HostLists()
    switches: dict[str, Switch] = {}
    places: list[Place] = []
    header: list[str] = []
    try:
        for row in rows:
            if not any(cell.strip() for cell in row) or row[0].lstrip().startswith("#"):
                continue
            cells = [cell.strip() for cell in row]
            if not header:
                header = cells
                if "node" not in header or len(set(header)) != len(header):
                    raise SourceError(
                        f'{source}, line {rows.line_num}: the header needs one column "node": {",".join(cells)}'
                    )
                continue
            if len(cells) != len(header):
                raise SourceError(f"{source}, line {rows.line_num}: {len(cells)} cells, expected {len(header)}")
            named = dict(zip(header, cells, strict=True))
            path = tuple(named[key] for key in header if key not in _FIELDS and named[key])
            leaf = _add(switches, path)
            domain, sub_domain = named.get("domain", ""), named.get("subDomain", "")
            zone, region, instance = named.get("zone", ""), named.get("region", ""), named.get("instance", "")
            places += [
                Place(node, leaf, domain, sub_domain, zone, region, instance) for node in lists.expand(named["node"])
            ]
    except csv.Error as error:
        raise SourceError(f"{source}, line {rows.line_num}: {error}") from error
    return Topology.of(switches.values(), places)


def _add(switches: dict[str, Switch], path: tuple[str, ...]) -> tuple[str, ...]:
    """The switches of a path, outermost first; its leaf, or nothing."""
    for depth in range(1, len(path) + 1):
        identifier = ".".join(path[:depth])
        switches.setdefault(identifier, Switch(identifier, ".".join(path[: depth - 1])))
    return (".".join(path),) if path else ()
