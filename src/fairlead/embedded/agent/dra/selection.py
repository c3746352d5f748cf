"""Which prepared devices belong to a container, and what its status says of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fairlead.embedded.agent.claims import claim_name, extended_claim
from fairlead.embedded.agent.dra.health import DeviceHealth, DeviceKey
from fairlead.embedded.agent.dra.state import ClaimRecord, PreparedDevice
from fairlead.embedded.agent.pod import ContainerSpec, Pod
from fairlead.embedded.agent.resources import request

HealthOf = Callable[[DeviceKey], DeviceHealth]
Records = Mapping[str, ClaimRecord]
"""Claim name -> record, of the claims that the pod uses."""


class MissingClaim(Exception):
    """A container's claim is not prepared on this node; the message names it."""


def cdi_ids(pod: Pod, container: ContainerSpec, records: Records) -> list[str]:
    """The CDI ids of a container's devices, each once. Raises MissingClaim."""
    found: dict[str, None] = {}
    for name, wanted in _uses(pod, container):
        record = records.get(name)
        if record is None or not record.is_prepared:
            raise MissingClaim(f"ResourceClaim {name} of container {container.name} is not prepared on this node")
        for _, device in _devices(record, wanted):
            found.update(dict.fromkeys(device.cdi_ids))
    return list(found)


def allocated_resources(
    pod: Pod, container: ContainerSpec, records: Records, health_of: HealthOf
) -> list[dict[str, Any]]:
    """`allocatedResourcesStatus` of a container: an entry per claim (or its request) with every device's health.

    A device is named by its first CDI id, else by driver/pool/device. Claims for extended resources have no entry.
    """
    by_pod_claim = {use.name: claim_name(pod, use) for use in pod.spec.resource_claims}
    entries: dict[str, list[dict[str, Any]]] = {}
    for use in container.resources.claims:
        record = records.get(by_pod_claim.get(use.name) or "")
        if record is None:
            continue
        name = f"claim:{use.name}/{use.request}" if use.request else f"claim:{use.name}"
        shown: dict[str, dict[str, Any]] = {}
        for driver, device in _devices(record, use.request):
            id = device.cdi_ids[0] if device.cdi_ids else f"{driver}/{device.pool}/{device.device}"
            health = health_of((driver, device.pool, device.device))
            message = {"message": health.message} if health.message else {}
            shown.setdefault(id, {"resourceID": id, "health": health.health, **message})
        if shown:
            entries[name] = list(shown.values())
    return [{"name": name, "resources": resources} for name, resources in entries.items()]


def _uses(pod: Pod, container: ContainerSpec) -> Iterator[tuple[str, str]]:
    """(claim name, request; "" for all of the claim's), of those claims that were made at all."""
    by_pod_claim = {use.name: claim_name(pod, use) for use in pod.spec.resource_claims}
    for use in container.resources.claims:
        name = by_pod_claim.get(use.name)
        if name:
            yield name, use.request
    extended = extended_claim(pod)
    if extended is None:
        return
    for mapping in extended.get("requestMappings") or ():
        if mapping["containerName"] == container.name and request(container, mapping["resourceName"]):
            yield str(extended["resourceClaimName"]), mapping["requestName"]


def _devices(record: ClaimRecord, wanted: str) -> Iterator[tuple[str, PreparedDevice]]:
    """The claim's devices that serve a request. A driver may name "request" or "request/subrequest", and so may a
    container; a device without requests serves all."""
    base = wanted.partition("/")[0]
    for driver in sorted(record.drivers):
        for device in record.drivers[driver] or ():
            served = {name.partition("/")[0] for name in device.requests}
            if not wanted or not served or base in served:
                yield driver, device
