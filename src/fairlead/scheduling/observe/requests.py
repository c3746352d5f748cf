"""What a pod takes of its node: resources as integers, and ports of the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from fairlead.kube.objects import Container, Pod
from fairlead.kube.quantity import Quantity
from fairlead.scheduling.snapshot import HostPort, add

MOST: Final = 1 << 53
"""9 PB of memory: sums of many stay integers of 64 bits."""

ANY_ADDRESS: Final = "0.0.0.0"


def pod_requests(pod: Pod) -> dict[str, int]:
    """What the pod takes of a node: the sum of its containers (sidecars included), or the largest init container with
    the sidecars before it, whichever is more; plus overhead; plus one pod.

    Formula: `resource.PodRequests` of k8s.io/component-helpers.
    """
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.init_containers:
        request = amounts(container.resources.requests if container.resources else {})
        if container.restart_policy == "Always":
            sidecars = add(sidecars, request)
            request = sidecars
        else:
            request = add(sidecars, request)
        peak = {k: max(peak.get(k, 0), request.get(k, 0)) for k in peak.keys() | request.keys()}
    running = sidecars
    for container in pod.spec.containers:
        running = add(running, amounts(container.resources.requests if container.resources else {}))
    needed = {k: max(running.get(k, 0), peak.get(k, 0)) for k in running.keys() | peak.keys()}
    if pod.spec.resources is not None:
        needed |= amounts(pod.spec.resources.requests)
    return add(add(needed, amounts(pod.spec.overhead)), {"pods": 1})


def pod_host_ports(pod: Pod) -> frozenset[HostPort]:
    """Ports of the host that its containers take while it runs, sidecars included."""
    return frozenset(
        (port.host_ip or ANY_ADDRESS, port.protocol or "TCP", port.host_port)
        for container in _running(pod)
        for port in container.ports
        if port.host_port
    )


def amounts(quantities: Mapping[str, str]) -> dict[str, int]:
    """Quantities as integers: cpu in millicores, everything else in whole units, rounded up. More than there can be of
    anything counts as `MOST`. Raises ValueError for what is no quantity."""
    return {name: _amount(name == "cpu", text) for name, text in quantities.items()}


def _running(pod: Pod) -> Iterator[Container]:
    yield from pod.spec.containers
    for container in pod.spec.init_containers:
        if container.restart_policy == "Always":
            yield container


@lru_cache(maxsize=4096)
def _amount(milli: bool, text: str) -> int:
    quantity = Quantity.parse(text)
    return min(quantity.milli_value if milli else quantity.value, MOST)
