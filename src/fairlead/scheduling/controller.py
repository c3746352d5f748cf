"""The scheduler as a process: pods without a node in, bindings and reasons out. Decisions are in `placement.py`.

One cycle takes every waiting pod in order of priority and age, decides on the ledger's state, and binds concurrently;
decisions never wait for writes. Pods that fit nowhere are tried again when something that matters has changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, Conflict, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Handler, Informers
from fairlead.kube.kinds import NODES, PODS, RESOURCE_CLAIMS
from fairlead.kube.objects import Pod
from fairlead.kube.store import by_namespace
from fairlead.kube.transport import Unreachable
from fairlead.scheduling.ledger import Ledger
from fairlead.scheduling.observe import observe_node, observe_pod
from fairlead.scheduling.placement import Placement, place
from fairlead.scheduling.snapshot import NodeView, PodView, add

_LOG = logging.getLogger("fairlead.scheduling")

CONCURRENT_WRITES = 16
RETRY_S = 1.0
"""Wait before the pods of a failed write are tried again."""

RECHECK_S = 30.0
"""Everything is looked at again this often, whatever events say."""


class Scheduler:
    """Places the pods of the given scheduler names."""

    def __init__(
        self, client: Client, informers: Informers, names: frozenset[str], events: EventRecorder, clock: Clock = SYSTEM
    ) -> None:
        self._client = client
        self._names = names
        self._events = events
        self._clock = clock
        self._pods = informers.informer(PODS, indexes={"namespace": by_namespace})
        self._nodes = informers.informer(NODES)
        self._claims = informers.informer(RESOURCE_CLAIMS, indexes={"namespace": by_namespace})
        self._changed = asyncio.Event()
        self._ledger = Ledger(self._changed.set)
        self._waiting: dict[str, Pod] = {}  # uid -> pod without a node
        self._told: dict[str, str] = {}  # uid -> the reason that its condition says
        self._writes = asyncio.Semaphore(CONCURRENT_WRITES)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Schedule until cancelled."""
        self._pods.add_handler(Handler(self._seen, lambda _, new: self._seen(new), self._gone))
        wake: Handler[Any] = Handler.every(lambda _: self._changed.set())
        self._nodes.add_handler(wake)
        self._claims.add_handler(wake)
        for informer in (self._pods, self._nodes, self._claims):
            await informer.wait_synced(60.0)
        try:
            while True:
                self._changed.clear()
                self._cycle()
                try:
                    async with asyncio.timeout(RECHECK_S):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _seen(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        if pod.spec.node_name:
            self._waiting.pop(uid, None)
            self._told.pop(uid, None)
            self._ledger.observe(pod)
            return
        ours = (pod.spec.scheduler_name or "default-scheduler") in self._names
        if ours and not pod.metadata.is_deleting and pod.status.phase not in ("Succeeded", "Failed"):
            self._waiting[uid] = pod
            self._changed.set()
        else:
            self._waiting.pop(uid, None)

    def _gone(self, pod: Pod) -> None:
        self._waiting.pop(pod.metadata.uid, None)
        self._told.pop(pod.metadata.uid, None)
        self._ledger.forget(pod.metadata.uid)

    def _cycle(self) -> None:
        """Decide for every waiting pod on one view of the nodes, which each decision updates."""
        undecided = [p for uid, p in self._waiting.items() if self._ledger.assumed_node(uid) is None]
        if not undecided:
            return
        nodes = {n.metadata.name: observe_node(n, {}, frozenset()) for n in self._nodes.store}
        for name in nodes:
            nodes[name] = self._with_usage(nodes[name])
        for pod, view in self._in_order(undecided):
            placement = place(view, nodes.values())
            if placement.node is None:
                self._start(self._say_why_not(pod, placement))
                continue
            self._ledger.assume(pod, placement.node)
            nodes[placement.node] = _with_pod(nodes[placement.node], view)
            self._start(self._bind(pod, placement.node, view.claims))

    def _with_usage(self, node: NodeView) -> NodeView:
        return _replace_usage(node, self._ledger.used(node.name), self._ledger.host_ports(node.name))

    def _in_order(self, pods: Iterable[Pod]) -> list[tuple[Pod, PodView]]:
        claims: dict[str, dict[str, object]] = {}
        views = []
        for pod in pods:
            namespace = pod.metadata.namespace
            if namespace not in claims and pod.spec.resource_claims:
                found = self._claims.store.by_index("namespace", namespace)
                claims[namespace] = {c.metadata.name: c for c in found}
            views.append((pod, observe_pod(pod, claims.get(namespace, {}))))  # type: ignore[arg-type]
        return sorted(views, key=lambda item: (-item[1].priority, item[1].created_s, item[1].namespace, item[1].name))

    def _start(self, work: object) -> None:
        task = asyncio.create_task(work)  # type: ignore[arg-type,var-annotated]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bind(self, pod: Pod, node: str, claims: Sequence[str]) -> None:
        meta = pod.metadata
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        async with self._writes:
            try:
                # The node starts a pod only when its claims are reserved for it.
                for claim in claims:
                    await self._reserve(claim, pod)
                path = PODS.path(meta.namespace, meta.name, "binding")
                await self._client.request("POST", path, body=body)
            except (NotFound, Conflict) as error:
                # Deleted, replaced or bound by somebody else: the informer says which.
                _LOG.info("pod %s/%s is not bound to %s: %s", meta.namespace, meta.name, node, error)
                self._ledger.forget(meta.uid)
                return
            except (ApiError, Unreachable, TimeoutError) as error:
                _LOG.warning("pod %s/%s is not bound to %s: %s; trying again", meta.namespace, meta.name, node, error)
                self._ledger.forget(meta.uid)
                await self._clock.sleep(RETRY_S)
                self._changed.set()
                return
        self._waiting.pop(meta.uid, None)
        self._events.normal(PODS, pod, "Scheduled", f"Successfully assigned {meta.namespace}/{meta.name} to {node}")

    async def _reserve(self, claim: str, pod: Pod) -> None:
        """Enter the pod among the consumers of a claim. Raises NotFound, Invalid (the claim is full)."""
        consumer = {"resource": "pods", "name": pod.metadata.name, "uid": pod.metadata.uid}

        def enter(obj: dict[str, Any]) -> None:
            consumers = obj.setdefault("status", {}).setdefault("reservedFor", [])
            if all(c["uid"] != consumer["uid"] for c in consumers):
                consumers.append(consumer)

        await self._client.modify(RESOURCE_CLAIMS, claim, pod.metadata.namespace, enter, subresource="status")

    async def _say_why_not(self, pod: Pod, placement: Placement) -> None:
        meta, message = pod.metadata, placement.explain()
        if self._told.get(meta.uid) == message:
            return
        self._told[meta.uid] = message
        reason = "SchedulingGated" if pod.spec.scheduling_gates else "Unschedulable"
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": format_time(self._clock.wall_s()),
        }
        current = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
        if current is not None and (current.status, current.message) == ("False", message):
            return
        async with self._writes:
            try:
                await self._client.patch(
                    PODS, meta.name, {"status": {"conditions": [condition]}}, meta.namespace,
                    kind="strategic", subresource="status",
                )  # fmt: skip
            except NotFound:
                return
            except (ApiError, Unreachable, TimeoutError) as error:
                _LOG.warning("the reason of pod %s/%s is not written: %s", meta.namespace, meta.name, error)
                self._told.pop(meta.uid, None)
                await self._clock.sleep(RETRY_S)
                self._changed.set()
                return
        if reason == "Unschedulable":
            self._events.warning(PODS, pod, "FailedScheduling", message)


def _replace_usage(node: NodeView, used: dict[str, int], ports: frozenset[tuple[str, int]]) -> NodeView:
    return NodeView(node.name, node.allocatable, used, node.labels, node.taints, node.unschedulable, ports)


def _with_pod(node: NodeView, pod: PodView) -> NodeView:
    return _replace_usage(node, add(node.used, pod.requests), node.host_ports | pod.host_ports)
