"""What a pod's status says about devices: its claims, the claim made for extended resources, the health of what
containers got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, not_supported, required, too_long
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.names import dns_label, dns_subdomain
from fairlead.embedded.apiserver.registry import Object

HEALTH_MESSAGE_LIMIT_BYTES = 1024

_HEALTH = ("Healthy", "Unhealthy", "Unknown")
_CLAIM_PREFIX = "claim:"
_NOT_A_CLAIM = (
    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or "
    "'claim:<claimName>' if request is empty"
)
_NOT_REQUESTED = "must match one of the container's resource requests"
_UNKNOWN_RESOURCE = (
    "must match the extended resource name of an entry in spec.initContainers.resources.requests or "
    "spec.containers.resources.requests"
)
_UNKNOWN_CONTAINER = "must match the name of an entry in spec.initContainers.name or spec.containers.name"


def check_claim_statuses(errors: Errors, statuses: Sequence[Mapping[str, Any]], spec: Object) -> None:
    """The names of the claims made for the pod."""
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    seen: set[str] = set()
    for index, status in enumerate(statuses):
        at, name = f"status.resourceClaimStatuses[{index}]", status.get("name", "")
        if name not in known:
            detail = "must match the name of an entry in `spec.resourceClaims`"
            errors.append(invalid(f"{at}.name", name, detail))
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        seen.add(name)
        claim = status.get("resourceClaimName")
        if claim is not None:
            add_each(errors, f"{at}.resourceClaimName", claim, dns_subdomain(claim))


def check_extended_claim(errors: Errors, status: Mapping[str, Any] | None, spec: Object) -> None:
    """The claim that a scheduler made for extended resources."""
    if status is None:
        return
    path = "status.extendedResourceClaimStatus"
    containers = {c.get("name", ""): c for group in ("initContainers", "containers") for c in spec.get(group) or ()}
    if not status.get("requestMappings"):
        errors.append(required(f"{path}.requestMappings", "at least one request mapping is required"))
    seen = set()
    for index, mapping in enumerate(status.get("requestMappings") or ()):
        at = f"{path}.requestMappings[{index}]"
        key = tuple(mapping.get(name, "") for name in ("containerName", "resourceName", "requestName"))
        container, resource, request = key
        if container not in containers:
            errors.append(invalid(f"{at}.containerName", container, _UNKNOWN_CONTAINER))
        elif resource not in _requests(containers[container]):
            errors.append(invalid(f"{at}.resourceName", resource, _UNKNOWN_RESOURCE))
        add_each(errors, f"{path}.requestName", request, dns_label(request))
        if key in seen:
            errors.append(duplicate(f"{at}.containerName", container))
            errors.append(duplicate(f"{at}.resourceName", resource))
            errors.append(duplicate(f"{at}.requestName", request))
        seen.add(key)
    claim = status.get("resourceClaimName", "")
    if claim:
        add_each(errors, f"{path}.resourceClaimName", claim, dns_subdomain(claim))
    else:
        errors.append(required(f"{path}.resourceClaimName"))


def check_allocated_resources(errors: Errors, status: Mapping[str, Any], spec: Object) -> None:
    """The devices that containers got and their health, as the node's agent reports them."""
    for key, group in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")):
        # Of containers with one name the first counts.
        containers = {c.get("name", ""): c for c in reversed(spec.get(group) or ())}
        for index, container in enumerate(status.get(key) or ()):
            declared = containers.get(container.get("name", ""))
            for position, resource in enumerate(container.get("allocatedResourcesStatus") or ()):
                _check_allocated(
                    errors, resource, f"status.{key}[{index}].allocatedResourcesStatus[{position}]", declared
                )
    for index, container in enumerate(status.get("ephemeralContainerStatuses") or ()):
        if container.get("allocatedResourcesStatus"):
            path = f"status.ephemeralContainerStatuses[{index}].allocatedResourcesStatus"
            errors.append(forbidden(path, "must not be specified in container status"))


def _check_allocated(errors: Errors, resource: Mapping[str, Any], path: str, container: Object | None) -> None:
    name = resource.get("name", "")
    # Statuses of containers that the pod does not have are let through.
    if container is not None:
        if name.startswith(_CLAIM_PREFIX):
            if name not in _claim_names(container):
                errors.append(invalid(f"{path}.name", name, _NOT_A_CLAIM))
        elif name not in _requests(container):
            errors.append(invalid(f"{path}.name", name, _NOT_REQUESTED))
    seen: set[str] = set()
    for index, device in enumerate(resource.get("resources") or ()):
        at = f"{path}.resources[{index}]"
        health, message, identity = device.get("health", ""), device.get("message"), device.get("resourceID", "")
        if health not in _HEALTH:
            errors.append(not_supported(f"{at}.health", health, _HEALTH))
        if message == "":
            errors.append(required(f"{at}.message", "must be non-empty if specified"))
        elif message is not None and len(message.encode()) > HEALTH_MESSAGE_LIMIT_BYTES:
            errors.append(too_long(f"{at}.message", HEALTH_MESSAGE_LIMIT_BYTES))
        if identity in seen:
            errors.append(duplicate(f"{at}.resourceID", identity))
        seen.add(identity)


def _requests(container: Object) -> Mapping[str, Any]:
    return (container.get("resources") or {}).get("requests") or {}


def _claim_names(container: Object) -> set[str]:
    claims = (container.get("resources") or {}).get("claims") or ()
    return {
        f"{_CLAIM_PREFIX}{claim.get('name', '')}" + (f"/{claim['request']}" if claim.get("request") else "")
        for claim in claims
    }
