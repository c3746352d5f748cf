"""How the controllers read and write: shared copies of whole objects, and the few write forms that they need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fairlead.clock import Clock
from fairlead.embedded.controllers.adoption import by_orphan_namespace
from fairlead.embedded.controllers.pods import Object, controller_of
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informer, Informers
from fairlead.kube.resources import ObjectKey, Resource, Unstructured
from fairlead.kube.store import by_controller_uid, by_namespace

LOG = logging.getLogger("fairlead.controllers")
MANAGER = "kube-controller-manager"
"""The field manager of all writes: tools tell by it what a cluster's own controllers wrote."""

PODS = Resource.of("v1", "pods", "Pod")
NODES = Resource.of("v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource.of("v1", "namespaces", "Namespace", namespaced=False)
SERVICES = Resource.of("v1", "services", "Service")
ENDPOINTS = Resource.of("v1", "endpoints", "Endpoints")
CONFIG_MAPS = Resource.of("v1", "configmaps", "ConfigMap")
SERVICE_ACCOUNTS = Resource.of("v1", "serviceaccounts", "ServiceAccount")
CLAIMS = Resource.of("v1", "persistentvolumeclaims", "PersistentVolumeClaim")
ENDPOINT_SLICES = Resource.of("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
DEPLOYMENTS = Resource.of("apps/v1", "deployments", "Deployment")
REPLICA_SETS = Resource.of("apps/v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource.of("apps/v1", "statefulsets", "StatefulSet")
REVISIONS = Resource.of("apps/v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource.of("batch/v1", "jobs", "Job")
LEASES = Resource.of("coordination.k8s.io/v1", "leases", "Lease")
BUDGETS = Resource.of("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")
RESOURCE_CLAIMS = Resource.of("resource.k8s.io/v1", "resourceclaims", "ResourceClaim")
CLAIM_TEMPLATES = Resource.of("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate")

Keys = Callable[[Object], Iterable[ObjectKey]]


@dataclass(frozen=True, slots=True)
class Watch:
    """A resource whose changes concern a controller, and which of its keys each change wakes."""

    resource: Resource[Unstructured]
    keys: Keys


@dataclass(slots=True)
class Cluster:
    """What a controller is given: the API, shared copies, the time, and a voice."""

    client: Client
    informers: Informers
    clock: Clock
    voices: dict[str, EventRecorder] = field(default_factory=dict)
    """Component -> the recorder of its events."""

    def voice(self, component: str) -> EventRecorder:
        """The recorder of a component's events; `speak` (in `run`) must be running for them to be written."""
        if component not in self.voices:
            self.voices[component] = EventRecorder(self.client, component, instance="", clock=self.clock)
        return self.voices[component]

    def copy(self, resource: Resource[Unstructured]) -> Informer[Unstructured]:
        """The shared copy of a resource, indexed by namespace, by controlling owner, and orphans by namespace."""
        indexes = {"namespace": by_namespace, "controller": by_controller_uid, "orphans": by_orphan_namespace}
        return self.informers.informer(resource, indexes=indexes)

    def get(self, resource: Resource[Unstructured], key: ObjectKey) -> Object | None:
        return self.copy(resource).store.get_key(key)

    def in_namespace(self, resource: Resource[Unstructured], namespace: str) -> Sequence[Object]:
        return self.copy(resource).store.by_index("namespace", namespace)

    def controlled_by(self, resource: Resource[Unstructured], uid: str) -> Sequence[Object]:
        return self.copy(resource).store.by_index("controller", uid)

    def orphans(self, resource: Resource[Unstructured], namespace: str) -> Sequence[Object]:
        """Objects of a namespace that no one controls."""
        return self.copy(resource).store.by_index("orphans", namespace)

    async def create(self, resource: Resource[Unstructured], obj: Object) -> Object | None:
        """The created object, or None where one of the name exists already."""
        try:
            return await self.client.create(resource, obj, obj["metadata"].get("namespace"), field_manager=MANAGER)
        except AlreadyExists:
            return None

    async def delete(self, resource: Resource[Unstructured], key: ObjectKey, **options: Any) -> None:
        """Delete; gone is fine."""
        try:
            await self.client.delete(resource, key.name, key.namespace or None, **options)
        except NotFound:
            return

    async def patch(
        self, resource: Resource[Unstructured], key: ObjectKey, body: Object, subresource: str | None = None
    ) -> Object | None:
        """Merge-patch; None where the object is gone."""
        try:
            return await self.client.patch(
                resource, key.name, body, key.namespace or None, kind="merge", subresource=subresource,
                field_manager=MANAGER,
            )  # fmt: skip
        except NotFound:
            return None

    async def write_status(self, resource: Resource[Unstructured], obj: Object, status: Object) -> Object:
        """Replace the status if it differs. Raises Conflict when the object has changed since it was read; gone is
        fine."""
        if (obj.get("status") or {}) == status:
            return obj
        try:
            return await self.replace(resource, {**obj, "status": status}, subresource="status")
        except NotFound:
            return obj

    async def replace(self, resource: Resource[Unstructured], obj: Object, *, subresource: str | None = None) -> Object:
        """Store a new state. Raises Conflict when the object has changed since it was read, NotFound when it went."""
        return await self.client.replace(resource, obj, subresource=subresource, field_manager=MANAGER)


class Controller(Protocol):
    """One level-triggered controller: `reconcile` looks at what is there and moves it one step.

    It returns when (in seconds) to look again though nothing changes, or None; it raises to be tried again with
    back-off.
    """

    name: str
    watches: Sequence[Watch]

    async def reconcile(self, key: ObjectKey) -> float | None: ...


def node_of_pod(pod: Object) -> tuple[str, ...]:
    """Index function: the node that a pod is bound to."""
    name = pod["spec"].get("nodeName")
    return (name,) if name else ()


def itself(obj: Object) -> Iterable[ObjectKey]:
    """The object's own key."""
    meta = obj["metadata"]
    return (ObjectKey(meta.get("namespace", ""), meta["name"]),)


def its_controller(kind: str) -> Keys:
    """The key of the owner of a kind that controls the object."""

    def keys(obj: Object) -> Iterable[ObjectKey]:
        owner = controller_of(obj)
        if owner is None or owner["kind"] != kind:
            return ()
        return (ObjectKey(obj["metadata"].get("namespace", ""), owner["name"]),)

    return keys
