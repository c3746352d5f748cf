"""The scheduler as a process: pods without a node in, bindings and reasons out. Decisions are in `placement.py`.

One cycle takes every waiting pod in order of priority and age, decides on the ledger's state, and binds concurrently;
decisions never wait for writes. Pods that fit nowhere are tried again when something that matters has changed. Claims
without devices get them with the node: the allocation and the reservation are written before the pod is bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.kube.client import Client
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import ApiError, Conflict, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Handler, Informer, Informers
from fairlead.kube.kinds import DEVICE_CLASSES, DEVICE_TAINT_RULES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.objects import Pod, ResourceClaim
from fairlead.kube.objects.devices import DELETE_PROTECTION, AllocationResult
from fairlead.kube.store import by_namespace
from fairlead.kube.transport import Unreachable
from fairlead.scheduling.allocator import Allocated
from fairlead.scheduling.devices import Devices, Wish
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


class AllocatedOtherwise(Exception):
    """A claim got other devices than were decided, from somebody else."""


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
        self._slices = informers.informer(RESOURCE_SLICES)
        self._classes = informers.informer(DEVICE_CLASSES)
        self._informers = informers
        self._devices = Devices(self._slices.store, self._classes.store, (), self._claims.store)
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
        copies: list[Informer[Any]] = [self._nodes, self._claims, self._slices, self._classes]
        rules = await self._taint_rules()
        if rules is not None:
            self._devices = Devices(self._slices.store, self._classes.store, rules.store, self._claims.store)
            copies.append(rules)
        for informer in copies:
            informer.add_handler(wake)
        for informer in (self._pods, *copies):
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
        self._devices.refresh()
        for pod, view in self._in_order(undecided):
            # What was decided in this cycle may have given a shared claim its devices.
            claims = self._own_claims(view)
            current = observe_pod(pod, claims) if view.claims else view
            placement, allocations = self._decide(current, claims, nodes)
            if placement.node is None:
                self._start(self._say_why_not(pod, placement))
                continue
            self._ledger.assume(pod, placement.node)
            nodes[placement.node] = _with_pod(nodes[placement.node], view)
            self._start(self._bind(pod, placement.node, view.claims, allocations))

    def _decide(
        self, view: PodView, claims: Mapping[str, ResourceClaim], nodes: Mapping[str, NodeView]
    ) -> tuple[Placement, Mapping[str, AllocationResult]]:
        """Where the pod goes, and the allocations that its claims (by name) get there."""
        wish = None if view.waits_for else self._devices.wish(tuple(claims.values()))
        if wish is None:
            return place(view, nodes.values()), {}
        given: dict[str, Allocated] = {}

        def lacks_devices(node: NodeView, wish: Wish = wish) -> str | None:
            decision = self._devices.decide(wish, node)
            if isinstance(decision, Allocated):
                given[node.name] = decision
                return None
            return f"cannot allocate all claims: {decision}"

        placement = place(view, nodes.values(), lacks_devices)
        if placement.node is None:
            return placement, {}
        return placement, self._devices.assume(wish, given[placement.node])

    def _claims_of(self, namespace: str) -> dict[str, ResourceClaim]:
        """Claims by name, with the devices that were decided for them."""
        found = self._claims.store.by_index("namespace", namespace)
        return {claim.metadata.name: self._devices.with_decided(claim) for claim in found}

    def _own_claims(self, view: PodView) -> dict[str, ResourceClaim]:
        """A pod's own claims, in its order, with the devices that were decided for them."""
        found = (self._claims.store.get(name, view.namespace) for name in view.claims)
        return {claim.metadata.name: self._devices.with_decided(claim) for claim in found if claim is not None}

    async def _taint_rules(self) -> Informer[Any] | None:
        """Copies of the DeviceTaintRules, where the API server has them."""
        version = f"{DEVICE_TAINT_RULES.group}/{DEVICE_TAINT_RULES.version}"
        while True:
            try:
                await Discovery(self._client).resource_for(version, DEVICE_TAINT_RULES.kind)
                break
            except ApiError as error:
                _LOG.info("taints in ResourceSlices count, rules for more are not served here: %s", error)
                return None
            except (Unreachable, TimeoutError):
                await self._clock.sleep(RETRY_S)
        return self._informers.informer(DEVICE_TAINT_RULES)

    def _with_usage(self, node: NodeView) -> NodeView:
        return _replace_usage(node, self._ledger.used(node.name), self._ledger.host_ports(node.name))

    def _in_order(self, pods: Iterable[Pod]) -> list[tuple[Pod, PodView]]:
        claims: dict[str, dict[str, ResourceClaim]] = {}
        views = []
        for pod in pods:
            namespace = pod.metadata.namespace
            if namespace not in claims and pod.spec.resource_claims:
                claims[namespace] = self._claims_of(namespace)
            views.append((pod, observe_pod(pod, claims.get(namespace, {}))))
        return sorted(views, key=lambda item: (-item[1].priority, item[1].created_s, item[1].namespace, item[1].name))

    def _start(self, work: object) -> None:
        task = asyncio.create_task(work)  # type: ignore[arg-type,var-annotated]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bind(
        self, pod: Pod, node: str, claims: Sequence[str], allocations: Mapping[str, AllocationResult]
    ) -> None:
        """Write what was decided: the pod's claims first. `allocations`: claim name -> its devices, where new."""
        meta = pod.metadata
        is_written = False
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
                    await self._reserve(claim, pod, allocations.get(claim))
                is_written = True
                path = PODS.path(meta.namespace, meta.name, "binding")
                await self._client.request("POST", path, body=body)
            except (NotFound, Conflict, AllocatedOtherwise) as error:
                # Deleted, replaced or bound by somebody else: the informer says which.
                _LOG.info("pod %s/%s is not bound to %s: %s", meta.namespace, meta.name, node, error)
                self._ledger.forget(meta.uid)
                self._changed.set()
                return
            except (ApiError, Unreachable, TimeoutError) as error:
                _LOG.warning("pod %s/%s is not bound to %s: %s; trying again", meta.namespace, meta.name, node, error)
                self._ledger.forget(meta.uid)
                await self._clock.sleep(RETRY_S)
                self._changed.set()
                return
            finally:
                if not is_written:
                    self._devices.forget(self._uids_of(allocations, meta.namespace))
        self._waiting.pop(meta.uid, None)
        self._events.normal(PODS, pod, "Scheduled", f"Successfully assigned {meta.namespace}/{meta.name} to {node}")

    def _uids_of(self, claims: Iterable[str], namespace: str) -> list[str]:
        found = (self._claims.store.get(name, namespace) for name in claims)
        return [claim.metadata.uid for claim in found if claim is not None]

    async def _reserve(self, claim: str, pod: Pod, allocation: AllocationResult | None) -> None:
        """Enter the pod among the consumers of a claim, with its devices where it has none yet. Raises NotFound,
        Invalid (the claim is full), AllocatedOtherwise."""
        consumer = {"resource": "pods", "name": pod.metadata.name, "uid": pod.metadata.uid}
        wanted = msgspec.to_builtins(allocation) if allocation is not None else None

        def protect(obj: dict[str, Any]) -> None:
            finalizers = obj["metadata"].setdefault("finalizers", [])
            if DELETE_PROTECTION not in finalizers:
                finalizers.append(DELETE_PROTECTION)

        def enter(obj: dict[str, Any]) -> None:
            status = obj.setdefault("status", {})
            if wanted is not None and _devices_of(status.setdefault("allocation", wanted)) != _devices_of(wanted):
                raise AllocatedOtherwise(f'claim "{claim}" has got other devices from another scheduler')
            consumers = status.setdefault("reservedFor", [])
            if all(c["uid"] != consumer["uid"] for c in consumers):
                consumers.append(consumer)

        if wanted is not None:
            await self._client.modify(RESOURCE_CLAIMS, claim, pod.metadata.namespace, protect)
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


def _devices_of(allocation: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What an allocation gives, whatever defaults the server has added to it."""
    results = (allocation.get("devices") or {}).get("results") or ()
    return [tuple(r.get(key) for key in ("request", "driver", "pool", "device", "shareID")) for r in results]


def _replace_usage(node: NodeView, used: dict[str, int], ports: frozenset[tuple[str, int]]) -> NodeView:
    return NodeView(node.name, node.allocatable, used, node.labels, node.taints, node.unschedulable, ports)


def _with_pod(node: NodeView, pod: PodView) -> NodeView:
    return _replace_usage(node, add(node.used, pod.requests), node.host_ports | pod.host_ports)
