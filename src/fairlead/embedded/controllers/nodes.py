"""The node lifecycle controller: lost leases become conditions and taints, taints become evictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.clock import format_time
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself, node_of_pod
from fairlead.embedded.controllers.node_health import NOT_READY, compute_node, eviction_in_s
from fairlead.embedded.controllers.pods import Object, condition, phase, set_condition
from fairlead.kube.errors import NotFound
from fairlead.kube.resources import ObjectKey

LEASE_NAMESPACE = "kube-node-lease"
GRACE_S = 50.0
"""How long a node may be silent, as kube-controller-manager's --node-monitor-grace-period."""

QUARANTINE_S = 40.0
"""How long a node may be missing before its pods are collected: one that registers anew keeps them."""


def _lease_node(lease: Object) -> Iterable[ObjectKey]:
    meta = lease["metadata"]
    return (ObjectKey("", meta["name"]),) if meta.get("namespace") == LEASE_NAMESPACE else ()


def _pod_node(pod: Object) -> Iterable[ObjectKey]:
    name = pod["spec"].get("nodeName")
    return (ObjectKey("", name),) if name else ()


class Nodes:
    name = "node-lifecycle"
    watches: Sequence[Watch] = (Watch(a.NODES, itself), Watch(a.LEASES, _lease_node), Watch(a.PODS, _pod_node))

    def __init__(self, cluster: Cluster, grace_s: float = GRACE_S, quarantine_s: float = QUARANTINE_S) -> None:
        self._cluster = cluster
        self._grace_s = grace_s
        self._quarantine_s = quarantine_s
        self._events = cluster.voice("node-controller")
        self._evictor = cluster.voice("taint-eviction-controller")
        cluster.copy(a.PODS).store.add_index("node", node_of_pod)
        self._started_s = cluster.clock.wall_s()
        # Node name -> its identity, of nodes that were announced.
        self._known: dict[str, Object] = {}
        # Node name -> since when it is missing while pods name it.
        self._missing: dict[str, float] = {}

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        node = c.get(a.NODES, key)
        self._announce(key.name, node)
        if node is None:
            return await self._collect_pods_of_missing_node(key.name)
        self._missing.pop(key.name, None)
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
        ready = condition(node, "Ready")
        became_not_ready = any(t["key"] == NOT_READY for t in step.taints or ())
        if became_not_ready or (ready is not None and ready["status"] == "Unknown"):
            await self._mark_pods_not_ready(key.name)
        wait_s = await self._evict(node, now_s)
        return min(step.recheck_in_s, wait_s) if wait_s is not None else step.recheck_in_s

    def _announce(self, name: str, node: Object | None) -> None:
        known = self._known.get(name)
        if known is not None and (node is None or node["metadata"]["uid"] != known["metadata"]["uid"]):
            told = f"Node {name} event: Removing Node {name} from Controller"
            self._events.normal(a.NODES, self._known.pop(name), "RemovingNode", told)
        if node is not None and name not in self._known:
            self._known[name] = {"metadata": {k: node["metadata"][k] for k in ("name", "uid", "resourceVersion")}}
            told = f"Node {name} event: Registered Node {name} in Controller"
            self._events.normal(a.NODES, node, "RegisteredNode", told)

    def _pods(self, node: str) -> Sequence[Object]:
        return self._cluster.copy(a.PODS).store.by_index("node", node)

    async def _evict(self, node: Object, now_s: float) -> float | None:
        soonest: float | None = None
        if not any(t.get("effect") == "NoExecute" for t in (node.get("spec") or {}).get("taints") or ()):
            return None
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
            message = "Taint manager: deleting due to NoExecute taint"
            await self._disrupt(pod, "DeletionByTaintManager", message)
            await self._cluster.delete(a.PODS, ObjectKey(meta["namespace"], meta["name"]), uid=meta["uid"])
        return soonest

    async def _disrupt(self, pod: Object, reason: str, message: str, *, fail: bool = False) -> None:
        """Say in the pod's status why it goes; with `fail`, that it has ended."""
        status = pod.get("status") or {}
        made = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
        now = format_time(self._cluster.clock.wall_s())
        changed = {**status, "conditions": set_condition(list(status.get("conditions") or ()), made, now)}
        if fail and phase(pod) not in ("Succeeded", "Failed"):
            changed["phase"] = "Failed"
        await self._cluster.write_status(a.PODS, pod, changed)

    async def _mark_pods_not_ready(self, node: str) -> None:
        now = format_time(self._cluster.clock.wall_s())
        for pod in self._pods(node):
            conditions = list((pod.get("status") or {}).get("conditions") or ())
            if not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                continue
            changed = [
                {**c, "status": "False", "lastTransitionTime": now} if c["type"] == "Ready" else c for c in conditions
            ]
            self._events.warning(a.PODS, pod, "NodeNotReady", "Node is not ready")
            await self._cluster.write_status(a.PODS, pod, {**pod["status"], "conditions": changed})

    async def _collect_pods_of_missing_node(self, node: str) -> float | None:
        """Pods whose node is gone for good can never end by themselves."""
        c, pods, now_s = self._cluster, self._pods(node), self._cluster.clock.wall_s()
        if not pods:
            self._missing.pop(node, None)
            return None
        left_s = self._missing.setdefault(node, now_s) + self._quarantine_s - now_s
        if left_s > 0:
            return left_s
        if await self._exists(node):
            return None
        for pod in pods:
            meta = pod["metadata"]
            await self._disrupt(pod, "DeletionByPodGC", "PodGC: node no longer exists", fail=True)
            await c.delete(a.PODS, ObjectKey(meta["namespace"], meta["name"]), grace_period_s=0, uid=meta["uid"])
        return None

    async def _exists(self, node: str) -> bool:
        try:
            await self._cluster.client.get(a.NODES, node)
        except NotFound:
            return False
        return True
