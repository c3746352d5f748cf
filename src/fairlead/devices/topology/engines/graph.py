"""The `graph` engine: one entry an instance, with its switches closest first, as Topograph's graph engine writes
it."""

from __future__ import annotations

import msgspec

from fairlead.devices.topology.label_values import DOMAIN, REGION, SUB_DOMAIN, ZONE
from fairlead.devices.topology.model import Topology


class InstanceEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`id` is the provider's instance id, or the node's name where it has none (then `node` is left out)."""

    id: str
    node: str = ""
    network_layers: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class InstanceGraph(msgspec.Struct, frozen=True):
    instances: tuple[InstanceEntry, ...]


def graph(topology: Topology, fabric: str | None = None) -> InstanceGraph:
    """Switches go by their ids; zone, region and domains are labels."""
    entries = []
    for place in topology.places.values():
        said = ((DOMAIN, place.domain), (SUB_DOMAIN, place.sub_domain), (ZONE, place.zone), (REGION, place.region))
        labels = dict(place.labels) | {key: value for key, value in said if value}
        entries.append(
            InstanceEntry(
                id=place.instance or place.node,
                node=place.node if place.instance and place.instance != place.node else "",
                network_layers=topology.path(place.node, fabric),
                labels=dict(sorted(labels.items())),
            )
        )
    return InstanceGraph(tuple(entries))


def graph_json(topology: Topology, fabric: str | None = None) -> bytes:
    return msgspec.json.format(msgspec.json.encode(graph(topology, fabric)), indent=2) + b"\n"
