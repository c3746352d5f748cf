"""What replicas run on, from the API: the nodes of their pods and the devices of their claims.

Follows nodes, claims, slices and, where the API has them, DeviceTaintRules, and has the services reconciled that are
concerned when one of them changes in a way that matters here: heartbeats do not. What it means is said in
`recovery.nodes` and `recovery.devices`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from fairlead.clock import SYSTEM, Clock, parse_time
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import NotFound
from fairlead.kube.informer import Handler, Informer, Informers
from fairlead.kube.kinds import DEVICE_TAINT_RULES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.objects import Node, Pod, ResourceClaim
from fairlead.kube.objects.devices import DeviceTaintRule, ResourceSlice
from fairlead.kube.resources import ObjectKey
from fairlead.serving.names import SERVICE_LABEL
from fairlead.serving.observed import DeviceTrouble, NodeState
from fairlead.serving.recovery.devices import DeviceBook, claim_troubles, pod_troubles
from fairlead.serving.recovery.nodes import node_gist, node_state
from fairlead.serving.replicas import replica_of

_LOG = logging.getLogger("fairlead.serving")

JOIN_S: Final = 10.0
"""A pod may be seen on a node before the node itself is: two watches. For so long after that it is not called gone."""
LOOK_AGAIN_S: Final = 60.0
"""How often it is asked whether the API has got DeviceTaintRules."""


class Surroundings:
    """Follows nodes and devices."""

    def __init__(self, informers: Informers, clock: Clock = SYSTEM) -> None:
        self._informers = informers
        self._clock = clock
        self._nodes = informers.informer(NODES)
        self._pods = informers.informer(PODS, indexes={"serving-node": _node_of})
        self._claims = informers.informer(
            RESOURCE_CLAIMS, indexes={"serving-consumer": _consumers_of, "serving-pool": _pools_of}
        )
        self._slices = informers.informer(RESOURCE_SLICES)
        self._rules: Informer[DeviceTaintRule] | None = None
        self._controller: Controller | None = None
        self._book = DeviceBook()
        self._left: set[str] = set()
        """Nodes that were there and are not any more."""

    def listen(self, controller: Controller) -> None:
        """Have services reconciled whose nodes or devices change."""
        self._controller = controller
        self._nodes.add_handler(
            Handler(lambda n: self._left.discard(_name(n)), None, lambda n: self._left.add(_name(n)))
        )
        self._slices.add_handler(Handler(self._book.put, lambda _, new: self._book.put(new), self._book.drop))
        controller.watch(self._nodes, self._services_on, when=lambda old, new: node_gist(old) != node_gist(new))
        controller.watch(self._slices, self._services_of_slice, when=_differ)
        controller.watch(self._claims, self._services_of_claim, when=lambda old, new: _health(old) != _health(new))

    async def look_for_rules(self, client: Client) -> None:
        """Follow DeviceTaintRules once the API has them; to be run beside the controller, until cancelled."""
        while self._rules is None:
            try:
                discovery = Discovery(client)
                found = await discovery.resources(DEVICE_TAINT_RULES.api_version)
                if any(resource.name == DEVICE_TAINT_RULES.plural for resource in found):
                    self._follow_rules()
                    break
            except NotFound:
                pass
            except Exception as error:
                _LOG.info("%s cannot be asked for: %s; trying again", DEVICE_TAINT_RULES, error)
            await self._clock.sleep(LOOK_AGAIN_S)
        await asyncio.Event().wait()

    def nodes(self, pods: Iterable[Pod], now_s: float) -> Sequence[NodeState]:
        """Those that the pods are on; one that is not there any more is gone."""
        oldest: dict[str, float] = {}
        for pod in pods:
            if pod.spec.node_name:
                since_s = _placed_s(pod)
                oldest[pod.spec.node_name] = min(since_s, oldest.get(pod.spec.node_name, since_s))
        return [state for name, since_s in oldest.items() if (state := self._node(name, since_s, now_s)) is not None]

    def devices(self, pods: Iterable[Pod]) -> Sequence[DeviceTrouble]:
        """What is wrong with the devices of the pods."""
        rules = list(self._rules.store) if self._rules is not None else []
        found: dict[DeviceTrouble, None] = {}
        for pod in pods:
            replica = replica_of(pod)
            for claim in self._claims.store.by_index("serving-consumer", pod.metadata.uid):
                found.update(dict.fromkeys(claim_troubles(replica, claim, self._book, rules)))
            found.update(dict.fromkeys(pod_troubles(replica, pod)))
        return list(found)

    def _node(self, name: str, since_s: float, now_s: float) -> NodeState | None:
        node = self._nodes.store.get(name, "")
        if node is not None:
            return node_state(node, now_s)
        # Whoever may not list nodes must not take all of them for gone.
        if not self._nodes.synced.is_set() or (name not in self._left and now_s - since_s < JOIN_S):
            return None
        return NodeState(name, ready=False, gone=True)

    def _follow_rules(self) -> None:
        rules = self._rules = self._informers.informer(DEVICE_TAINT_RULES)
        rules.add_handler(Handler.every(self._rule_changed))

    def _rule_changed(self, rule: DeviceTaintRule) -> None:
        """Rules are few and name devices in many ways: all services with claims look at them."""
        if self._controller is not None:
            for key in dict.fromkeys(key for claim in self._claims.store for key in self._services_of_claim(claim)):
                self._controller.enqueue(key)

    def _services_on(self, node: Node) -> Iterable[ObjectKey]:
        return _services(self._pods.store.by_index("serving-node", node.metadata.name))

    def _services_of_slice(self, slice_: ResourceSlice) -> Iterable[ObjectKey]:
        pool = slice_.spec.pool
        if pool is None:
            return []
        claims = self._claims.store.by_index("serving-pool", f"{slice_.spec.driver}/{pool.name}")
        return dict.fromkeys(key for claim in claims for key in self._services_of_claim(claim))

    def _services_of_claim(self, claim: ResourceClaim) -> Iterable[ObjectKey]:
        namespace = claim.metadata.namespace
        users = [self._pods.store.get(user.name, namespace) for user in claim.status.reserved_for]
        return _services(pod for pod in users if pod is not None)


def _services(pods: Iterable[Pod]) -> list[ObjectKey]:
    keys = (
        ObjectKey(pod.metadata.namespace, service)
        for pod in pods
        if (service := pod.metadata.labels.get(SERVICE_LABEL))
    )
    return list(dict.fromkeys(keys))


def _name(node: Node) -> str:
    return node.metadata.name


def _node_of(pod: Pod) -> Sequence[str]:
    return (pod.spec.node_name,) if pod.spec.node_name and SERVICE_LABEL in pod.metadata.labels else ()


def _consumers_of(claim: ResourceClaim) -> list[str]:
    return [user.uid for user in claim.status.reserved_for if user.resource == "pods"]


def _pools_of(claim: ResourceClaim) -> list[str]:
    allocation = claim.status.allocation
    results = allocation.devices.results if allocation is not None and allocation.devices is not None else ()
    return list({f"{result.driver}/{result.pool}" for result in results})


def _differ(old: ResourceSlice, new: ResourceSlice) -> bool:
    """In a taint, or in which devices there are."""
    return [(d.name, d.taints) for d in old.spec.devices] != [(d.name, d.taints) for d in new.spec.devices]


def _health(claim: ResourceClaim) -> list[object]:
    return [(d.driver, d.pool, d.device, [(c.type, c.status) for c in d.conditions]) for d in claim.status.devices]


def _placed_s(pod: Pod) -> float:
    """Since when the pod has its node; for one of which that cannot be read, since it was made."""
    placed = next((c for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "True"), None)
    try:
        return parse_time((placed.last_transition_time if placed is not None else "") or "")
    except ValueError:
        return pod.metadata.created_s
