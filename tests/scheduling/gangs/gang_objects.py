"""Short ways to make fleets and gangs for tests of the search, and a dump of all that a search could change."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.fleet.device_book import DeviceBook
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang, Group, Topology
from fairlead.scheduling.snapshot import NodeView, PodView, Shape

DRIVER = "gpu.example.com"
RACK, ZONE, LINK = "example.com/rack", "example.com/zone", "example.com/link"
NAMESPACE = "default"

_uids = itertools.count(1)


def node(name: str, *, cpu: int = 4, pods: int = 110, labels: Mapping[str, str] | None = None) -> NodeView:
    """`cpu` in whole cores."""
    return NodeView(name, {"cpu": cpu * 1000, "memory": 1 << 40, "pods": pods}, dict(labels or {}))


def shape(cpu: int = 1, **fields: Any) -> Shape:
    return Shape(NAMESPACE, {"cpu": cpu * 1000, "pods": 1}, **fields)


def pods_of(kind: Shape, count: int, name: str = "p", **fields: Any) -> tuple[PodView, ...]:
    """Pods without a node. Their own claims are named after them: `add_claims` makes these known."""
    made = []
    for i in range(count):
        uid = f"uid-{next(_uids)}"
        own = tuple(f"{name}-{i}-{uid}-c{k}" for k in range(len(kind.own_claims)))
        shared = tuple(key[1] for key in kind.shared_claims)
        made.append(PodView(NAMESPACE, f"{name}-{i}", uid, kind, own_claims=own, claims=(*own, *shared), **fields))
    return tuple(made)


def bound_to(name: str, pods: Sequence[PodView]) -> tuple[PodView, ...]:
    return tuple(replace(pod, node=name) for pod in pods)


def gang(
    pods: Sequence[PodView] = (), *, groups: Sequence[Group] = (), minimum: int | None = None, **fields: Any
) -> Gang:
    """A gang whose root has these pods; all of them must be placed unless `minimum` says otherwise."""
    topology = {name: fields.pop(name) for name in list(fields) if name in Topology.__slots__}
    root = group("gang", pods, groups=groups, minimum=minimum, topology=Topology(**topology), **fields)
    return Gang(NAMESPACE, "gang", root, kind="PodGroup")


def group(
    name: str, pods: Sequence[PodView] = (), *, groups: Sequence[Group] = (), minimum: int | None = None, **fields: Any
) -> Group:
    every = len(pods) + sum(each.minimum for each in groups) + len(fields.get("bound", ()))
    return Group(name, tuple(pods), tuple(groups), every if minimum is None else minimum, **fields)


def outlook_of(nodes: Sequence[NodeView], mode: Any = "best") -> Outlook:
    fleet = Fleet(DeviceBook(mode=mode))
    for each in nodes:
        fleet.set_node(each)
    fleet.devices.set_class(msgspec.convert({"metadata": {"name": "any"}}, DeviceClass))
    return Outlook(fleet)


def add_devices(outlook: Outlook, node_name: str, devices: Sequence[Mapping[str, Any]], **spec: Any) -> None:
    """A slice of the node. A device is a mapping of plain attributes, with `name`."""
    body = {
        "metadata": {"name": f"slice-{node_name}"},
        "spec": {
            "driver": DRIVER,
            **({} if "allNodes" in spec else {"nodeName": node_name}),
            "pool": {"name": node_name, "generation": 1, "resourceSliceCount": 1},
            "devices": [
                {"name": d["name"], "attributes": {k: _attribute(v) for k, v in d.items() if k != "name"}}
                for d in devices
            ],
            **spec,
        },
    }
    outlook.fleet.devices.set_slice(msgspec.convert(body, ResourceSlice))


def _attribute(value: Any) -> dict[str, Any]:
    return {"int" if isinstance(value, int) else "string": value}


def claim_for(*requests: Mapping[str, Any], name: str = "claim", uid: str = "", **devices: Any) -> ResourceClaim:
    body = {
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid or f"claim-{name}"},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }
    return msgspec.convert(body, ResourceClaim)


def exactly(name: str = "r", count: int = 1, selector: str = "") -> dict[str, Any]:
    wanted: dict[str, Any] = {"deviceClassName": "any", "allocationMode": "ExactCount", "count": count}
    if selector:
        wanted["selectors"] = [{"cel": {"expression": selector}}]
    return {"name": name, "exactly": wanted}


def first_of(*alternatives: tuple[str, int, str], name: str = "r") -> dict[str, Any]:
    """Alternatives as name, count and selector."""
    wanted = []
    for each, count, selector in alternatives:
        one: dict[str, Any] = {
            "name": each, "deviceClassName": "any", "allocationMode": "ExactCount", "count": count,
        }  # fmt: skip
        if selector:
            one["selectors"] = [{"cel": {"expression": selector}}]
        wanted.append(one)
    return {"name": name, "firstAvailable": wanted}


def is_model(model: str) -> str:
    return f'device.attributes["{DRIVER}"].model == "{model}"'


def add_claims(outlook: Outlook, pods: Sequence[PodView]) -> None:
    """Makes the pods' own claims known to the fleet."""
    for pod in pods:
        for name, claim in zip(pod.own_claims, pod.shape.own_claims, strict=True):
            meta = msgspec.structs.replace(claim.metadata, name=name, uid=f"claim-{name}", namespace=NAMESPACE)
            outlook.fleet.set_claim(msgspec.structs.replace(claim, metadata=meta))


def dump(outlook: Outlook) -> dict[str, Any]:
    """All that a search could leave behind."""
    fleet = outlook.fleet
    return {
        "used": [{k: v for k, v in used.items() if v} for used in fleet.used],
        "ports": [+ports for ports in fleet.host_ports],
        "pods": {uid: (standing.row, standing.taken) for uid, standing in fleet.pods.items()},
        "on": [sorted(on) for on in fleet.on],
        "claims": {key: state.allocation for key, state in fleet.claims.items()},
        "held": {key: fleet.devices.allocation_of(state.uid) for key, state in fleet.claims.items()},
        "users": {key: sorted(users) for key, users in fleet.users.items()},
    }
