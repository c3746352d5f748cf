"""What nodes' labels already say: tiers, domains, zones. The reader of what `engines.labels` writes.

A value may repeat under different parents ("rack-1" of two blocks): such a switch goes by its path, "block-a/rack-1".
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise, zip_longest

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
    `domain_labels` that a node carries is its accelerator domain. Whatever the labels say comes out as a tree: one
    node's mistake must not hide the others."""
    seen = {name: _chain(labels, fabric_labels) for name, labels in nodes.items()}
    filled = _fill_gaps(set(seen.values()))
    ambiguous = _ambiguous(filled.values())
    switches: dict[str, Switch] = {}
    places: list[Place] = []
    for name, labels in nodes.items():
        path = _qualified(filled[seen[name]], ambiguous)
        for identifier, parent in zip_longest(path, path[1:], fillvalue=""):
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


Chain = tuple[tuple[int, str], ...]
"""(tier, value), closest first."""


def _chain(labels: Mapping[str, str], fabric_labels: Sequence[str]) -> Chain:
    if fabric_labels:
        return _numbered(labels, fabric_labels)
    tiers = sorted(
        (int(match[1]), value) for key, value in labels.items() if value and (match := _TIER.fullmatch(key)) is not None
    )
    if tiers:
        return _without_repeats(tiers)
    return next((chain for keys in CLOUD_TIERS if (chain := _numbered(labels, keys))), ())


def _numbered(labels: Mapping[str, str], keys: Sequence[str]) -> Chain:
    return _without_repeats((tier, labels[key]) for tier, key in enumerate(keys) if labels.get(key))


def _without_repeats(tiers: Iterable[tuple[int, str]]) -> Chain:
    """A value that tiers above each other share is one switch."""
    found: list[tuple[int, str]] = []
    for tier, value in tiers:
        if not found or found[-1][1] != value:
            found.append((tier, value))
    return tuple(found)


def _fill_gaps(chains: Collection[Chain]) -> dict[Chain, tuple[str, ...]]:
    """Values of each chain. Where a node lacks a tier in the middle, the neighbours on the same switch tell it, if
    they agree; else it is stepped over."""
    above: dict[tuple[int, str], set[str]] = defaultdict(set)
    for chain in chains:
        for (tier, value), (upper, parent) in pairwise(chain):
            if upper == tier + 1:
                above[tier, value].add(parent)
    filled: dict[Chain, tuple[str, ...]] = {}
    for chain in chains:
        values = [value for _, value in chain[:1]]
        for (tier, value), (upper, parent) in pairwise(chain):
            values += [*_between(above, tier, value, upper, parent), parent]
        filled[chain] = tuple(values)
    return filled


def _between(
    above: Mapping[tuple[int, str], set[str]], tier: int, value: str, upper: int, parent: str
) -> tuple[str, ...]:
    found: list[str] = []
    while tier + 1 < upper:
        known = above.get((tier, value), ())
        if len(known) != 1:
            return ()
        tier, value = tier + 1, next(iter(known))
        found.append(value)
    return tuple(found) if found and parent in above.get((tier, value), ()) else ()


def _ambiguous(chains: Iterable[tuple[str, ...]]) -> set[str]:
    """Values that stand for several switches: they have several parents (also because a parent is ambiguous itself),
    stand twice in one chain, or hang from each other in a ring. Those of one known parent and of none are one
    switch."""
    distinct = set(chains)
    ambiguous = {value for chain in distinct for value, count in Counter(chain).items() if count > 1}
    while True:
        parents: dict[str, set[str]] = defaultdict(set)
        for chain in distinct:
            for identifier, parent in pairwise(_qualified(chain, ambiguous)):
                parents[identifier].add(parent)
        found = {value for value, over in parents.items() if len(over) > 1}
        found |= _in_a_ring({value: next(iter(over)) for value, over in parents.items()}) - ambiguous
        found = {identifier for identifier in found if "/" not in identifier}
        if not found:
            return ambiguous
        ambiguous |= found


def _in_a_ring(parents: Mapping[str, str]) -> set[str]:
    ring: set[str] = set()
    done: set[str] = set()
    for start in parents:
        walked: dict[str, int] = {}
        current = start
        while current in parents and current not in done and current not in walked:
            walked[current] = len(walked)
            current = parents[current]
        if current in walked:
            ring.update(list(walked)[walked[current] :])
        done.update(walked)
    return ring


def _qualified(chain: Sequence[str], ambiguous: set[str]) -> list[str]:
    """Ids: an ambiguous value goes by its whole path."""
    return ["/".join(reversed(chain[index:])) if value in ambiguous else value for index, value in enumerate(chain)]
