"""StatefulSet: which ordinals to create, delete or replace next, and the status. Pure."""

from __future__ import annotations

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
from fairlead.embedded.controllers.rolling import resolve_count
from fairlead.embedded.controllers.set_claims import claims_of, wanted_owners

REVISION_LABEL = "controller-revision-hash"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"


@dataclass(slots=True)
class StatefulSetStep:
    create_revision: Object | None = None
    renumber: tuple[str, int] | None = None
    """A revision that is the newest again, and its new number."""
    create: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    """PersistentVolumeClaims that pods mount and that are missing."""
    claim_owners: dict[str, list[Object]] = field(default_factory=dict)
    """Claim name -> the owner references that the retention policy wants."""
    relabel: dict[str, dict[str, str]] = field(default_factory=dict)
    """Pod name -> labels of its identity that were lost."""
    delete: list[str] = field(default_factory=list)
    status: Object = field(default_factory=dict)
    recheck_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Round:
    """What one step looks at."""

    set: Object
    pods: Mapping[int, Object]
    claims: Mapping[str, Object]
    templates: Mapping[str, Object]
    current: str
    update: str
    now_s: float

    @property
    def wanted(self) -> range:
        start = int((self.set["spec"].get("ordinals") or {}).get("start", 0))
        return range(start, start + int(self.set["spec"].get("replicas", 1)))

    @property
    def ordered(self) -> bool:
        return bool(self.set["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady")

    @property
    def partition(self) -> int:
        """The first ordinal that is updated."""
        rolling = (self.set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        return self.wanted.start + int(rolling.get("partition") or 0)

    def is_available(self, pod: Object) -> bool:
        """Running, ready, ready for minReadySeconds, and staying."""
        wait = available_in_s(pod, float(self.set["spec"].get("minReadySeconds", 0)), self.now_s)
        return phase(pod) == "Running" and wait == 0 and not is_deleting(pod)


def compute_stateful_set(
    stateful_set: Object,
    pods: Sequence[Object],
    revisions: Sequence[Object],
    now_s: float,
    claims: Mapping[str, Object] | None = None,
) -> StatefulSetStep:
    """One step. `revisions` are its ControllerRevisions, `claims` the PersistentVolumeClaims of its namespace by
    name."""
    step = StatefulSetStep()
    update = _update_revision(stateful_set, revisions, step)
    current = (stateful_set.get("status") or {}).get("currentRevision")
    templates = {r["metadata"]["name"]: r["data"]["spec"]["template"] for r in revisions}
    templates[update] = stateful_set["spec"]["template"]
    by_ordinal = {o: p for p in pods if (o := ordinal(stateful_set, p)) is not None}
    known = current if current in templates else update
    now = _Round(stateful_set, by_ordinal, claims or {}, templates, str(known), update, now_s)
    if not is_deleting(stateful_set):
        _act(now, step)
    step.status = _status(now, step)
    return step


def ordinal(stateful_set: Mapping[str, Object], pod: Object) -> int | None:
    """The pod's number in the set, or None if the name is not of the set's form."""
    base, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if base == stateful_set["metadata"]["name"] and number.isdigit() else None


def _update_revision(stateful_set: Object, revisions: Sequence[Object], step: StatefulSetStep) -> str:
    meta = stateful_set["metadata"]
    data = revision_data(stateful_set["spec"]["template"])
    hashed = revision_hash(data, int((stateful_set.get("status") or {}).get("collisionCount") or 0))
    newest = max(revisions, key=_age, default=None)
    highest = int(newest.get("revision", 0)) if newest else 0
    existing = max((r for r in revisions if r.get("data") == data), key=_age, default=None)
    if existing is not None:
        if existing is not newest:
            step.renumber = (existing["metadata"]["name"], highest + 1)
        return str(existing["metadata"]["name"])
    name = f"{meta['name']}-{hashed}"
    labels = (stateful_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
    step.create_revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {**labels, "controller.kubernetes.io/hash": hashed},
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(stateful_set, "apps/v1", "StatefulSet")],
        },
        "data": data,
        "revision": highest + 1,
    }
    return name


def _age(revision: Object) -> tuple[int, float, str]:
    return int(revision.get("revision", 0)), created_s(revision), revision["metadata"]["name"]


