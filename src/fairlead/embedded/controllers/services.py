"""The endpoints and endpoint slice controllers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself, node_of_pod
from fairlead.embedded.controllers.children import is_namespace_going
from fairlead.embedded.controllers.endpoints import (
    MANAGED_BY,
    ZONE,
    compute_endpoints,
    compute_slices,
    is_loopback,
    match_slices,
)
from fairlead.embedded.controllers.pods import Object
from fairlead.kube.errors import ApiError, Conflict, Invalid, NotFound
from fairlead.kube.resources import ObjectKey
from fairlead.kube.selectors import from_labels

SERVICE_LABEL = "kubernetes.io/service-name"


def _service_of_slice(obj: Object) -> Iterable[ObjectKey]:
    meta = obj["metadata"]
    name = (meta.get("labels") or {}).get(SERVICE_LABEL)
    return (ObjectKey(meta["namespace"], name),) if name else ()


class Services:
    name = "endpoints"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # Node name -> what endpoints take from it, so that heartbeats concern no Service.
        self._known_nodes: dict[str, str | None] = {}
        cluster.copy(a.PODS).store.add_index("node", node_of_pod)
        self.watches: Sequence[Watch] = (
            Watch(a.SERVICES, itself),
            Watch(a.PODS, self._services_of_pod),
            Watch(a.ENDPOINT_SLICES, _service_of_slice),
            Watch(a.ENDPOINTS, itself),
            Watch(a.NODES, self._services_of_node),
        )

    def _services_of_pod(self, pod: Object) -> Iterable[ObjectKey]:
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        for service in self._cluster.in_namespace(a.SERVICES, meta["namespace"]):
            selector = service["spec"].get("selector")
            if selector and all(labels.get(k) == v for k, v in selector.items()):
                yield ObjectKey(meta["namespace"], service["metadata"]["name"])

    def _services_of_node(self, node: Object) -> Iterable[ObjectKey]:
        name = node["metadata"]["name"]
        is_there = self._cluster.get(a.NODES, ObjectKey("", name)) is not None
        zone = (node["metadata"].get("labels") or {}).get(ZONE) if is_there else "gone"
        if name in self._known_nodes and self._known_nodes[name] == zone:
            return
        self._known_nodes[name] = zone
        for pod in self._cluster.copy(a.PODS).store.by_index("node", name):
            yield from self._services_of_pod(pod)

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        service = c.get(a.SERVICES, key)
        if service is None:
            if c.get(a.ENDPOINTS, key) is not None and not await self._is_served(key):
                await c.delete(a.ENDPOINTS, key)
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        selector = from_labels(service["spec"]["selector"])
        # The API refuses loopback addresses in both kinds, so pods that are processes of this machine are not in them.
        pods = [
            p
            for p in c.in_namespace(a.PODS, key.namespace)
            if selector.matches(p["metadata"].get("labels") or {}) and not is_loopback(p) and _has_address(p)
        ]
        nodes = {n["metadata"]["name"]: n for n in c.copy(a.NODES).store}
        try:
            await self._write_slices(key, compute_slices(service, pods, nodes))
            await self._write_endpoints(key, compute_endpoints(service, pods))
        except ApiError as error:
            if not is_namespace_going(error):
                raise
        return None

    async def _is_served(self, key: ObjectKey) -> bool:
        # Endpoints may be made by hand before their Service: only what a Service left behind goes.
        try:
            await self._cluster.client.get(a.SERVICES, key.name, key.namespace)
        except NotFound:
            current = self._cluster.get(a.ENDPOINTS, key) or {"metadata": {}}
            return "endpoints.kubernetes.io/managed-by" not in (current["metadata"].get("labels") or {})
        return True

    async def _write_slices(self, key: ObjectKey, wanted: list[Object]) -> None:
        c = self._cluster
        existing = [
            s
            for s in c.in_namespace(a.ENDPOINT_SLICES, key.namespace)
            if (s["metadata"].get("labels") or {}).get(SERVICE_LABEL) == key.name
            and (s["metadata"].get("labels") or {}).get("endpointslice.kubernetes.io/managed-by") == MANAGED_BY
            and "deletionTimestamp" not in s["metadata"]
        ]
        step = match_slices(wanted, existing)
        for obj in step.create:
            await c.create(a.ENDPOINT_SLICES, obj)
        for obj in step.update:
            await c.replace(a.ENDPOINT_SLICES, obj)
        for name in step.delete:
            await c.delete(a.ENDPOINT_SLICES, ObjectKey(key.namespace, name))

    async def _write_endpoints(self, key: ObjectKey, wanted: Object) -> None:
        c = self._cluster
        current = c.get(a.ENDPOINTS, key)
        if current is None:
            if await c.create(a.ENDPOINTS, wanted) is None:
                raise Conflict(f"endpoints {key} exist and are not in our copy yet")
            return
        labels = wanted["metadata"]["labels"]
        same = (current.get("subsets") or None) == (wanted.get("subsets") or None)
        if same and labels == (current["metadata"].get("labels") or {}):
            return
        updated = {**current, "metadata": {**current["metadata"], "labels": labels}}
        updated["metadata"]["annotations"] = {
            **(current["metadata"].get("annotations") or {}),
            **(wanted["metadata"].get("annotations") or {}),
        }
        updated.pop("subsets", None)
        if wanted.get("subsets"):
            updated["subsets"] = wanted["subsets"]
        try:
            await c.replace(a.ENDPOINTS, updated)
        except Invalid as error:
            a.LOG.warning("endpoints %s are refused: %s", key, error)


def _has_address(pod: Object) -> bool:
    try:
        return bool(ipaddress.ip_address(pod["status"]["podIP"]))
    except (KeyError, ValueError):
        return False
