"""The endpoints and endpoint slice controllers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.endpoints import MANAGED_BY, compute_endpoints, compute_slices, is_loopback
from fairlead.embedded.controllers.pods import Object
from fairlead.kube.errors import ApiError, Invalid
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
        self._known_nodes: set[str] = set()
        self.watches: Sequence[Watch] = (
            Watch(a.SERVICES, itself),
            Watch(a.PODS, self._services_of_pod),
            Watch(a.ENDPOINT_SLICES, _service_of_slice),
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
        # Only a node that comes or goes matters, and heartbeats are not told apart here: look at pods that wait for it.
        name = node["metadata"]["name"]
        if name in self._known_nodes:
            return
        self._known_nodes.add(name)
        for pod in self._cluster.copy(a.PODS).store:
            if pod["spec"].get("nodeName") == name:
                yield from self._services_of_pod(pod)

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        service = c.get(a.SERVICES, key)
        if service is None:
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
        await self._write_slices(key, compute_slices(service, pods, nodes))
        await self._write_endpoints(key, compute_endpoints(service, pods))
        return None

    async def _write_slices(self, key: ObjectKey, wanted: list[Object]) -> None:
        c = self._cluster
        existing = [
            s
            for s in c.in_namespace(a.ENDPOINT_SLICES, key.namespace)
            if (s["metadata"].get("labels") or {}).get(SERVICE_LABEL) == key.name
            and (s["metadata"].get("labels") or {}).get("endpointslice.kubernetes.io/managed-by") == MANAGED_BY
        ]
        # A slice with the same ports is rewritten in place, so that its name stays.
        for obj in wanted:
            match = next((e for e in existing if (e.get("ports") or None) == obj["ports"]), None)
            if match is None:
                match = next(iter(existing), None)
            if match is None:
                await c.create(a.ENDPOINT_SLICES, obj)
                continue
            existing.remove(match)
            changed = {**match, "endpoints": obj["endpoints"], "ports": obj["ports"]}
            if any((match.get(k) or None) != obj[k] for k in ("endpoints", "ports")):
                await c.client.replace(a.ENDPOINT_SLICES, changed)
        for surplus in existing:
            await c.delete(a.ENDPOINT_SLICES, ObjectKey(key.namespace, surplus["metadata"]["name"]))

    async def _write_endpoints(self, key: ObjectKey, wanted: Object) -> None:
        c = self._cluster
        try:
            current = await c.client.get(a.ENDPOINTS, key.name, key.namespace)
        except ApiError as error:
            if error.http_code != 404:
                raise
            await c.create(a.ENDPOINTS, wanted)
            return
        labels = {**(current["metadata"].get("labels") or {}), **wanted["metadata"]["labels"]}
        same = (current.get("subsets") or None) == (wanted.get("subsets") or None)
        if same and labels == (current["metadata"].get("labels") or {}):
            return
        updated = {**current, "metadata": {**current["metadata"], "labels": labels}}
        updated.pop("subsets", None)
        if wanted.get("subsets"):
            updated["subsets"] = wanted["subsets"]
        try:
            await c.client.replace(a.ENDPOINTS, updated)
        except Invalid as error:
            a.LOG.warning("endpoints %s are refused: %s", key, error)


def _has_address(pod: Object) -> bool:
    try:
        return bool(ipaddress.ip_address(pod["status"]["podIP"]))
    except (KeyError, ValueError):
        return False