def _act(now: _Round, step: StatefulSetStep) -> None:
    for number in now.wanted:
        if _keep_replica(now, number, step) and now.ordered:
            return
    condemned = sorted((n for n in now.pods if n not in now.wanted), reverse=True)
    for number in condemned:
        _repair_claims(now, number, step, leaving=True)
    for number in condemned:
        if _condemn(now, number, condemned, step) and now.ordered:
            return
    if (now.set["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
        _replace_outdated(now, step)


def _keep_replica(now: _Round, number: int, step: StatefulSetStep) -> bool:
    """Bring one ordinal a step nearer; True where the ones after it have to wait for it."""
    pod = now.pods.get(number)
    if pod is not None and phase(pod) in ("Failed", "Succeeded"):
        if not is_deleting(pod):
            step.delete.append(pod["metadata"]["name"])
        return True
    if pod is None:
        if any(is_deleting(c) for c in _existing_claims(now, number)):
            return True
        revision = now.current if number < now.partition else now.update
        step.create.append(_pod(now.set, number, now.templates[revision], revision))
        step.claims += _missing_claims(now, number)
        return True
    if phase(pod) == "Pending":
        step.claims += _missing_claims(now, number)
    if now.ordered and not now.is_available(pod):
        return True
    lost = {k: v for k, v in identity(now.set, number).items() if (pod["metadata"].get("labels") or {}).get(k) != v}
    if lost and not is_deleting(pod):
        step.relabel[pod["metadata"]["name"]] = lost
    _repair_claims(now, number, step, leaving=False)
    return False


def _condemn(now: _Round, number: int, condemned: Sequence[int], step: StatefulSetStep) -> bool:
    pod = now.pods[number]
    if is_deleting(pod):
        return True
    lowest_unavailable = next((n for n in reversed(condemned) if not now.is_available(now.pods[n])), None)
    if now.ordered and not now.is_available(pod) and number != lowest_unavailable:
        return True
    step.delete.append(pod["metadata"]["name"])
    return True


def _replace_outdated(now: _Round, step: StatefulSetStep) -> None:
    """From the highest ordinal down, as many as may be unavailable at once; what is unavailable anyway costs
    nothing."""
    rolling = (now.set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    limit = max(1, resolve_count(rolling.get("maxUnavailable", 1), len(now.wanted), up=True))
    missing = [n for n in now.wanted if n not in now.pods]
    budget = limit - len(missing) - sum(not now.is_available(now.pods[n]) for n in now.wanted if n in now.pods)
    for number in reversed(now.wanted):
        pod = now.pods.get(number)
        if number < now.partition or pod is None:
            continue
        if revision_of(pod) == now.update or is_deleting(pod) or pod["metadata"]["name"] in step.delete:
            continue
        if now.is_available(pod):
            if budget <= 0:
                continue
            budget -= 1
        step.delete.append(pod["metadata"]["name"])


def revision_of(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def identity(stateful_set: Object, number: int) -> dict[str, str]:
    """The labels by which a pod is known as one of a set."""
    return {POD_NAME_LABEL: f"{stateful_set['metadata']['name']}-{number}", POD_INDEX_LABEL: str(number)}


def _pod(stateful_set: Object, number: int, template: Object, revision: str) -> Object:
    name = f"{stateful_set['metadata']['name']}-{number}"
    pod = pod_from_template(template, stateful_set, owner_reference(stateful_set, "apps/v1", "StatefulSet"))
    del pod["metadata"]["generateName"]
    pod["metadata"]["name"] = name
    pod["metadata"]["labels"] |= {**identity(stateful_set, number), REVISION_LABEL: revision}
    pod["spec"]["hostname"] = name
    if stateful_set["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = stateful_set["spec"]["serviceName"]
    mounted = {volume: claim["metadata"]["name"] for volume, claim in claims_of(stateful_set, number).items()}
    if mounted:
        others = [v for v in pod["spec"].get("volumes") or () if v["name"] not in mounted]
        ours = [{"name": v, "persistentVolumeClaim": {"claimName": n}} for v, n in mounted.items()]
        pod["spec"]["volumes"] = ours + others
    return pod


def _existing_claims(now: _Round, number: int) -> list[Object]:
    names = (c["metadata"]["name"] for c in claims_of(now.set, number).values())
    return [now.claims[n] for n in names if n in now.claims]


def _missing_claims(now: _Round, number: int) -> list[Object]:
    missing = [c for c in claims_of(now.set, number).values() if c["metadata"]["name"] not in now.claims]
    for claim in missing:
        owners = wanted_owners(now.set, claim, None, leaving=False)
        if owners:
            claim["metadata"]["ownerReferences"] = owners
    return missing


def _repair_claims(now: _Round, number: int, step: StatefulSetStep, *, leaving: bool) -> None:
    for claim in _existing_claims(now, number):
        owners = wanted_owners(now.set, claim, now.pods.get(number), leaving=leaving)
        if owners is not None and not is_deleting(claim):
            step.claim_owners[claim["metadata"]["name"]] = owners


def _status(now: _Round, step: StatefulSetStep) -> Object:
    pods = list(now.pods.values())
    settled = [p for p in pods if not is_deleting(p)]
    min_ready_s = float(now.set["spec"].get("minReadySeconds", 0))
    running = [p for p in pods if phase(p) == "Running" and is_ready(p)]
    waits = [w for p in running if (w := available_in_s(p, min_ready_s, now.now_s)) is not None]
    step.recheck_in_s = min((w for w in waits if w > 0), default=None)
    current, updated = now.current, sum(revision_of(p) == now.update for p in settled)
    dropped = sum(p["metadata"]["name"] in step.delete and revision_of(p) == current for p in settled)
    current_replicas = sum(revision_of(p) == current for p in settled)
    if now.current != now.update and dropped and not [n for n in now.pods if n not in now.wanted]:
        current_replicas -= dropped
    desired = len(now.wanted)
    strategy = (now.set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate")
    if strategy == "RollingUpdate" and updated == desired == len(running) == len(pods):
        current, current_replicas = now.update, updated
    status: Object = {
        "observedGeneration": now.set["metadata"].get("generation", 1),
        "replicas": len(pods),
        "currentRevision": current,
        "updateRevision": now.update,
        "collisionCount": int((now.set.get("status") or {}).get("collisionCount") or 0),
        "availableReplicas": sum(w == 0 for w in waits),
    }
    counts = {"readyReplicas": len(running), "currentReplicas": current_replicas, "updatedReplicas": updated}
    return status | {k: v for k, v in counts.items() if v}


def outdated_revisions(
    stateful_set: Object, pods: Sequence[Object], revisions: Sequence[Object], status: Object
) -> list[str]:
    """Names of revisions beyond the history limit that no pod and no status uses, oldest first."""
    live = {revision_of(p) for p in pods} | {status.get("currentRevision"), status.get("updateRevision")}
    unused = [r for r in revisions if r["metadata"]["name"] not in live]
    surplus = len(unused) - int(stateful_set["spec"].get("revisionHistoryLimit", 10))
    ordered = sorted(unused, key=_age)
    return [r["metadata"]["name"] for r in ordered[: max(0, surplus)]]
