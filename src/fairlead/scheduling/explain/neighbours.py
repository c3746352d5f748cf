"""Who holds what a gang lacks: in a domain, the gangs whose pods have devices of the classes that it wants, or most of
the resource that is short."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.kube.objects.devices import DeviceRequest, ResourceClaim
from fairlead.scheduling.fleet.fleet import ClaimKey, Fleet, Standing
from fairlead.scheduling.gangs.model import Gang

GangOf = Callable[[str], Gang | None]
"""The gang of a pod, by its uid."""
Spared = Callable[[Gang], str]
"""Why a gang may not be made to leave for the one in question, in words; "" where it may."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A gang that holds some of what is short."""

    gang: str
    """Namespace and name."""
    queue: str = ""
    amounts: Mapping[str, int] = field(default_factory=dict)
    """Device class, or resource -> how much in the domain."""
    priority: int = 0
    pods: tuple[str, ...] = ()
    """Uids of all its pods that stand on nodes."""
    spared: str = ""
    """Why it cannot be made to leave ("not reclaimable: …"); "" where it can, or nobody asked."""

    @property
    def total(self) -> int:
        return sum(self.amounts.values())

    def __str__(self) -> str:
        return f"{self.gang} (queue {self.queue})" if self.queue else self.gang


def wanted_classes(fleet: Fleet, gang: Gang) -> dict[str, int]:
    """Device class -> devices that its pending pods want in all; of alternatives the first, `All` counts for one."""
    wanted: dict[str, int] = {}
    shared: dict[ClaimKey, ResourceClaim] = {}
    for pod in gang.pods:
        for claim in pod.shape.own_claims:
            _count_classes(wanted, claim)
        for key in pod.shape.shared_claims:
            if fleet.is_lacking(key):
                shared[key] = fleet.claims[key].claim
    for claim in shared.values():
        _count_classes(wanted, claim)
    return wanted


def holders(
    fleet: Fleet, rows: Iterable[int], wanted: Iterable[str], gang_of: GangOf, spared: Spared = lambda _: ""
) -> tuple[Holder, ...]:
    """Who holds devices of these classes, or amounts of these resources, on these rows; who holds most comes first,
    those who can be made to leave before those who cannot."""
    wanted = frozenset(wanted)
    found: dict[str, dict[str, int]] = {}
    gangs: dict[str, Gang] = {}
    seen: set[ClaimKey] = set()
    for row in rows:
        for standing in fleet.on[row].values():
            held = _held(fleet, standing, wanted, seen)
            if not held:
                continue
            gang = gang_of(standing.pod.uid)
            key = gang.key if gang is not None else standing.pod.full_name
            if gang is not None:
                gangs[key] = gang
            amounts = found.setdefault(key, {})
            for name, value in held.items():
                amounts[name] = amounts.get(name, 0) + value
    made = [_holder(fleet, key, amounts, gangs.get(key), spared) for key, amounts in found.items()]
    return tuple(sorted(made, key=lambda each: (bool(each.spared), each.priority, -each.total, each.gang)))


def _holder(fleet: Fleet, key: str, amounts: Mapping[str, int], gang: Gang | None, spared: Spared) -> Holder:
    if gang is None:
        namespace, _, name = key.partition("/")
        uids = tuple(uid for uid, each in fleet.pods.items() if each.pod.key == (namespace, name))
        return Holder(key, amounts=amounts, pods=uids)
    return Holder(key, gang.queue, amounts, gang.priority, tuple(pod.uid for pod in gang.bound), spared(gang))


def _held(fleet: Fleet, standing: Standing, wanted: frozenset[str], seen: set[ClaimKey]) -> dict[str, int]:
    pod = standing.pod
    held = {name: value for name, value in pod.shape.requests.items() if name in wanted and value}
    for name in pod.claims:
        key = (pod.namespace, name)
        if key in seen:
            continue
        seen.add(key)
        for device_class, count in devices_held(fleet, key).items():
            if device_class in wanted:
                held[device_class] = held.get(device_class, 0) + count
    return held


def devices_held(fleet: Fleet, key: ClaimKey) -> dict[str, int]:
    """Device class -> devices that a claim has."""
    state = fleet.claims.get(key)
    if state is None or state.allocation is None or state.allocation.devices is None:
        return {}
    classes = classes_of(state.claim)
    held: dict[str, int] = {}
    for result in state.allocation.devices.results:
        device_class = classes.get(result.request, "")
        if device_class and not result.admin_access:
            held[device_class] = held.get(device_class, 0) + 1
    return held


def classes_of(claim: ResourceClaim) -> dict[str, str]:
    """Request, or "request/alternative" -> its class."""
    found: dict[str, str] = {}
    for request in claim.spec.devices.requests if claim.spec.devices is not None else ():
        if request.exactly is not None:
            found[request.name] = request.exactly.device_class_name
        for alternative in request.first_available:
            found[f"{request.name}/{alternative.name}"] = alternative.device_class_name
    return found


def _count_classes(into: dict[str, int], claim: ResourceClaim) -> None:
    for request in claim.spec.devices.requests if claim.spec.devices is not None else ():
        name, count = _first(request)
        if name:
            into[name] = into.get(name, 0) + count


def _first(request: DeviceRequest) -> tuple[str, int]:
    asked = request.exactly or (request.first_available[0] if request.first_available else None)
    if asked is None:
        return "", 0
    return asked.device_class_name, 1 if asked.allocation_mode == "All" else asked.count or 1


def in_domain(fleet: Fleet, level: str, value: str) -> list[int]:
    """The rows of a domain."""
    return [row for row, node in enumerate(fleet.nodes) if node is not None and node.value(level) == value]
