"""The variables by which the TPU hosts of a LeaderWorkerSet group find each other. Mutates in place.

Protocol: `pkg/utils/accelerators` of kubernetes-sigs/lws. Hosts are listed by their names in the group's headless
Service, once for each container that asks for TPUs; a leader that asks for none is not among them, and numbers begin
with the first that does. Sub groups are rings of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded import leader_worker_set as lws
from fairlead.embedded.apiserver.registry import Object

HOSTNAMES = "TPU_WORKER_HOSTNAMES"
ADDRESSES = "TPU_PROCESS_ADDRESSES"
PORT = "TPU_PROCESS_PORT"
WORKER_ID = "TPU_WORKER_ID"
NAME = "TPU_NAME"
FIRST_PORT = 8476


def add_tpu_variables(pod: Object, size: int) -> None:
    """Give them to the pod's containers that ask for TPUs; a container that has its own keeps them."""
    spec = pod["spec"]
    containers = [c for side in ("containers", "initContainers") for c in spec.get(side) or () if lws.tpus(c)]
    if any(v["name"] in (HOSTNAMES, WORKER_ID) for v in containers[0].get("env") or ()):
        return
    index = int(pod["metadata"]["labels"][lws.WORKER_INDEX])
    leader = pod["metadata"]["name"] if index == 0 else pod["metadata"]["name"].rpartition("-")[0]
    leads = index == 0 or (pod["metadata"].get("annotations") or {}).get(lws.LEADER_REQUESTS_TPUS) == "true"
    if lws.SUBGROUP_SIZE in (pod["metadata"].get("annotations") or {}):
        # As published: one container of a pod has the TPUs there.
        ring = _ring(pod, index, leads=leads)
        _give(pod, containers[:1], leader, *ring)
    else:
        _give(pod, containers, leader, range(0 if leads else 1, size), index if leads else index - 1)


def _ring(pod: Object, index: int, *, leads: bool) -> tuple[Sequence[int], int]:
    """The numbers of a sub group's hosts, and this pod's place among them. A leader with TPUs is the first host of the
    first sub group, which all others then move up for."""
    size = int(pod["metadata"]["annotations"][lws.SUBGROUP_SIZE])
    if leads:
        first = size * int(pod["metadata"]["labels"].get(lws.SUBGROUP_INDEX) or 0)
        return range(first, first + size), index % size
    first = size * ((index - 1) // size) + 1
    return range(first, first + size), (index - 1) % size


def _give(pod: Object, containers: Sequence[Object], leader: str, hosts: Sequence[int], place: int) -> None:
    ports = [_own_port(c) or str(FIRST_PORT + number) for number, c in enumerate(containers)]
    domain = pod["spec"].get("subdomain", "")
    names = [f"{leader}-{host}.{domain}" if host else f"{leader}.{domain}" for host in hosts for _ in ports]
    addresses = [f"{name}:{ports[number % len(ports)]}" for number, name in enumerate(names)]
    for number, container in enumerate(containers):
        variables = {
            HOSTNAMES: ",".join(names),
            WORKER_ID: str(place * len(ports) + number),
            NAME: leader,
            ADDRESSES: ",".join(addresses),
            **({} if _own_port(container) else {PORT: ports[number]}),
        }
        container["env"] = [*(container.get("env") or ()), *({"name": k, "value": v} for k, v in variables.items())]


def _own_port(container: Object) -> str:
    return next((str(v.get("value", "")) for v in container.get("env") or () if v["name"] == PORT), "")
