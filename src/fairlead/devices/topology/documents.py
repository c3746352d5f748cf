"""A topology as JSON or YAML and back: one form, keys and lists in a fixed order, nothing that is empty.

switches: [{id: leaf-1, parent: spine-1, name: …, fabric: …, members: […]}]
nodes:    [{name: n1, switches: [leaf-1], domain: …, subDomain: …, zone: …, region: …, instance: …}]
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.devices.topology.model import Place, Switch, Topology
from fairlead.devices.topology.providers.decoding import decode_json, decode_yaml


class SwitchDocument(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"
):
    id: str
    parent: str = ""
    name: str = ""
    fabric: str = ""
    members: tuple[str, ...] = ()


class NodeDocument(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"
):
    name: str
    switches: tuple[str, ...] = ()
    domain: str = ""
    sub_domain: str = ""
    zone: str = ""
    region: str = ""
    instance: str = ""
    labels: Mapping[str, str] = {}


class TopologyDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    switches: tuple[SwitchDocument, ...] = ()
    nodes: tuple[NodeDocument, ...] = ()


def to_document(topology: Topology) -> TopologyDocument:
    return TopologyDocument(
        switches=tuple(
            SwitchDocument(
                id=switch.id, parent=switch.parent, name=switch.name, fabric=switch.fabric, members=switch.members
            )
            for switch in topology.switches.values()
        ),
        nodes=tuple(
            NodeDocument(
                name=place.node,
                switches=place.leaves,
                domain=place.domain,
                sub_domain=place.sub_domain,
                zone=place.zone,
                region=place.region,
                instance=place.instance,
                labels=dict(sorted(place.labels.items())),
            )
            for place in topology.places.values()
        ),
    )


def from_document(document: TopologyDocument) -> Topology:
    """Raises InvalidTopology."""
    return Topology.of(
        (Switch(item.id, item.parent, item.name, item.fabric, item.members) for item in document.switches),
        (
            Place(
                item.name,
                item.switches,
                item.domain,
                item.sub_domain,
                item.zone,
                item.region,
                item.instance,
                item.labels,
            )
            for item in document.nodes
        ),
    )


def to_json(topology: Topology) -> bytes:
    """Canonical: equal topologies give equal bytes. Indented, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(to_document(topology)), indent=2) + b"\n"


def to_yaml(topology: Topology) -> bytes:
    return msgspec.yaml.encode(to_document(topology))


def read(text: bytes | str) -> Topology:
    """From JSON or YAML. Raises SourceError, InvalidTopology."""
    raw = text.encode() if isinstance(text, str) else text
    decode = decode_json if raw.lstrip()[:1] == b"{" else decode_yaml
    return from_document(decode(raw, TopologyDocument, "topology document"))
