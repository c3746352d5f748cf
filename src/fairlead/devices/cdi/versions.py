"""Versions of the specification, and which one a spec needs.

A spec must declare a version that has every field it uses (SPEC.md 1.1.0, "Released versions"); runtimes refuse one
that does not, so a writer declares the lowest that suffices. 0.1.0 and 0.2.0 are known but no longer supported; 0.8.0
and 1.0.0 brought no fields. A "v" before a declared version is allowed, as in the reference implementation, though
the prose asks for a semantic version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fairlead.devices.cdi.errors import Problem
from fairlead.devices.cdi.spec import ContainerEdits, IntelRdt, Spec

CURRENT = "1.1.0"
EARLIEST = "0.3.0"
KNOWN = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")

_RANK = {version: rank for rank, version in enumerate(KNOWN)}


@dataclass(frozen=True, slots=True)
class Feature:
    """Something in a spec that came with a version: `path` is where, `what` is for a person."""

    version: str
    path: str
    what: str


def minimum_version(spec: Spec) -> str:
    """The lowest version that has everything the spec uses."""
    needed = _RANK[EARLIEST]
    for feature in features(spec):
        needed = max(needed, _RANK[feature.version])
    return KNOWN[needed]


def features(spec: Spec) -> Iterator[Feature]:
    """Everything in the spec that came after the earliest version."""
    if spec.annotations:
        yield Feature("0.6.0", "annotations", "annotations")
    if "." in spec.kind.partition("/")[2]:
        yield Feature("0.6.0", "kind", "a dot in the class")
    yield from _edit_features(spec.container_edits, "containerEdits")
    for index, device in enumerate(spec.devices):
        path = f"devices[{index}]"
        if "0" <= device.name[:1] <= "9":
            yield Feature("0.5.0", f"{path}.name", "a device name that begins with a digit")
        if device.annotations:
            yield Feature("0.6.0", f"{path}.annotations", "annotations")
        yield from _edit_features(device.container_edits, f"{path}.containerEdits")


def check_version(spec: Spec) -> list[Problem]:
    """What is wrong with the declared version; empty when it is known and has all that the spec uses."""
    declared = spec.cdi_version.removeprefix("v")
    if declared not in _RANK:
        supported = ", ".join(KNOWN[_RANK[EARLIEST] :])
        return [Problem("cdiVersion", f'"{spec.cdi_version}" is not a known version; expected one of {supported}')]
    if _RANK[declared] < _RANK[EARLIEST]:
        return [Problem("cdiVersion", f'"{spec.cdi_version}" is no longer supported; declare at least {EARLIEST}')]
    newer = [feature for feature in features(spec) if _RANK[feature.version] > _RANK[declared]]
    if not newer:
        return []
    first = max(newer, key=lambda feature: _RANK[feature.version])
    more = f" and {len(newer) - 1} more" if len(newer) > 1 else ""
    return [
        Problem(
            "cdiVersion",
            f'"{spec.cdi_version}" is older than what the spec uses: {first.path} ({first.what}){more}; '
            f"declare at least {first.version}",
        )
    ]


def _edit_features(edits: ContainerEdits, path: str) -> Iterator[Feature]:
    for index, mount in enumerate(edits.mounts):
        if mount.type:
            yield Feature("0.4.0", f"{path}.mounts[{index}].type", "a mount's type")
    for index, node in enumerate(edits.device_nodes):
        if node.host_path:
            yield Feature("0.5.0", f"{path}.deviceNodes[{index}].hostPath", "a device node's host path")
    if edits.additional_gids:
        yield Feature("0.7.0", f"{path}.additionalGids", "additional groups")
    if edits.intel_rdt is not None:
        yield from _rdt_features(edits.intel_rdt, f"{path}.intelRdt")
    if edits.net_devices:
        yield Feature("1.1.0", f"{path}.netDevices", "network devices")


def _rdt_features(rdt: IntelRdt, path: str) -> Iterator[Feature]:
    yield Feature("0.7.0", path, "Intel RDT")
    if rdt.schemata is not None:
        yield Feature("1.1.0", f"{path}.schemata", "RDT schemata")
    if rdt.enable_monitoring:
        yield Feature("1.1.0", f"{path}.enableMonitoring", "RDT monitoring")
