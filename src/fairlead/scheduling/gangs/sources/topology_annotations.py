"""Topology that pods themselves ask for, in annotations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.levels import level_labels
from fairlead.scheduling.gangs.model import Topology
from fairlead.scheduling.gangs.sources.reference import bad_value, pod_name

REQUIRED: Final = "fairlead.dev/topology-required"
PREFERRED: Final = "fairlead.dev/topology-preferred"


def with_annotations(topology: Topology, pods: Iterable[Pod], aliases: Mapping[str, str]) -> Topology:
    """`topology` and what the first of the pods that says something asks for besides. Raises UnreadableError."""
    required = preferred = ()  # type: tuple[str, ...]
    for pod in pods:
        required = required or _levels(pod, REQUIRED, aliases)
        preferred = preferred or _levels(pod, PREFERRED, aliases)
        if required and preferred:
            break
    if not required and not preferred:
        return topology
    return dataclasses.replace(
        topology,
        required=tuple(dict.fromkeys((*topology.required, *required))),
        preferred=tuple(dict.fromkeys((*topology.preferred, *preferred))),
    )


def _levels(pod: Pod, key: str, aliases: Mapping[str, str]) -> tuple[str, ...]:
    text = pod.metadata.annotations.get(key, "")
    try:
        return level_labels(text, aliases)
    except ValueError as error:
        raise bad_value(f"annotation {key}", pod_name(pod), text, str(error)) from None
