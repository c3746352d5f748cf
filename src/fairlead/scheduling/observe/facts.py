"""What evicting a pod would cost, as its owner tells in annotations and status."""

from __future__ import annotations

import math
from typing import Final, Literal

from fairlead.kube.objects import Pod
from fairlead.scheduling.snapshot import PodFacts

PROGRESS: Final = "fairlead.dev/progress"
WARMTH: Final = "fairlead.dev/cache-warmth"
WORK: Final = "fairlead.dev/work"
_MIRROR: Final = "kubernetes.io/config.mirror"
_DEFAULT_GRACE_S: Final = 30.0
_COMMON_FACTS: Final = {facts: facts for facts in (PodFacts(), PodFacts(comes_back=False))}
"""One object for what is true of most pods."""


def pod_facts(pod: Pod) -> PodFacts:
    """Annotations that say nothing sensible count as absent: an owner's typing error must not stop a scheduler."""
    annotations = pod.metadata.annotations
    grace = pod.spec.termination_grace_period_seconds
    owner = pod.metadata.controller
    facts = PodFacts(
        grace_s=_DEFAULT_GRACE_S if grace is None else float(grace),
        progress=_share(annotations.get(PROGRESS)),
        warmth=_share(annotations.get(WARMTH)),
        work=_work(annotations.get(WORK) or pod.metadata.labels.get(WORK)),
        is_mirror_or_daemon=_MIRROR in annotations or (owner is not None and owner.kind == "DaemonSet"),
        comes_back=owner is not None,
    )
    return _COMMON_FACTS.get(facts, facts)


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else None


def _work(text: str | None) -> Literal["serving", "batch", ""]:
    if text == "serving":
        return "serving"
    return "batch" if text == "batch" else ""
