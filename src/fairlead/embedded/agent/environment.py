"""A container's environment variables, from every source that `core/v1` knows.

Order, later ones winning: the image's, service links, `envFrom` as listed, `env` as listed; `$(VAR)` in `env` sees what
came before it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fairlead.embedded.agent import resources
from fairlead.embedded.agent.pod import (
    ContainerSpec,
    EnvFromSource,
    EnvVarSource,
    FieldRef,
    KeyRef,
    Pod,
    ResourceFieldRef,
)
from fairlead.kube.expansion import expand

Lookup = Callable[[str, str], Awaitable[dict[str, Any] | None]]
"""Resource (`configmaps`, `secrets`) and name in the pod's namespace -> object, None where there is none."""

_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['([^']*)'\]")


class ConfigError(Exception):
    """The container cannot be created from its configuration; the message is the waiting state's."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """What fieldRef and resourceFieldRef tell of the node. Sizes are defaults for missing limits."""

    name: str
    host_ip: str
    allocatable: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodView:
    pod: Pod
    pod_ip: str
    node: NodeView


async def container_environment(
    view: PodView, container: ContainerSpec, base: Mapping[str, str], lookup: Lookup
) -> dict[str, str]:
    """All variables. Raises ConfigError."""
    variables = dict(base)
    for source in container.env_from:
        variables.update(await _env_from(view.pod, source, lookup))
    for variable in container.env:
        if variable.value_from is None:
            variables[variable.name] = expand(variable.value, variables)
            continue
        value = await _value_from(view, container, variable.value_from, lookup)
        if value is not None:
            variables[variable.name] = value
    return variables


def field_value(view: PodView, reference: FieldRef) -> str:
    """The text of a pod field as the downward API gives it. Raises ConfigError."""
    path, metadata = reference.field_path, view.pod.metadata
    match = _SUBSCRIPT.fullmatch(path)
    if match is not None:
        source = metadata.labels if match[1].endswith("labels") else metadata.annotations
        return source.get(match[2], "")
    known: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: metadata.name,
        "metadata.namespace": lambda: metadata.namespace,
        "metadata.uid": lambda: metadata.uid,
        "metadata.labels": lambda: _format_map(metadata.labels),
        "metadata.annotations": lambda: _format_map(metadata.annotations),
        "spec.nodeName": lambda: view.pod.spec.node_name,
        "spec.serviceAccountName": lambda: view.pod.spec.service_account_name,
        "status.podIP": lambda: view.pod_ip,
        "status.podIPs": lambda: view.pod_ip,
        "status.hostIP": lambda: view.node.host_ip,
        "status.hostIPs": lambda: view.node.host_ip,
    }
    if path not in known:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return known[path]()


def resource_value(view: PodView, reference: ResourceFieldRef, container: ContainerSpec | None) -> str:
    """The text of a resource amount in units of its divisor. Raises ConfigError."""
    if reference.container_name or container is None:
        container = next((c for c in view.pod.containers() if c.name == reference.container_name), None)
    if container is None:
        raise ConfigError(f"container {reference.container_name} not found")
    kind, _, name = reference.resource.partition(".")
    amount = (resources.limit if kind == "limits" else _plain_request)(container, name)
    if amount is None:
        amount = view.node.allocatable.get(name, Decimal(0)) if kind == "limits" else Decimal(0)
    return str(resources.divided(amount, reference.divisor))


async def _env_from(pod: Pod, source: EnvFromSource, lookup: Lookup) -> dict[str, str]:
    reference = source.config_map_ref or source.secret_ref
    if reference is None:
        return {}
    resource = "configmaps" if source.config_map_ref is not None else "secrets"
    found = await lookup(resource, reference.name)
    if found is None:
        if reference.optional:
            return {}
        raise ConfigError(f'{resource.removesuffix("s")} "{reference.name}" not found')
    return {f"{source.prefix}{key}": value.decode(errors="replace") for key, value in entries(resource, found).items()}


async def _value_from(view: PodView, container: ContainerSpec, source: EnvVarSource, lookup: Lookup) -> str | None:
    if source.field_ref is not None:
        return field_value(view, source.field_ref)
    if source.resource_field_ref is not None:
        return resource_value(view, source.resource_field_ref, container)
    if source.config_map_key_ref is not None:
        return await _key(view.pod, "configmaps", "ConfigMap", source.config_map_key_ref, lookup)
    if source.secret_key_ref is not None:
        return await _key(view.pod, "secrets", "Secret", source.secret_key_ref, lookup)
    return ""


async def _key(pod: Pod, resource: str, kind: str, reference: KeyRef, lookup: Lookup) -> str | None:
    found = await lookup(resource, reference.name)
    if found is None:
        if reference.optional:
            return None
        raise ConfigError(f'{resource.removesuffix("s")} "{reference.name}" not found')
    value = entries(resource, found).get(reference.key)
    if value is None:
        if reference.optional:
            return None
        raise ConfigError(f"couldn't find key {reference.key} in {kind} {pod.metadata.namespace}/{reference.name}")
    return value.decode(errors="replace")


def entries(resource: str, found: Mapping[str, Any]) -> dict[str, bytes]:
    """Key -> content of a ConfigMap or Secret."""
    data = found.get("data") or {}
    if resource == "secrets":
        return {key: base64.b64decode(value or "") for key, value in data.items()}
    plain = {key: str(value).encode() for key, value in data.items()}
    return plain | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _plain_request(container: ContainerSpec, name: str) -> Decimal | None:
    return resources.request(container, name)


def _format_map(values: Mapping[str, str]) -> str:
    quoted = (
        (key, values[key].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for key in sorted(values)
    )
    return "\n".join(f'{key}="{value}"' for key, value in quoted)
