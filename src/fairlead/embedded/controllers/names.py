"""What cluster DNS answers from: the controllers' shared copies."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster
from fairlead.embedded.controllers.pods import Object, phase
from fairlead.embedded.controllers.services import SERVICE_LABEL
from fairlead.kube.resources import ObjectKey


class NamesInCopies:
    """`fairlead.embedded.dns.records.Cluster` on copies."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        cluster.copy(a.PODS).store.add_index("address", _address)
        for resource in (a.SERVICES, a.NAMESPACES, a.ENDPOINT_SLICES):
            cluster.copy(resource)

    def has_namespace(self, name: str) -> bool:
        return self._cluster.get(a.NAMESPACES, ObjectKey("", name)) is not None

    def service(self, namespace: str, name: str) -> Object | None:
        return self._cluster.get(a.SERVICES, ObjectKey(namespace, name))

    def pods_of(self, service: Object) -> Iterable[Object]:
        selector = service["spec"].get("selector")
        if not selector:
            return
        for pod in self._cluster.in_namespace(a.PODS, service["metadata"]["namespace"]):
            if selector.items() <= (pod["metadata"].get("labels") or {}).items():
                yield pod

    def addresses_of(self, service: Object) -> Iterable[str]:
        meta = service["metadata"]
        for endpoints in self._cluster.in_namespace(a.ENDPOINT_SLICES, meta["namespace"]):
            if (endpoints["metadata"].get("labels") or {}).get(SERVICE_LABEL) != meta["name"]:
                continue
            for endpoint in endpoints.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    yield from endpoint.get("addresses") or ()

    def pod_at(self, address: str) -> Object | None:
        pods = self._cluster.copy(a.PODS).store.by_index("address", address)
        # An ended pod still shows the address that somebody else may have by now.
        return next((pod for pod in pods if phase(pod) not in ("Succeeded", "Failed")), None)


def _address(pod: Object) -> tuple[str, ...]:
    """Index function. Pods on the node's network have the node's address, which names none of them."""
    address = (pod.get("status") or {}).get("podIP")
    return (address,) if address and not pod["spec"].get("hostNetwork") else ()
