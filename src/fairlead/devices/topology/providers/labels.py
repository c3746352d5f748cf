"""What nodes' labels already say: tiers, domains, zones. The reader of what `engines.labels` writes.

A value may repeat under different parents ("rack-1" of two blocks): such a switch goes by its path, "block-a/rack-1".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from fairlead.devices.topology.label_values import CLIQUE, DOMAIN, FABRIC_TIER, REGION, SUB_DOMAIN, ZONE
from fairlead.devices.topology.model import Place, Switch, Topology

_TIER = re.compile(re.escape(FABRIC_TIER) + r"(\d{1,4})")
CLOUD_TIERS: tuple[tuple[str, ...], ...] = (
    tuple(f"topology.k8s.aws/network-node-layer-{layer}" for layer in (3, 2, 1)),
    ("cloud.google.com/gce-topology-subblock", "cloud.google.com/gce-topology-block"),
    ("oci.oraclecloud.com/host.rack_id", "oci.oraclecloud.com/host.network_block_id"),
)
"""Labels that clouds' own controllers write, closest first; read where a node has no `fabric.topograph.run` tiers."""


def topology_from_labels(
    nodes: Mapping[str, Mapping[str, str]],
    *,
    fabric_labels: Sequence[str] = (),
    domain_labels: Sequence[str] = (DOMAIN, CLIQUE),
) -> Topology:
    """`nodes`: name -> labels. `fabric_labels` are other keys than the usual, closest first; the first of
    `domain_labels` that a node carries is its accelerator domain. Raises InvalidTopology, where tiers go round in a
    ring."""
    chains = {name: _chain(labels, fabric_labels) for name, labels in nodes.items()}
    ambiguous = _ambiguous(chains.values())
    switches: dict[str, Switch] = {}
    places: list[Place] = []
    for name, labels in nodes.items():
        path = _qualified(chains[name], ambiguous)
        for identifier, parent in zip(path, [*path[1:], ""], strict=True):
            known = switches.get(identifier)
            if known is None or (parent and not known.parent):
                switches[identifier] = Switch(identifier, parent)
        domain_key = next((key for key in domain_labels if labels.get(key)), "")
        domain = labels[domain_key] if domain_key else ""
        places.append(
            Place(
                name,
                tuple(path[:1]),
                domain,
                labels.get(SUB_DOMAIN, "") if domain else "",
                labels.get(ZONE, ""),
                labels.get(REGION, ""),
            )
        )
    return Topology.of(switches.values(), places)


def _chain(labels: Mapping[str, str], fabric_labels: Sequence[str]) -> list[str]:
    """Values closest first; a tier that is missing in the middle is stepped over."""
    if fabric_labels:
        return [labels[key] for key in fabric_labels if labels.get(key)]
    tiers = sorted(
        (int(match[1]), value) for key, value in labels.items() if value and (match := _TIER.fullmatch(key)) is not None
    )
    if tiers:
        return [value for _, value in tiers]
    for keys in CLOUD_TIERS:
        if chain := [labels[key] for key in keys if labels.get(key)]:
            return chain
    return []


def _ambiguous(chains: Iterable[Sequence[str]]) -> set[str]:
    """Values with several parents. Those of one known parent and of none are one switch."""
    parents: dict[str, set[str]] = defaultdict(set)
    for chain in chains:
        for value, parent in pairwise(chain):
            parents[value].add(parent)
    return {value for value, above in parents.items() if len(above) > 1}


def _qualified(chain: Sequence[str], ambiguous: set[str]) -> list[str]:
    if not ambiguous.intersection(chain):
        return list(chain)
    return ["/".join(reversed(chain[index:])) if value in ambiguous else value for index, value in enumerate(chain)]
