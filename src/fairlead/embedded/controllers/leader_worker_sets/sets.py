"""The LeaderWorkerSet controller: revisions, the leaders' StatefulSet, the shared Service and the status."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from fairlead.clock import format_time
from fairlead.embedded import leader_worker_set as names
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.leader_worker_sets.objects import leaders_set, read_leaders, shared_service
from fairlead.embedded.controllers.leader_worker_sets.revisions import compute_revision, outdated
from fairlead.embedded.controllers.leader_worker_sets.rollout import Leaders, LeadersPlan, compute_leaders
from fairlead.embedded.controllers.leader_worker_sets.spec import is_shared_subdomain, size_of
from fairlead.embedded.controllers.leader_worker_sets.status import compute_status, group_states
from fairlead.embedded.controllers.pods import Object, controller_of, is_deleting
from fairlead.embedded.controllers.recent import Recent
from fairlead.kube.errors import AlreadyExists, ApiError
from fairlead.kube.resources import ObjectKey, Resource

LEADER_WORKER_SETS = Resource.of(f"{names.GROUP}/v1", "leaderworkersets", "LeaderWorkerSet")
COMPONENT = "leaderworkerset"
MANAGER = "lws"
"""The field manager by which upstream's controller applies."""

LEAVING_RETRY_S = 1.0


def set_of(obj: Object) -> Iterable[ObjectKey]:
    """The set that the label of an object names."""
    name = (obj["metadata"].get("labels") or {}).get(names.NAME)
    return (ObjectKey(obj["metadata"]["namespace"], name),) if name else ()


