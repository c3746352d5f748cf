"""Warnings about pods and pod templates: deprecated fields, definitions that hide others, fractions of bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.registry import Object
from fairlead.kube.quantity import parse_quantity

_DEPRECATED_VOLUMES = {
    "gitRepo": "deprecated in v1.11",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
}
_DEPRECATED_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
_BYTES = ("memory", "ephemeral-storage")


def pod_warnings(spec: Mapping[str, Any], path: str) -> list[str]:
    """Warnings about a PodSpec at `path` (`spec`, `spec.template.spec`)."""
    found: list[str] = []
    for key in spec.get("nodeSelector") or ():
        if key in _DEPRECATED_LABELS:
            found.append(f"{path}.nodeSelector[{key}]: {_DEPRECATED_LABELS[key]}")
    volumes = spec.get("volumes")
    if volumes:
        found += _volume_warnings(volumes, f"{path}.volumes")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        if len(alias) == 1 and "ip" in alias:
            found.append(f"{path}.hostAliases[{index}].hostnames: hostnames is empty")
    ports: dict[tuple[Any, ...], str] = {}
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            found += _container_warnings(container, f"{path}.{group}[{index}]")
            if group == "containers" and container.get("ports"):
                found += _port_warnings(container["ports"], ports, f"{path}.{group}[{index}].ports")
    for kind in ("requests", "limits", "overhead"):
        amounts = spec.get("overhead") if kind == "overhead" else (spec.get("resources") or {}).get(kind)
        at = f"{path}.overhead" if kind == "overhead" else f"{path}.resources.{kind}"
        found += _amount_warnings(amounts, at)
    found += _spread_warnings(spec.get("topologySpreadConstraints") or (), path)
    grace_s = spec.get("terminationGracePeriodSeconds")
    if grace_s is not None and grace_s < 0:
        found.append(
            f"{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    return found


def _volume_warnings(volumes: Sequence[Mapping[str, Any]], path: str) -> Iterator[str]:
    for index, volume in enumerate(volumes):
        for kind, text in _DEPRECATED_VOLUMES.items():
            if volume.get(kind) is not None:
                yield f"{path}[{index}].{kind}: {text}"
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and parse_quantity(limit).milli_value % 1000:
            yield _fractional(f"{path}[{index}].emptyDir.sizeLimit", limit)


def _fractional(path: str, text: str) -> str:
    return f'{path}: fractional byte value "{text}" is invalid, must be an integer'


def _container_warnings(container: Mapping[str, Any], path: str) -> Iterator[str]:
    resources = container.get("resources")
    if resources:
        for kind in ("limits", "requests"):
            yield from _amount_warnings(resources.get(kind), f"{path}.resources.{kind}")
    names: set[str] = set()
    for index, variable in enumerate(container.get("env") or ()):
        name = variable.get("name", "")
        # A variable that refers to its earlier value extends it on purpose.
        if name in names and f"$({name})" not in (variable.get("value") or ""):
            yield f'{path}.env[{index}]: hides previous definition of "{name}", which may be dropped when using apply'
        names.add(name)


def _amount_warnings(amounts: Mapping[str, str] | None, path: str) -> Iterator[str]:
    for name in _BYTES:
        text = (amounts or {}).get(name)
        if text is not None and text.endswith(("m", "u", "n")) and parse_quantity(text).milli_value % 1000:
            yield _fractional(f"{path}[{name}]", text)


def _port_warnings(ports: Sequence[Mapping[str, Any]], seen: dict[tuple[Any, ...], str], path: str) -> Iterator[str]:
    for index, port in enumerate(ports):
        at = f"{path}[{index}]"
        if port.get("hostIP") and not port.get("hostPort"):
            shown = (
                f"{{Name:{port.get('name', '')} HostPort:0 ContainerPort:{port.get('containerPort', 0)} "
                f"Protocol:{port.get('protocol', '')} HostIP:{port['hostIP']}}}"
            )
            yield f"{at}: hostIP set without hostPort: {shown}"
        key = (port.get("containerPort"), port.get("protocol"), port.get("hostIP", ""), port.get("hostPort", 0))
        if key in seen:
            yield f"{at}: duplicate port definition with {seen[key]}"
        else:
            seen[key] = at


def _spread_warnings(constraints: Sequence[Mapping[str, Any]], path: str) -> Iterator[str]:
    for index, constraint in enumerate(constraints):
        at = f"{path}.topologySpreadConstraints[{index}]"
        key = constraint.get("topologyKey", "")
        if key in _DEPRECATED_LABELS:
            yield f"{at}.topologyKey: {key} is {_DEPRECATED_LABELS[key]}"
        if constraint.get("labelSelector") is None:
            yield (f"{at}.labelSelector: a null labelSelector results in matching no pod")


def template_warnings(obj: Object, old: Object | None, *path: str) -> list[str]:
    """Warnings about a workload's pod template at `path`; none where an update leaves it as it was."""
    template = _inside(obj, path)
    if template is None or (old is not None and template == _inside(old, path)):
        return []
    return pod_warnings(template.get("spec") or {}, ".".join((*path, "spec")))


def _inside(obj: Object | None, path: Sequence[str]) -> Object | None:
    for key in path:
        if obj is None:
            return None
        obj = obj.get(key)
    return obj
