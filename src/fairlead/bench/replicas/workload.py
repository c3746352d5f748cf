"""Which workload is meant, and which pods are its own: asked of the API server once, before a run."""

from __future__ import annotations

from typing import Any, NamedTuple

from fairlead.kube.client import Client
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import ApiError, Forbidden, NotFound
from fairlead.kube.kinds import PODS
from fairlead.kube.resources import Resource, Unstructured

_LEADERS_ALONE = "leaderworkerset.sigs.k8s.io/worker-index=0"
"""A LeaderWorkerSet tells autoscalers of its leaders; its workers hold accelerators too."""


class Workload(NamedTuple):
    """`selector`: of its pods, as the API's `/scale` tells it."""

    resource: Resource[Unstructured]
    namespace: str
    name: str
    selector: str

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"


async def find_workloads(client: Client, discovery: Discovery, text: str, field: str) -> list[Workload]:
    """The workload that `Kind/namespace/name` means; of a ModelService with roles each role's RoleScale, as these scale
    by themselves. Raises ValueError, naming the field, for what is not there, has no scale, or may not be looked at."""
    kind, namespace, name = _parts(text, client.namespace)
    try:
        resource = await discovery.find(kind)
    except NotFound:
        raise ValueError(f"{field} is {text!r}: the API server has no kind {kind!r}") from None
    if not resource.namespaced:
        raise ValueError(f"{field} is {text!r}: {resource} have no namespace and no replicas; name a workload")
    try:
        found = await client.get(resource, name, namespace)
        roles = _roles(found) if resource.kind == "ModelService" else []
        if roles:
            scales = await discovery.resource_for(resource.api_version, "RoleScale")
            return [await _workload(client, scales, namespace, f"{name}-{role}", text, field) for role in roles]
        return [await _workload(client, resource, namespace, name, text, field)]
    except NotFound:
        raise ValueError(
            f"{field} is {text!r}: there is no {resource.kind} {name!r} in namespace {namespace!r}"
        ) from None
    except Forbidden as error:
        raise ValueError(f"{field} is {text!r}, which may not be looked at: {error}") from None


async def _workload(
    client: Client, resource: Resource[Unstructured], namespace: str, name: str, text: str, field: str
) -> Workload:
    await client.get(resource, name, namespace)
    try:
        scale = await client.scale(resource, name, namespace)
    except Forbidden:
        raise
    except ApiError:
        raise ValueError(
            f"{field} is {text!r}: {resource} have no scale; name what an autoscaler would scale"
        ) from None
    wanted = [part for part in scale.status.selector.split(",") if part and part != _LEADERS_ALONE]
    if not wanted:
        raise ValueError(
            f"{field} is {text!r}: its scale does not say which pods are its own (status.selector is empty); is its "
            "controller running?"
        )
    selector = ",".join(wanted)
    # Better before the run than in the middle of it.
    await client.request("GET", PODS.path(namespace), params={"labelSelector": selector, "limit": "1"})
    return Workload(resource, namespace, name, selector)


def _parts(text: str, namespace: str) -> tuple[str, str, str]:
    parts = text.split("/")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (parts[0], namespace, parts[1])


def _roles(service: Unstructured) -> list[str]:
    roles = (service.get("spec") or {}).get("roles")
    found: list[Any] = roles if isinstance(roles, list) else []
    return [str(role["name"]) for role in found if isinstance(role, dict) and role.get("name")]


def wanted_replicas(obj: Unstructured) -> int | None:
    """Of the workload as the API has it; None where it does not say."""
    replicas = (obj.get("spec") or {}).get("replicas")
    return replicas if isinstance(replicas, int) and not isinstance(replicas, bool) else None
