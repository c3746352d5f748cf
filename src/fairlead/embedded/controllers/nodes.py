"""The node lifecycle controller: lost leases become conditions and taints, taints become evictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.clock import format_time
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.node_health import compute_node, eviction_in_s
from fairlead.embedded.controllers.pods import Object
from fairlead.kube.errors import Conflict
from fairlead.kube.resources import ObjectKey

LEASE_NAMESPACE = "kube-node-lease"
GRACE_S = 50.0
"""How long a node may be silent, as kube-controller-manager's --node-monitor-grace-period."""


def _lease_node(lease: Object) -> Iterable[ObjectKey]:
    meta = lease["metadata"]
    return (ObjectKey("", meta["name"]),) if meta.get("namespace") == LEASE_NAMESPACE else ()


def _pod_node(pod: Object) -> Iterable[ObjectKey]:
    name = pod["spec"].get("nodeName")
    return (ObjectKey("", name),) if name else ()


class Nodes:
    name = "node-lifecycle"
    watches: Sequence[Watch] = (Watch(a.NODES, itself), Watch(a.LEASES, _lease_node), Watch(a.PODS, _pod_node))

    def __init__(self, cluster: Cluster, grace_s: float = GRACE_S) -> None:
        self._cluster = cluster
        self._grace_s = grace_s
        self._events = cluster.voice("node-controller")
        self._evictor = cluster.voice("taint-eviction-controller")
        cluster.copy(a.PODS).store.add_index("node", _node_name)
        self._started_s = cluster.clock.wall_s()

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        node = c.get(a.NODES, key)
        if node is None:
            await self._remove_pods_of_deleted_node(key.name)
            return None
        now_s = c.clock.wall_s()
        lease = c.get(a.LEASES, ObjectKey(LEASE_NAMESPACE, key.name))
        step = compute_node(node, lease, now_s, self._grace_s)
        # Right after an outage of the control plane every lease is old: nodes get one grace period to renew.
        if step.conditions is not None and now_s - self._started_s < self._grace_s:
            return max(0.5, self._started_s + self._grace_s - now_s)
        if step.conditions is not None:
            node = await c.write_status(a.NODES, node, {**node.get("status", {}), "conditions": step.conditions})
            self._events.normal(a.NODES, node, "NodeNotReady", f"Node {key.name} status is now: NodeNotReady")
        if step.taints is not None:
            body = {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}}
            patched = await c.patch(a.NODES, key, body | {"spec": {"taints": step.taints or None}})
            node = patched or node
        wait_s = await self._evict(node, now_s)
        if step.conditions is not None or any(t["key"].endswith("unreachable") for t in step.taints or ()):
            await self._mark_pods_not_ready(key.name)
        return min(step.recheck_in_s, wait_s) if wait_s is not None else step.recheck_in_s

    def _pods(self, node: str) -> Sequence[Object]:
        return self._cluster.copy(a.PODS).store.by_index("node", node)

    async def _evict(self, node: Object, now_s: float) -> float | None:
        soonest: float | None = None
        for pod in self._pods(node["metadata"]["name"]):
            left_s = eviction_in_s(pod, node, now_s)
            if left_s is None:
                continue
            if left_s > 0:
                soonest = left_s if soonest is None else min(soonest, left_s)
                continue
            meta = pod["metadata"]
            self._evictor.normal(
                a.PODS, pod, "TaintManagerEviction", f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
            )
            await self._cluster.delete(a.PODS, ObjectKey(meta["namespace"], meta["name"]), uid=meta["uid"])
        return soonest

    async def _mark_pods_not_ready(self, node: str) -> None:
        now = format_time(self._cluster.clock.wall_s())
        for pod in self._pods(node):
            conditions = list((pod.get("status") or {}).get("conditions") or ())
            if not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                continue
            changed = [
                {**c, "status": "False", "lastTransitionTime": now} if c["type"] == "Ready" else c for c in conditions
            ]
            try:
                await self._cluster.write_status(a.PODS, pod, {**pod["status"], "conditions": changed})
            except Conflict:
                continue

    async def _remove_pods_of_deleted_node(self, node: str) -> None:
        # A node that was never registered may still be coming; only pods that saw their node go are orphans.
        for pod in self._pods(node):
            meta = pod["metadata"]
            if "deletionTimestamp" in meta or (pod.get("status") or {}).get("startTime"):
                await self._cluster.delete(
                    a.PODS, ObjectKey(meta["namespace"], meta["name"]), grace_period_s=0, uid=meta["uid"]
                )


def _node_name(pod: Object) -> tuple[str, ...]:
    name = pod["spec"].get("nodeName")
    return (name,) if name else ()
