"""What replicas run on, from the API: the nodes of their pods and the devices of their claims.

`node_state` and `device_troubles` are pure. `Surroundings` follows nodes, claims and slices, and says whose services
are concerned when one of them changes in a way that matters here: heartbeats do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from fairlead.clock import parse_time
from fairlead.kube.controller import Controller
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.objects import Node, Pod, ResourceClaim
from fairlead.kube.objects.devices import Device, ResourceSlice
from fairlead.kube.objects.meta import find_condition
from fairlead.kube.resources import ObjectKey
from fairlead.kube.store import by_controller_uid
from fairlead.serving.names import SERVICE_LABEL
from fairlead.serving.observed import DeviceTrouble, NodeState
from fairlead.serving.replicas import replica_of

LEAVING_TAINTS: Final = (
    "node.kubernetes.io/unschedulable", "karpenter.sh/disrupted", "ToBeDeletedByClusterAutoscaler",
)  # fmt: skip
"""By which whoever drains a node says so, besides `spec.unschedulable`."""

_DeviceKey = tuple[str, str, str]  # driver, pool, device
_EFFECTS: Final = ("NoExecute", "NoSchedule")


def node_state(node: Node, now_s: float) -> NodeState:
    """What a node's condition means for what runs on it."""
    ready = find_condition(node.status.conditions, "Ready")
    since_s = _time(ready.last_transition_time) if ready is not None else None
    lasted_s = max(0.0, now_s - since_s) if since_s is not None else 0.0
    is_ready = ready is not None and ready.status == "True"
    is_silent = ready is None or ready.status == "Unknown"
    taint = next((t.key for t in node.spec.taints if t.key in LEAVING_TAINTS), "")
    cordoned = bool(node.spec.unschedulable) or bool(taint)
    reason = f"taint {taint}" if taint else "spec.unschedulable" if cordoned else ""
    if not is_ready and ready is not None:
        reason = ready.message or ready.reason
    return NodeState(
        node.metadata.name,
        ready=is_ready,
        unready_s=0.0 if is_ready or is_silent else max(lasted_s, 0.001),
        silent_s=max(lasted_s, 0.001) if is_silent and ready is not None else 0.0,
        cordoned=cordoned,
        reason=reason,
    )


def device_troubles(
    pods: Iterable[Pod],
    claim_of: Callable[[str, str], ResourceClaim | None],
    tainted: Mapping[_DeviceKey, tuple[str, str, float | None]],
) -> list[DeviceTrouble]:
    """Devices of the pods' claims that are tainted; `claim_of` takes namespace and name, `tainted` says effect, reason
    and since when. Taints that the claim tolerates count as well: the pod may stay, but whoever serves should know."""
    if not tainted:
        return []
    found: list[DeviceTrouble] = []
    for pod in pods:
        for use in pod.status.resource_claim_statuses:
            claim = claim_of(pod.metadata.namespace, use.resource_claim_name)
            found += [
                DeviceTrouble(replica_of(pod), "/".join(key), *tainted[key])
                for key in _devices(claim)
                if key in tainted
            ]
    return found


def _devices(claim: ResourceClaim | None) -> list[_DeviceKey]:
    allocation = claim.status.allocation if claim is not None else None
    results = allocation.devices.results if allocation is not None and allocation.devices is not None else ()
    return [(r.driver, r.pool, r.device) for r in results]


def worst_taint(device: Device) -> tuple[str, str, float | None] | None:
    """Effect, reason and since when of the gravest taint; None where there is none that moves anybody."""
    for effect in _EFFECTS:
        for taint in device.taints:
            if taint.effect == effect:
                said = f"taint {taint.key}" + (f"={taint.value}" if taint.value else "")
                return effect, said, _time(taint.time_added)
    return None


class Surroundings:
    """Follows nodes and devices."""

    def __init__(self, informers: Informers) -> None:
        self._nodes = informers.informer(NODES)
        self._pods = informers.informer(PODS, indexes={"controller": by_controller_uid, "serving-node": _node_of})
        self._claims = informers.informer(RESOURCE_CLAIMS)
        self._slices = informers.informer(RESOURCE_SLICES)
        self._tainted: dict[str, dict[_DeviceKey, tuple[str, str, float | None]]] = {}  # by name of the slice

    def listen(self, controller: Controller) -> None:
        """Have services reconciled whose nodes or devices change."""
        controller.watch(self._nodes, self._services_on, when=lambda old, new: _gist(old) != _gist(new))
        controller.watch(self._slices, self._services_of_slice, when=_taints_differ)

    def nodes(self, pods: Iterable[Pod], now_s: float) -> Sequence[NodeState]:
        """Those that the pods are on; one that is not there any more is gone."""
        names = dict.fromkeys(pod.spec.node_name for pod in pods if pod.spec.node_name)
        found = []
        for name in names:
            node = self._nodes.store.get(name, "")
            found.append(NodeState(name, ready=False, gone=True) if node is None else node_state(node, now_s))
        return found

    def devices(self, pods: Iterable[Pod]) -> Sequence[DeviceTrouble]:
        """What is wrong with the devices of the pods."""
        tainted = {key: taint for of_slice in self._tainted.values() for key, taint in of_slice.items()}
        return device_troubles(pods, lambda namespace, name: self._claims.store.get(name, namespace), tainted)

    def _services_on(self, node: Node) -> Iterable[ObjectKey]:
        return _services(self._pods.store.by_index("serving-node", node.metadata.name))

    def _services_of_slice(self, slice_: ResourceSlice) -> Iterable[ObjectKey]:
        spec = slice_.spec
        pool = spec.pool.name if spec.pool is not None else ""
        now = {(spec.driver, pool, d.name): taint for d in spec.devices if (taint := worst_taint(d)) is not None}
        is_there = self._slices.store.get(slice_.metadata.name, "") is slice_
        before = self._tainted.pop(slice_.metadata.name, {})
        if now and is_there:
            self._tainted[slice_.metadata.name] = now
        if not now and not before:
            return []
        pods = self._pods.store.by_index("serving-node", spec.node_name) if spec.node_name else list(self._pods.store)
        return _services(pods)


def _services(pods: Iterable[Pod]) -> list[ObjectKey]:
    keys = (
        ObjectKey(pod.metadata.namespace, service)
        for pod in pods
        if (service := pod.metadata.labels.get(SERVICE_LABEL))
    )
    return list(dict.fromkeys(keys))


def _node_of(pod: Pod) -> Sequence[str]:
    return (pod.spec.node_name,) if pod.spec.node_name else ()


def _gist(node: Node) -> tuple[object, ...]:
    """What of a node matters here."""
    ready = find_condition(node.status.conditions, "Ready")
    return (
        bool(node.spec.unschedulable),
        tuple(t.key for t in node.spec.taints),
        ready.status if ready is not None else "",
    )


def _taints_differ(old: ResourceSlice, new: ResourceSlice) -> bool:
    return [d.taints for d in old.spec.devices] != [d.taints for d in new.spec.devices]


def _time(text: str | None) -> float | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None
