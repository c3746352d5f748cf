"""The groups of LeaderWorkerSets, pod by pod: a leader gets its workers and Service, a broken group goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.embedded import leader_worker_set as names
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.children import is_namespace_going
from fairlead.embedded.controllers.leader_worker_sets.objects import group_service, workers_set
from fairlead.embedded.controllers.leader_worker_sets.restarts import should_recreate
from fairlead.embedded.controllers.leader_worker_sets.revisions import find_revision, restore
from fairlead.embedded.controllers.leader_worker_sets.sets import COMPONENT, LEADER_WORKER_SETS, MANAGER
from fairlead.embedded.controllers.leader_worker_sets.spec import is_shared_subdomain, size_of, starts_after_leader
from fairlead.embedded.controllers.pods import Object, controller_of, is_deleting, is_ready
from fairlead.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from fairlead.kube.resources import ObjectKey

REVISION_RETRY_S = 0.2
NODE_RETRY_S = 1.0


def _member(pod: Object) -> Iterable[ObjectKey]:
    return itself(pod) if names.NAME in (pod["metadata"].get("labels") or ()) else ()


def _leader_of(obj: Object) -> Iterable[ObjectKey]:
    """The leader's pod that a StatefulSet or Service of a group belongs to."""
    owner = controller_of(obj)
    if owner is None or owner["kind"] != "Pod" or names.NAME not in (obj["metadata"].get("labels") or ()):
        return ()
    return (ObjectKey(obj["metadata"]["namespace"], owner["name"]),)


class Groups:
    name = "leaderworkerset-group"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._events = cluster.voice(COMPONENT)
        self.watches: Sequence[Watch] = (
            Watch(a.PODS, _member),
            Watch(a.STATEFUL_SETS, _leader_of),
            Watch(a.SERVICES, _leader_of),
            Watch(LEADER_WORKER_SETS, self._leaders),
        )

    def _leaders(self, lws: Object) -> Iterable[ObjectKey]:
        meta = lws["metadata"]
        for pod in self._cluster.in_namespace(a.PODS, meta["namespace"]):
            if names.is_leader(pod) and pod["metadata"]["labels"].get(names.NAME) == meta["name"]:
                yield from itself(pod)

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        pod = c.get(a.PODS, key)
        labels = {} if pod is None else pod["metadata"].get("labels") or {}
        if pod is None or names.NAME not in labels or names.WORKER_INDEX not in labels:
            return None
        lws = c.get(LEADER_WORKER_SETS, ObjectKey(key.namespace, labels[names.NAME]))
        if lws is None or is_deleting(lws):
            return None
        leader = self._leader(pod)
        workers = None if leader is None else c.get(a.STATEFUL_SETS, _key(leader))
        if should_recreate(lws, pod, leader, workers, self._group(pod)):
            assert leader is not None
            await self._recreate(lws, pod, leader)
            return None
        if not names.is_leader(pod) or is_deleting(pod):
            return None
        return await self._complete(lws, pod, workers)

    def _leader(self, pod: Object) -> Object | None:
        if names.is_leader(pod):
            return pod
        found = names.split_ordinal(pod["metadata"]["name"])
        return None if found is None else self._cluster.get(a.PODS, ObjectKey(pod["metadata"]["namespace"], found[0]))

    def _group(self, pod: Object) -> list[Object]:
        mine = {k: pod["metadata"]["labels"].get(k) for k in (names.NAME, names.GROUP_INDEX)}
        pods = self._cluster.in_namespace(a.PODS, pod["metadata"]["namespace"])
        return [p for p in pods if mine.items() <= (p["metadata"].get("labels") or {}).items()]

    async def _recreate(self, lws: Object, pod: Object, leader: Object) -> None:
        if is_deleting(leader):
            return
        meta = leader["metadata"]
        try:
            # Its workers go first: two generations of a group must not meet.
            await self._cluster.client.delete(
                a.PODS, meta["name"], meta["namespace"], uid=meta["uid"], propagation="Foreground"
            )
        except (NotFound, Conflict):
            return
        index = (meta.get("labels") or {}).get(names.GROUP_INDEX, "")
        failed = pod["metadata"]["name"]
        message = f"Worker pod {failed} failed, deleted leader pod {meta['name']} to recreate group {index}"
        self._events.normal(LEADER_WORKER_SETS, lws, "RecreateGroup", message)

    async def _complete(self, lws: Object, leader: Object, workers: Object | None) -> float | None:
        """Give a leader what its group lacks; returns when to look again."""
        c, meta = self._cluster, leader["metadata"]
        if not is_shared_subdomain(lws) and c.get(a.SERVICES, _key(leader)) is None:
            await c.create(a.SERVICES, group_service(lws, leader))
        if workers is not None or size_of(lws) == 1 or (starts_after_leader(lws) and not is_ready(leader)):
            return None
        revisions = c.controlled_by(a.REVISIONS, lws["metadata"]["uid"])
        revision = find_revision(revisions, names.revision_key(leader))
        if revision is None:
            return REVISION_RETRY_S
        topology = self._topology(lws, leader)
        if topology is None:
            return NODE_RETRY_S if leader["spec"].get("nodeName") else None
        wanted = workers_set(lws, restore(lws, revision), leader, topology)
        try:
            await c.client.create(a.STATEFUL_SETS, wanted, meta["namespace"], field_manager=MANAGER)
        except AlreadyExists:
            return None
        except ApiError as error:
            if not is_namespace_going(error):
                message = f"Failed to create worker statefulset for leader pod {meta['name']}: {error}"
                self._events.warning(LEADER_WORKER_SETS, lws, "FailedCreate", message)
            raise
        message = f"Created worker statefulset for leader pod {meta['name']}"
        self._events.normal(LEADER_WORKER_SETS, lws, "GroupsProgressing", message)
        return None

    def _topology(self, lws: Object, leader: Object) -> dict[str, str] | None:
        """The node labels that the workers of an exclusively placed group need; None while they are not known."""
        level = (lws["metadata"].get("annotations") or {}).get(names.EXCLUSIVE)
        if not level:
            return {}
        node = self._cluster.get(a.NODES, ObjectKey("", leader["spec"].get("nodeName", "")))
        value = None if node is None else (node["metadata"].get("labels") or {}).get(level)
        return None if value is None else {level: value}


def _key(leader: Object) -> ObjectKey:
    return ObjectKey(leader["metadata"]["namespace"], leader["metadata"]["name"])
