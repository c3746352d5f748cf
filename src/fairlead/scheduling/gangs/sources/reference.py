"""What reading gangs needs: names for them, the objects that describe them, and a way to say what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fairlead.kube.objects.batch import Job
from fairlead.kube.objects.pods import Pod
from fairlead.kube.objects.scheduling import CompositePodGroup, PodGroup
from fairlead.kube.resources import Resource
from fairlead.scheduling.gangs.levels import ALIASES
from fairlead.scheduling.snapshot import PodView

Json: TypeAlias = Mapping[str, Any]
Key: TypeAlias = tuple[str, str]
"""Namespace and name; an `ObjectKey` is one."""
RawKey: TypeAlias = tuple[str, str, str]
"""Resource as kubectl names it (`podgroups.scheduling.run.ai`), namespace ("" for cluster scope), name."""
Member: TypeAlias = tuple[Pod, PodView]

KAI_POD_GROUPS: Final = Resource.of("scheduling.run.ai/v2alpha2", "podgroups", "PodGroup")
KAI_TOPOLOGIES: Final = Resource.of("kai.scheduler/v1alpha1", "topologies", "Topology", namespaced=False)
VOLCANO_POD_GROUPS: Final = Resource.of("scheduling.volcano.sh/v1beta1", "podgroups", "PodGroup")
COSCHEDULING_POD_GROUPS: Final = Resource.of("scheduling.x-k8s.io/v1alpha1", "podgroups", "PodGroup")
LEADER_WORKER_SETS: Final = Resource.of("leaderworkerset.x-k8s.io/v1", "leaderworkersets", "LeaderWorkerSet")

RAW_RESOURCES: Final = (
    LEADER_WORKER_SETS,
    KAI_POD_GROUPS,
    KAI_TOPOLOGIES,
    VOLCANO_POD_GROUPS,
    COSCHEDULING_POD_GROUPS,
)
"""What `GangContext.raw` may be asked for; `str` of one is the first part of the key. Not every cluster has them."""


@dataclass(frozen=True, slots=True)
class GangRef:
    """Which gang a pod belongs to; equal for all pods of a gang."""

    kind: str
    """As `Gang.kind`."""
    namespace: str
    name: str
    path: tuple[str, ...] = field(default=(), compare=False)
    """The groups, outermost first, in which the pod lies."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """As `Gang.identity`."""
        return self.kind, self.namespace, self.name


def _nothing(_: Any) -> None:
    return None


def _no_queue(_: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class GangContext:
    """Look-ups of what describes gangs; `get` of a mapping will do. All answer None for what is not there."""

    pod_group: Callable[[Key], PodGroup | None] = _nothing
    composite_pod_group: Callable[[Key], CompositePodGroup | None] = _nothing
    job: Callable[[Key], Job | None] = _nothing
    knows_jobs: Callable[[], bool] = lambda: False
    """Whether all Jobs are known: one that is not there is then still to come, or gone."""
    raw: Callable[[RawKey], Json | None] = _nothing
    """Objects of `RAW_RESOURCES` as plain JSON."""
    priority: Callable[[str], int | None] = _nothing
    """The value of a priority class, by name."""
    namespace_queue: Callable[[str], str] = _no_queue
    """The queue of pods in a namespace that name none; "" for the default one."""
    levels: Mapping[str, str] = field(default_factory=lambda: ALIASES)
    """Short names of topology levels -> node labels."""

    def object(self, resource: Resource[Any], namespace: str, name: str) -> Json | None:
        """An object of `RAW_RESOURCES`."""
        return self.raw((str(resource), namespace, name))


class UnreadableError(ValueError):
    """A gang that cannot be understood, or not yet: the text says why and what to do, for `Gang.waits_for`."""


def bad_value(what: str, owner: str, value: Any, reason: str) -> UnreadableError:
    """`what` is the annotation, label or field, `owner` the object, `reason` the fault and what to write instead."""
    shown = str(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return UnreadableError(f"{what} of {owner} is {shown!r}: {reason}")


def whole_number(text: str, what: str, owner: str, least: int = 1) -> int:
    """The number in an annotation. Raises UnreadableError."""
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least:
        return int(text)
    raise bad_value(what, owner, text, f"write a whole number of at least {least}")


def pod_name(pod: Pod) -> str:
    """How messages name a pod."""
    return f"pod {pod.metadata.namespace}/{pod.metadata.name}"
