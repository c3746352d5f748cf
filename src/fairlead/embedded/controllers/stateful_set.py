"""StatefulSet: which ordinals to create, delete or replace next, and the status. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.embedded.controllers.hashing import revision_data, revision_hash
from fairlead.embedded.controllers.pods import (
    Object,
    available_in_s,
    created_s,
    is_deleting,
    is_ready,
    owner_reference,
    phase,
    pod_from_template,
)

REVISION_LABEL = "controller-revision-hash"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"


@dataclass(slots=True)
class StatefulSetStep:
    create_revision: Object | None = None
    create: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    """PersistentVolumeClaims that the created pods mount; existing ones are left alone."""
    delete: list[str] = field(default_factory=list)
    status: Object = field(default_factory=dict)
    recheck_in_s: float | None = None


def compute_stateful_set(
    stateful_set: Object, pods: Sequence[Object], revisions: Sequence[Object], now_s: float
) -> StatefulSetStep:
    """One step. `revisions` are its ControllerRevisions."""
    step = StatefulSetStep()
    update_revision = _update_revision(stateful_set, revisions, step)
    current_revision = (stateful_set.get("status") or {}).get("currentRevision") or update_revision
    templates = {r["metadata"]["name"]: r["data"]["spec"]["template"] for r in revisions}
    templates[update_revision] = stateful_set["spec"]["template"]
    by_ordinal = {o: p for p in pods if (o := ordinal(stateful_set, p)) is not None}
    if not is_deleting(stateful_set):
        _act(stateful_set, by_ordinal, templates, current_revision, update_revision, now_s, step)
    step.status = _status(stateful_set, by_ordinal, current_revision, update_revision, now_s, step)
    return step


def ordinal(stateful_set: Mapping[str, Object], pod: Object) -> int | None:
    """The pod's number in the set, or None if the name is not of the set's form."""
    base, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if base == stateful_set["metadata"]["name"] and number.isdigit() else None


def _update_revision(stateful_set: Object, revisions: Sequence[Object], step: StatefulSetStep) -> str:
    data = revision_data(stateful_set["spec"]["template"])
    hashed = revision_hash(data, int((stateful_set.get("status") or {}).get("collisionCount") or 0))
    name = f"{stateful_set['metadata']['name']}-{hashed}"
    existing = next((r for r in revisions if r["metadata"]["name"] == name), None)
    highest = max((int(r.get("revision", 0)) for r in revisions), default=0)
    labels = (stateful_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
    if existing is None:
        step.create_revision = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": stateful_set["metadata"]["namespace"],
                "labels": {**labels, "controller.kubernetes.io/hash": hashed},
                "ownerReferences": [owner_reference(stateful_set, "apps/v1", "StatefulSet")],
            },
            "data": data,
            "revision": highest + 1,
        }
    return name


def _range(stateful_set: Object) -> range:
    start = int((stateful_set["spec"].get("ordinals") or {}).get("start", 0))
    return range(start, start + int(stateful_set["spec"].get("replicas", 1)))


def _act(
    stateful_set: Object,
    pods: dict[int, Object],
    templates: Mapping[str, Object],
    current: str,
    update: str,
    now_s: float,
    step: StatefulSetStep,
) -> None:
    wanted = _range(stateful_set)
    ordered = stateful_set["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    partition = _partition(stateful_set)
    for number in wanted:
        pod = pods.get(number)
        if pod is not None and phase(pod) in ("Failed", "Succeeded") and not is_deleting(pod):
            step.delete.append(pod["metadata"]["name"])
            if ordered:
                return
            continue
        if pod is None:
            revision = current if number < partition and current in templates else update
            created, claims = _pod(stateful_set, number, templates[revision], revision)
            step.create.append(created)
            step.claims += claims
            if ordered:
                return
            continue
        if ordered and (is_deleting(pod) or not _is_healthy(stateful_set, pod, now_s)):
            return
    condemned = sorted((n for n in pods if n not in wanted), reverse=True)
    for number in condemned:
        pod = pods[number]
        if is_deleting(pod):
            if ordered:
                return
            continue
        step.delete.append(pod["metadata"]["name"])
        if ordered:
            return
    _replace_outdated(stateful_set, pods, update, partition, now_s, step)


def _replace_outdated(
    stateful_set: Object, pods: dict[int, Object], update: str, partition: int, now_s: float, step: StatefulSetStep
) -> None:
    if (stateful_set["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        return
    for number in sorted((n for n in _range(stateful_set) if n >= partition), reverse=True):
        pod = pods.get(number)
        if pod is None or is_deleting(pod):
            return
        if _revision_of(pod) != update:
            step.delete.append(pod["metadata"]["name"])
            return
        if not _is_healthy(stateful_set, pod, now_s):
            return


def _partition(stateful_set: Object) -> int:
    rolling = (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return int(rolling.get("partition") or 0)


def _revision_of(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def _is_healthy(stateful_set: Object, pod: Object, now_s: float) -> bool:
    """Running, ready, and ready for minReadySeconds."""
    wait = available_in_s(pod, float(stateful_set["spec"].get("minReadySeconds", 0)), now_s)
    return phase(pod) == "Running" and wait == 0 and not is_deleting(pod)


def _pod(stateful_set: Object, number: int, template: Object, revision: str) -> tuple[Object, list[Object]]:
    name = f"{stateful_set['metadata']['name']}-{number}"
    pod = pod_from_template(template, stateful_set, owner_reference(stateful_set, "apps/v1", "StatefulSet"))
    del pod["metadata"]["generateName"]
    pod["metadata"]["name"] = name
    pod["metadata"]["labels"] |= {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(number), REVISION_LABEL: revision}
    pod["spec"]["hostname"] = name
    if stateful_set["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = stateful_set["spec"]["serviceName"]
    claims = []
    templates = stateful_set["spec"].get("volumeClaimTemplates") or ()
    for claim in templates:
        made = copy.deepcopy(claim)
        volume = made["metadata"]["name"]
        made["metadata"] = {
            "name": f"{volume}-{name}",
            "namespace": stateful_set["metadata"]["namespace"],
            "labels": {
                **(made["metadata"].get("labels") or {}),
                **(stateful_set["spec"]["selector"].get("matchLabels") or {}),
            },
            "annotations": dict(made["metadata"].get("annotations") or {}),
        }
        made.pop("status", None)
        claims.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim"} | made)
        volumes = [v for v in pod["spec"].get("volumes") or () if v["name"] != volume]
        reference = {"name": volume, "persistentVolumeClaim": {"claimName": made["metadata"]["name"]}}
        pod["spec"]["volumes"] = [*volumes, reference]
    return pod, claims


def _status(
    stateful_set: Object, pods: Mapping[int, Object], current: str, update: str, now_s: float, step: StatefulSetStep
) -> Object:
    alive = [p for p in pods.values() if phase(p) not in ("Failed", "Succeeded")]
    settled = [p for p in alive if not is_deleting(p)]
    min_ready_s = float(stateful_set["spec"].get("minReadySeconds", 0))
    waits = [w for p in settled if phase(p) == "Running" and (w := available_in_s(p, min_ready_s, now_s)) is not None]
    pending = [w for w in waits if w > 0]
    step.recheck_in_s = min(pending) if pending else None
    updated = sum(_revision_of(p) == update for p in settled)
    ready = sum(is_ready(p) and phase(p) == "Running" for p in settled)
    desired = int(stateful_set["spec"].get("replicas", 1))
    strategy = (stateful_set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate")
    if strategy == "RollingUpdate" and updated == desired == ready == len(alive) and current != update:
        current = update
    status: Object = {
        "observedGeneration": stateful_set["metadata"].get("generation", 1),
        "replicas": len(alive),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": int((stateful_set.get("status") or {}).get("collisionCount") or 0),
        "availableReplicas": sum(w == 0 for w in waits),
    }
    counts = {
        "readyReplicas": ready,
        "currentReplicas": sum(_revision_of(p) == current for p in settled),
        "updatedReplicas": updated,
    }
    return status | {k: v for k, v in counts.items() if v}


def outdated_revisions(
    stateful_set: Object, pods: Sequence[Object], revisions: Sequence[Object], status: Object
) -> list[str]:
    """Names of revisions beyond the history limit that no pod and no status uses, oldest first."""
    live = {_revision_of(p) for p in pods} | {status.get("currentRevision"), status.get("updateRevision")}
    unused = [r for r in revisions if r["metadata"]["name"] not in live]
    surplus = len(unused) - int(stateful_set["spec"].get("revisionHistoryLimit", 10))
    ordered = sorted(unused, key=lambda r: (int(r.get("revision", 0)), created_s(r)))
    return [r["metadata"]["name"] for r in ordered[: max(0, surplus)]]
