"""A cluster of plain objects, for the tests of cluster DNS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]
DOMAIN = "cluster.local"


class Objects:
    """Services, pods and namespaces as a copy of the API has them."""

    def __init__(self, *objects: Object, addresses: dict[str, list[str]] | None = None) -> None:
        self.objects = list(objects)
        self._addresses = addresses or {}

    def has_namespace(self, name: str) -> bool:
        return any(o["metadata"]["namespace"] == name for o in self.objects)

    def service(self, namespace: str, name: str) -> Object | None:
        return next((s for s in self._all("Service") if _key(s) == (namespace, name)), None)

    def pods_of(self, service: Object) -> Iterable[Object]:
        selector = service["spec"].get("selector")
        pods = [p for p in self._all("Pod") if p["metadata"]["namespace"] == service["metadata"]["namespace"]]
        return [p for p in pods if selector and selector.items() <= p["metadata"]["labels"].items()]

    def addresses_of(self, service: Object) -> Iterable[str]:
        return self._addresses.get(service["metadata"]["name"], [])

    def pod_at(self, address: str) -> Object | None:
        return next((p for p in self._all("Pod") if p["status"].get("podIP") == address), None)

    def _all(self, kind: str) -> list[Object]:
        return [o for o in self.objects if o["kind"] == kind]


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def service(name: str = "web", namespace: str = "default", **spec: Any) -> Object:
    given: Object = {"selector": {"app": name}, "clusterIP": "None"}
    return {"kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": given | spec}


def pod(
    name: str, address: str, app: str = "web", *, namespace: str = "default", ready: bool = True,
    phase: str = "Running", **spec: Any,
) -> Object:  # fmt: skip
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": spec,
        "status": {"podIP": address, "phase": phase, "conditions": conditions},
    }
