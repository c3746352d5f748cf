"""What adapters become in the API: the rewrite of each name to its versions, and what a pool and its pods say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fairlead.api.inference_pool import (
    ADAPTER_LABEL,
    ADAPTER_PLACEMENT_ANNOTATION,
    ADAPTER_STARTS_ANNOTATION,
    ADAPTERS_ANNOTATION,
)
from fairlead.api.kind import API_VERSION
from fairlead.api.model_adapter import ModelAdapter
from fairlead.api.traffic_report import REPORT_ANNOTATION, asked_for
from fairlead.kube.resources import Resource
from fairlead.serving.names import SERVICE_LABEL

Json = dict[str, Any]

REWRITES = Resource.of("llm-d.ai/v1alpha2", "inferencemodelrewrites", "InferenceModelRewrite")
_OURS: Final = "adapters"
"""How the reports begin that are asked for here."""


def rewrite(adapter: ModelAdapter, pool: str, name: str, targets: Sequence[tuple[str, int]]) -> Json:
    """The rule that leads requests for a name to versions of its adapter, by weight."""
    meta = adapter.metadata
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {
            "name": f"adapter-{meta['name']}",
            "namespace": meta["namespace"],
            "labels": {SERVICE_LABEL: adapter.spec.service, ADAPTER_LABEL: meta["name"]},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION, "kind": "ModelAdapter", "name": meta["name"], "uid": meta["uid"],
                    "controller": True, "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "poolRef": {"name": pool},
            "rules": [
                {
                    "matches": [{"model": {"value": name}}],
                    "targets": [{"modelRewrite": target, "weight": weight} for target, weight in targets if weight > 0],
                }
            ],
        },
    }  # fmt: skip


def pool_annotations(current: Mapping[str, str], names: Iterable[str], asked: Sequence[str]) -> dict[str, str | None]:
    """What the pool's annotations have to become, None for those that go; empty where all is as it should be.

    `asked` are the reports that comparisons of versions need. Reports that somebody else asked for tell all that these
    would: they are left alone.
    """
    listed = sorted(names)
    wanted: dict[str, str | None] = {
        ADAPTERS_ANNOTATION: ",".join(listed) or None,
        ADAPTER_PLACEMENT_ANNOTATION: "pods" if listed else None,
    }
    report = current.get(REPORT_ANNOTATION, "")
    if not report or report.partition(":")[0] == _OURS:
        wanted[REPORT_ANNOTATION] = _report(asked) if listed else None
    return {key: value for key, value in wanted.items() if current.get(key) != value}


def _report(asked: Sequence[str]) -> str:
    """One name for all that is to be reported: it changes when one of them does."""
    if not asked:
        return asked_for(_OURS + ":", 0)
    names = sorted(name.rpartition("/")[0] for name in asked)
    warm_up = max(int(name.rpartition("/")[2]) for name in asked)
    return asked_for(f"{_OURS}:{'+'.join(names)}", warm_up)


def pod_annotations(current: Mapping[str, str], names: Iterable[str], starts: int) -> dict[str, str]:
    """What a pod's annotations have to become; empty where they are so."""
    wanted = {ADAPTERS_ANNOTATION: ",".join(sorted(names)), ADAPTER_STARTS_ANNOTATION: str(starts)}
    return {key: value for key, value in wanted.items() if current.get(key) != value}
