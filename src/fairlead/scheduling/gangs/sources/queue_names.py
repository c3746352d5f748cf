"""Which queue pods say they belong to: our label first, then those of other schedulers, then the namespace's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fairlead.kube.objects.pods import Pod
from fairlead.scheduling.gangs.sources.reference import GangContext, Member, UnreadableError, pod_name

QUEUE: Final = "fairlead.dev/queue"
"""Label of pods and of what describes gangs; annotation of namespaces."""
_LABELS: Final = (QUEUE, "kai.scheduler/queue", "kueue.x-k8s.io/queue-name")
_VOLCANO: Final = "scheduling.volcano.sh/queue-name"


def named_queue(pod: Pod) -> str:
    """The queue in a pod's labels or annotations; "" where it names none."""
    labels, annotations = pod.metadata.labels, pod.metadata.annotations
    if labels:
        for key in _LABELS:
            if key in labels:
                return labels[key]
    return annotations.get(_VOLCANO, "") if annotations else ""


def gang_queue(namespace: str, members: Sequence[Member], described: str, context: GangContext) -> str:
    """The queue of a gang: what its pods name, else what describes it, else the namespace's; "" for the default one.

    Raises UnreadableError where its pods name several.
    """
    found = ""
    first: Pod | None = None
    for pod, _ in members:
        name = named_queue(pod)
        if name and first is None:
            found, first = name, pod
        elif name and name != found and first is not None:
            raise UnreadableError(
                f"{pod_name(first)} is of queue {found!r} and {pod_name(pod)} of queue {name!r}: "
                f"give all pods of the gang the same label {QUEUE}"
            )
    return found or described or context.namespace_queue(namespace)
