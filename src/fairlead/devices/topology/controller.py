"""Topology and the Kubernetes API: reading nodes and devices, writing labels.

Writing compares first and patches only nodes that differ, so that a repeated run on 5,000 nodes costs one list. Which
zone, region and custom labels are ours is remembered in an annotation: those are taken away when they are no longer
wanted, and what somebody else set is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.devices.topology.engines.labels import DEFAULTS, LabelSettings, compute_labels, compute_patch
from fairlead.devices.topology.model import Topology
from fairlead.devices.topology.snapshot import ClusterSeen, NodeSeen, see
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.kinds import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES

OWNED_ANNOTATION = "topology.fairlead.dev/labels"
FIELD_MANAGER = "fairlead-topology"
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class LabelReport:
    """Names of nodes by what became of them. `unknown` are in the topology but not in the cluster."""

    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    unknown: tuple[str, ...]


async def read_nodes(client: Client, selector: str | None = None) -> ClusterSeen:
    """Nodes only. Raises ApiError, Unreachable."""
    return see((await client.list(NODES, label_selector=selector)).items)


async def read_cluster(client: Client) -> ClusterSeen:
    """Nodes, their devices and who holds those. Raises ApiError, Unreachable."""
    nodes, slices, claims = await asyncio.gather(
        client.list(NODES), client.list(RESOURCE_SLICES), client.list(RESOURCE_CLAIMS)
    )
    return see(nodes.items, slices.items, claims.items)


async def write_labels(
    client: Client,
    topology: Topology,
    settings: LabelSettings = DEFAULTS,
    selector: str | None = None,
    *,
    dry_run: bool = False,
) -> LabelReport:
    """Give nodes the labels of the topology. Nodes of the cluster that the topology does not know lose what we once
    set. Raises Unsupported, ApiError, Unreachable; what was patched before an error stays."""
    wanted = compute_labels(topology, settings)
    cluster = await read_nodes(client, selector)
    free = asyncio.Semaphore(_AT_ONCE)
    changed: list[str] = []
    gone: list[str] = []

    async def patch(node: NodeSeen, body: Mapping[str, object]) -> None:
        async with free:
            try:
                await client.patch(NODES, node.name, body, field_manager=FIELD_MANAGER, dry_run=dry_run)
            except NotFound:
                gone.append(node.name)
            else:
                changed.append(node.name)

    bodies = ((node, compute_body(node, wanted.get(node.name, {}), settings)) for node in cluster.nodes.values())
    try:
        async with asyncio.TaskGroup() as tasks:
            for node, body in bodies:
                if body:
                    tasks.create_task(patch(node, body))
    except* Exception as errors:
        # The first says what is wrong; "a group of errors" says nothing.
        raise _first(errors) from errors
    unknown = sorted({*gone, *(set(wanted) - set(cluster.nodes))})
    unchanged = sorted(set(cluster.nodes) - set(changed) - set(gone))
    return LabelReport(tuple(sorted(changed)), tuple(unchanged), tuple(unknown))


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def compute_body(node: NodeSeen, wanted: Mapping[str, str], settings: LabelSettings) -> dict[str, object]:
    """The merge patch of one node, empty where nothing differs."""
    remembered = node.annotations.get(OWNED_ANNOTATION, "")
    owned = frozenset(key for key in remembered.split(",") if key)
    change = compute_patch(node.labels, wanted, owned, settings)
    kept = owned & set(node.labels) - {key for key, value in change.items() if value is None}
    ours = ",".join(sorted({key for key, value in change.items() if value is not None} | kept))
    metadata: dict[str, object] = {}
    if change:
        metadata["labels"] = change
    if ours != remembered:
        metadata["annotations"] = {OWNED_ANNOTATION: ours or None}
    return {"metadata": metadata} if metadata else {}