class LeaderWorkerSets:
    name = "leaderworkerset"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._events = cluster.voice(COMPONENT)
        self._recent_revisions = Recent(cluster.copy(a.REVISIONS), cluster.clock)
        # Uid of a set -> what was last applied for it, and the StatefulSet that came of it: its uid and generation.
        self._applied: dict[str, tuple[str, str, int]] = {}
        self.watches: Sequence[Watch] = (
            Watch(LEADER_WORKER_SETS, itself),
            Watch(a.STATEFUL_SETS, set_of),
            Watch(a.SERVICES, set_of),
            Watch(a.PODS, lambda pod: set_of(pod) if names.is_leader(pod) else ()),
        )

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        lws = c.get(LEADER_WORKER_SETS, key)
        if lws is None or is_deleting(lws):
            return None
        stateful_set = c.get(a.STATEFUL_SETS, key)
        if stateful_set is not None:
            owner = controller_of(stateful_set)
            if owner is None or owner["uid"] != lws["metadata"]["uid"]:
                self._tell_taken(lws, stateful_set)
                return None
            if is_deleting(stateful_set):
                return LEAVING_RETRY_S
        revisions = self._revisions(lws)
        current = None if stateful_set is None else names.revision_key(stateful_set)
        revision = compute_revision(lws, revisions, current)
        if revision.create is not None:
            await self._create_revision(lws, revision.create, revision.key, current)
        before = None if stateful_set is None else read_leaders(stateful_set)
        leaders, workers = self._members(lws)
        states = group_states(lws, leaders, workers, revision.key, count=before.replicas if before else 0)
        plan = compute_leaders(lws, before, states, is_new_revision=revision.is_new)
        applied = await self._apply(lws, stateful_set, leaders_set(lws, plan, revision.key))
        self._tell_plan(lws, before, plan, is_new_revision=revision.is_new)
        if is_shared_subdomain(lws):
            await self._create_service(lws)
        present = sorted(leaders if size_of(lws) == 1 else leaders.keys() & workers.keys())
        states = group_states(lws, leaders, workers, revision.key, count=max(present, default=-1) + 1)
        replicas = int((applied.get("status") or {}).get("replicas") or 0)
        step = compute_status(lws, [states[i] for i in present], replicas, format_time(c.clock.wall_s()))
        await c.write_status(LEADER_WORKER_SETS, lws, step.status)
        if step.event is not None:
            self._events.normal(LEADER_WORKER_SETS, lws, *step.event)
        if step.is_settled:
            for name in outdated(revisions, revision.key):
                await c.delete(a.REVISIONS, ObjectKey(key.namespace, name))
        return None

    def _tell_taken(self, lws: Object, stateful_set: Object) -> None:
        name = stateful_set["metadata"]["name"]
        message = (
            f"Failed to create leader statefulset {name}: a StatefulSet of this name exists and is not controlled by "
            f"this LeaderWorkerSet: delete it or choose another name"
        )
        self._events.warning(LEADER_WORKER_SETS, lws, "FailedCreate", message)

    def _revisions(self, lws: Object) -> list[Object]:
        c, uid = self._cluster, lws["metadata"]["uid"]
        return self._recent_revisions.overlay(uid, c.controlled_by(a.REVISIONS, uid), c.clock.wall_s())

    async def _create_revision(self, lws: Object, revision: Object, key: str, current: str | None) -> None:
        c = self._cluster
        try:
            made = await c.client.create(a.REVISIONS, revision, lws["metadata"]["namespace"], field_manager=MANAGER)
        except AlreadyExists:
            # Ours, and our copy is late.
            return
        self._recent_revisions.created(made, c.clock.wall_s())
        message = f"Creating revision with key {key} for a newly created LeaderWorkerSet"
        if current:
            missing = current == key
            what = "existing LeaderWorkerSet" if missing else "updated LWS"
            message = f"Creating {'missing ' if missing else ''}revision with key {key} for {what}"
        self._events.normal(LEADER_WORKER_SETS, lws, "CreatingRevision", message)

    def _members(self, lws: Object) -> tuple[dict[int, Object], dict[int, Object]]:
        """Leader pods, and the StatefulSets of workers, by group index."""
        c, namespace, name = self._cluster, lws["metadata"]["namespace"], lws["metadata"]["name"]
        pods = [p for p in c.in_namespace(a.PODS, namespace) if names.is_leader(p)]
        leaders = {i: p for p in pods if (i := group_index(p, name)) is not None}
        sets = c.in_namespace(a.STATEFUL_SETS, namespace)
        return leaders, {i: s for s in sets if (i := group_index(s, name)) is not None}

    async def _apply(self, lws: Object, stateful_set: Object | None, wanted: Object) -> Object:
        uid, said = lws["metadata"]["uid"], json.dumps(wanted, sort_keys=True)
        if stateful_set is not None:
            meta = stateful_set["metadata"]
            if self._applied.get(uid) == (said, meta["uid"], meta["generation"]) and _has_labels(stateful_set, wanted):
                return stateful_set
        try:
            made = await self._cluster.client.apply(a.STATEFUL_SETS, wanted, force=True, field_manager=MANAGER)
        except ApiError as error:
            verb, reason = ("create", "FailedCreate") if stateful_set is None else ("update", "FailedUpdate")
            message = f"Failed to {verb} leader statefulset {lws['metadata']['name']}: {error}"
            self._events.warning(LEADER_WORKER_SETS, lws, reason, message)
            raise
        self._applied[uid] = said, made["metadata"]["uid"], made["metadata"]["generation"]
        return made

    def _tell_plan(self, lws: Object, before: Leaders | None, plan: LeadersPlan, *, is_new_revision: bool) -> None:
        name = lws["metadata"]["name"]
        if before is None:
            self._tell(lws, "GroupsProgressing", f"Created leader statefulset {name}")
            return
        if plan.replicas < before.replicas:
            last = before.replicas - 1
            which = f"replica {name}-{last}" if plan.replicas == last else (
                f"replicas from {name}-{plan.replicas} to {name}-{last}"
            )  # fmt: skip
            if before.replicas > before.wanted:
                self._tell(lws, "GroupsProgressing", f"deleting surge {which}")
        if not is_new_revision and plan.partition < before.partition:
            last = before.partition - 1
            which = f"replica {last}" if plan.partition == last else f"replicas {plan.partition} to {last} (inclusive)"
            self._tell(lws, "GroupsUpdating", f"Updating {which}")

    def _tell(self, lws: Object, reason: str, message: str) -> None:
        self._events.normal(LEADER_WORKER_SETS, lws, reason, message)

    async def _create_service(self, lws: Object) -> None:
        c, meta = self._cluster, lws["metadata"]
        if c.get(a.SERVICES, ObjectKey(meta["namespace"], meta["name"])) is not None:
            return
        try:
            await c.create(a.SERVICES, shared_service(lws))
        except ApiError as error:
            message = f"Failed to create headless service for error: {error}"
            self._events.warning(LEADER_WORKER_SETS, lws, "FailedCreate", message)
            raise


def group_index(obj: Object, name: str) -> int | None:
    """The group of a set that an object belongs to."""
    labels = obj["metadata"].get("labels") or {}
    index = labels.get(names.GROUP_INDEX, "")
    return int(index) if labels.get(names.NAME) == name and index.isascii() and index.isdigit() else None


def _has_labels(stateful_set: Object, wanted: Object) -> bool:
    """Labels and annotations are no part of the generation."""
    have, want = stateful_set["metadata"], wanted["metadata"]
    return all((have.get(k) or {}).items() >= want[k].items() for k in ("labels", "annotations"))
