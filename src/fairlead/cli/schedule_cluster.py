"""All that a planner looks at, read once from an API server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fairlead.cli.failure import Failed
from fairlead.cli.schedule_inputs import Inputs
from fairlead.kube.client import Client
from fairlead.kube.errors import Forbidden, NotFound
from fairlead.kube.kinds import (
    DEPLOYMENTS,
    JOBS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    STATEFUL_SETS,
)
from fairlead.kube.resources import Resource
from fairlead.scheduling.gangs.sources.reference import LEADER_WORKER_SETS
from fairlead.scheduling.sources import OPTIONAL

_NEEDED: Final[Sequence[tuple[Resource[Any], ...]]] = (
    (NODES,),
    (RESOURCE_SLICES,),
    (RESOURCE_CLAIMS,),
    (PERSISTENT_VOLUME_CLAIMS,),
)
"""Without devices of its own an API server may have no slices or claims."""


def read_cluster(kubeconfig: Path | None) -> tuple[Inputs, list[Any]]:
    """The objects, pods last, and the ResourceClaimTemplates beside them. Raises ApiError, Unreachable."""
    return asyncio.run(_read(kubeconfig))


WORKLOADS: Final[Mapping[str, Resource[Any]]] = {
    "ModelService": Resource.of("fairlead.dev/v1alpha1", "modelservices", "ModelService"),
    "Deployment": DEPLOYMENTS,
    "StatefulSet": STATEFUL_SETS,
    "ReplicaSet": REPLICA_SETS,
    "Job": JOBS,
    "LeaderWorkerSet": LEADER_WORKER_SETS,
}


async def _read(kubeconfig: Path | None) -> tuple[Inputs, list[Any]]:
    async with Client.load(kubeconfig) as client:
        kinds = (*OPTIONAL, *_NEEDED)
        *others, templates = await asyncio.gather(
            *(_served(client, versions) for versions in kinds), _served(client, (RESOURCE_CLAIM_TEMPLATES,))
        )
        pods = (await client.list(PODS)).items
    found = [PODS.identified(each) for each in pods]
    return Inputs([*(obj for listed in others for obj in listed), *found]), templates


def read_workload(kubeconfig: Path | None, kind: str, namespace: str, name: str) -> Any:
    """One workload, whole. Raises Failed where it is not there; ApiError, Unreachable."""
    return asyncio.run(_read_workload(kubeconfig, kind, namespace, name))


async def _read_workload(kubeconfig: Path | None, kind: str, namespace: str, name: str) -> Any:
    resource = WORKLOADS[kind].as_unstructured()
    async with Client.load(kubeconfig) as client:
        try:
            return resource.identified(await client.get(resource, name, namespace))
        except NotFound:
            raise Failed(
                f"there is no {kind} {namespace}/{name}; `kubectl get {resource.plural} -A` lists them, -n names "
                "another namespace"
            ) from None


async def _served(client: Client, versions: Sequence[Resource[Any]]) -> list[Any]:
    """The objects of the first version that is served, none where no version is or where we may not see them."""
    for resource in versions:
        try:
            listed = await client.list(resource)
        except (NotFound, Forbidden):
            continue
        return [resource.identified(each) for each in listed.items]
    return []
