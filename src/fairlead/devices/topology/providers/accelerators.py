"""Accelerator domains that drivers publish: attributes in ResourceSlices, and NVIDIA's label nvidia.com/gpu.clique.

Only domains that may span nodes count. NVIDIA: a GPU's multi-node NVLink fabric is `clusterUUID` and `cliqueID`,
joined by a dot as GPU Feature Discovery writes them (`nvlinkDomain` also names the GPUs of one node: see
`links.fabric_links`). Google: the chips of a multi-host slice carry `sliceName` or `slice`. Names count without
their domain and case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.devices.topology.errors import InvalidTopology, Problem
from fairlead.devices.topology.label_values import CLIQUE
from fairlead.devices.topology.model import Place, Topology

Attributes = Mapping[str, bool | int | str | tuple[int, ...] | tuple[str, ...]]
_WHOLE = ("gpuclique", "slicename", "slice")


def domain_of(attributes: Attributes) -> str:
    """A device's accelerator domain, "" where its attributes name none."""
    short = {
        key.rpartition("/")[2].lower(): str(value) for key, value in attributes.items() if not isinstance(value, tuple)
    }
    cluster, clique = short.get("clusteruuid", ""), short.get("cliqueid", "")
    if cluster and clique:
        return f"{cluster}.{clique}"
    return next((short[name] for name in _WHOLE if short.get(name)), "")


def topology_from_devices(
    devices: Iterable[tuple[str, Attributes]], labels: Mapping[str, Mapping[str, str]] | None = None
) -> Topology:
    """`devices`: (node, attributes) of each; `labels`: node -> labels, of which nvidia.com/gpu.clique counts where
    devices say nothing. Raises InvalidTopology where the devices of one node are in several domains."""
    found: dict[str, set[str]] = {node: set() for node in labels or {}}
    for node, attributes in devices:
        domains = found.setdefault(node, set())
        if domain := domain_of(attributes):
            domains.add(domain)
    problems = [
        Problem("TwoDomains", node, f'node "{node}" has devices of several domains: {", ".join(sorted(domains))}')
        for node, domains in found.items()
        if len(domains) > 1
    ]
    if problems:
        raise InvalidTopology(problems)
    return Topology.of(
        places=[
            Place(node, domain=next(iter(domains), "") or (labels or {}).get(node, {}).get(CLIQUE, ""))
            for node, domains in found.items()
        ]
    )
