"""Foreign workloads as adoption sees them: what they are, which labels their pods have, what their engines run. Pure.

Protocol: `apps/v1`; LeaderWorkerSet v1, whose pods have the labels of their set and of their number in the group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.kube.kinds import DEPLOYMENTS, PODS, STATEFUL_SETS
from fairlead.kube.resources import Resource
from fairlead.serving.belongings import LEADER_WORKER_SETS
from fairlead.serving.names import ADOPT_LABEL, SERVICE_LABEL

Json = Mapping[str, Any]

WORKLOADS: Final[Mapping[str, Resource[dict[str, Any]]]] = {
    resource.kind: resource.as_unstructured() for resource in (DEPLOYMENTS, STATEFUL_SETS, LEADER_WORKER_SETS, PODS)
}
"""Kind -> resource."""

LWS_NAME_LABEL: Final = "leaderworkerset.sigs.k8s.io/name"
LWS_INDEX_LABEL: Final = "leaderworkerset.sigs.k8s.io/worker-index"


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload with the label."""

    kind: str
    api_version: str
    namespace: str
    name: str
    uid: str
    age_key: str
    """Orders by age: the oldest first."""
    asked: str
    """The value of the label."""
    annotations: Mapping[str, str]
    pod_labels: Mapping[str, str]
    selector: Mapping[str, str]
    """Labels that its serving pods have and no others; empty where there are none."""
    containers: Sequence[Json]
    keeper: str = ""
    """`Kind/name` of the Fairlead object that it belongs to; empty where it is foreign."""

    @property
    def told(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def pool(self) -> str:
        """Name of its pool."""
        return self.name if self.asked in ("true", "") else self.asked


def workload_of(kind: str, raw: Json) -> Workload | None:
    """The workload, or None for one that does not want to be adopted any more, or is a pod of somebody else's."""
    meta = raw["metadata"]
    asked = (meta.get("labels") or {}).get(ADOPT_LABEL)
    owner = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
    if asked is None or asked == "false" or "deletionTimestamp" in meta or (kind == "Pod" and owner is not None):
        return None
    if kind == "Pod" and (raw.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return None
    template = raw if kind == "Pod" else _template(kind, raw.get("spec") or {})
    pod_labels = (template.get("metadata") or {}).get("labels") or {}
    is_ours = owner is not None and str(owner.get("apiVersion", "")).startswith("fairlead.dev/")
    keeper = f"{owner['kind']}/{owner['name']}" if is_ours and owner is not None else ""
    if not keeper and pod_labels.get(SERVICE_LABEL):
        keeper = f"ModelService/{pod_labels[SERVICE_LABEL]}"
    return Workload(
        kind=kind,
        api_version=WORKLOADS[kind].api_version,
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        age_key=f"{meta.get('creationTimestamp', '')} {kind}/{meta['name']}",
        asked=asked,
        annotations=meta.get("annotations") or {},
        pod_labels=pod_labels,
        selector=_selector(kind, meta["name"], asked, pod_labels, raw.get("spec") or {}),
        containers=(template.get("spec") or {}).get("containers") or (),
        keeper=keeper,
    )


def _template(kind: str, spec: Json) -> Json:
    if kind != "LeaderWorkerSet":
        return spec.get("template") or {}
    group = spec.get("leaderWorkerTemplate") or {}
    return group.get("leaderTemplate") or group.get("workerTemplate") or {}


def _selector(kind: str, name: str, asked: str, pod_labels: Mapping[str, str], spec: Json) -> Mapping[str, str]:
    named = {ADOPT_LABEL: asked} if asked not in ("true", "") and pod_labels.get(ADOPT_LABEL) == asked else {}
    if kind == "Pod":
        return named
    if kind == "LeaderWorkerSet":
        # Workers answer nobody.
        return {**(named or {LWS_NAME_LABEL: name}), LWS_INDEX_LABEL: "0"}
    if named:
        return named
    selector = spec.get("selector") or {}
    # Pools select by equality alone; the template has a value for each label that an expression is about.
    keys = [e["key"] for e in selector.get("matchExpressions") or () if e["key"] in pod_labels]
    return {**(selector.get("matchLabels") or {}), **{key: pod_labels[key] for key in keys}}
