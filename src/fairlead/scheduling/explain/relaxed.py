"""Gangs and pods with a little less demanded: the same gang, one constraint weaker. Values in, values out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from msgspec.structs import replace as with_fields

from fairlead.kube.objects.devices import DeviceRequest, DeviceToleration, ExactDeviceRequest, ResourceClaim
from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.snapshot import PodView, Shape, Toleration


def with_groups(gang: Gang, change: Callable[[Group], Group]) -> Gang:
    """The gang with every group changed, the innermost first."""

    def apply(group: Group) -> Group:
        return change(replace(group, groups=tuple(map(apply, group.groups))))

    return replace(gang, root=apply(gang.root))


def with_shapes(gang: Gang, change: Callable[[Shape], Shape]) -> Gang:
    """The gang with the shape of every pending pod changed; pods that shared one do so afterwards."""
    known: dict[int, Shape] = {}

    def reshaped(pod: PodView) -> PodView:
        shape = known.get(id(pod.shape))
        if shape is None:
            shape = known[id(pod.shape)] = change(pod.shape)
        return pod if shape is pod.shape else replace(pod, shape=shape)

    return with_groups(gang, lambda group: replace(group, pods=tuple(map(reshaped, group.pods))))


def without_required(gang: Gang, level: str) -> Gang:
    """The level is a wish where it was required."""

    def relaxed(group: Group) -> Group:
        topology = group.topology
        if level not in topology.required:
            return group
        kept = tuple(each for each in topology.required if each != level)
        return replace(group, topology=replace(topology, required=kept, preferred=(level, *topology.preferred)))

    return with_groups(gang, relaxed)


def without_slices(gang: Gang) -> Gang:
    """Pods need not lie together in slices."""
    return with_groups(
        gang, lambda group: replace(group, topology=replace(group.topology, slice_size=0, slice_level=""))
    )


def of_any_size(gang: Gang) -> Gang:
    """As few as one pod will do; more are welcome. Claims shared by its pods stay shared."""

    def relaxed(group: Group) -> Group:
        least = min(1, len(group.pods) + len(group.bound))
        return replace(group, minimum=least if not group.groups else 0, minimum_groups=0 if group.groups else None)

    smaller = with_groups(gang, relaxed)
    return replace(smaller, root=replace(smaller.root, minimum=1))


def tolerating(shape: Shape, taints: Mapping[str, str]) -> Shape:
    """The shape tolerates these taints: key -> effect ("" for every effect)."""
    more = tuple(Toleration(key, "Exists", "", effect) for key, effect in taints.items())
    return replace(shape, tolerations=(*shape.tolerations, *more))


def without_selector(shape: Shape, key: str) -> Shape:
    return replace(shape, node_selector={name: value for name, value in shape.node_selector.items() if name != key})


def without_affinity(shape: Shape) -> Shape:
    """No required node affinity."""
    return replace(shape, affinity_terms=None)


def without_spread(shape: Shape) -> Shape:
    """Spread constraints are wishes."""
    return replace(shape, spread=tuple(replace(each, is_required=False) for each in shape.spread))


def without_neighbours(shape: Shape) -> Shape:
    """No required pod affinity or anti-affinity."""
    return replace(
        shape,
        near=tuple(term for term in shape.near if term.weight),
        far=tuple(term for term in shape.far if term.weight),
    )


def asking(shape: Shape, resource: str, amount: int) -> Shape:
    """The shape with another request."""
    return replace(shape, requests={**shape.requests, resource: amount})


def with_devices(shape: Shape, change: Callable[[ExactDeviceRequest], ExactDeviceRequest]) -> Shape:
    """The shape with every plain request of its own claims changed."""
    claims = tuple(_with_requests(claim, change) for claim in shape.own_claims)
    return replace(shape, own_claims=claims)


def fewer_devices(most: int) -> Callable[[ExactDeviceRequest], ExactDeviceRequest]:
    """At most so many devices of each request for a number of them."""

    def change(request: ExactDeviceRequest) -> ExactDeviceRequest:
        if request.allocation_mode == "All" or (request.count or 1) <= most:
            return request
        return with_fields(request, count=most)

    return change


def tolerating_devices(request: ExactDeviceRequest) -> ExactDeviceRequest:
    """Tainted devices will do."""
    return with_fields(request, tolerations=(*request.tolerations, DeviceToleration(operator="Exists")))


def without_constraints(shape: Shape) -> Shape:
    """Devices need not have attributes in common, or different ones."""
    claims = tuple(
        claim
        if claim.spec.devices is None
        else with_fields(claim, spec=with_fields(claim.spec, devices=with_fields(claim.spec.devices, constraints=())))
        for claim in shape.own_claims
    )
    return replace(shape, own_claims=claims)


def device_requests(shape: Shape) -> list[tuple[ResourceClaim, ExactDeviceRequest]]:
    """The plain requests for a number of devices in the claims made for such a pod alone."""
    return [
        (claim, request.exactly)
        for claim in shape.own_claims
        for request in (claim.spec.devices.requests if claim.spec.devices is not None else ())
        if request.exactly is not None and request.exactly.allocation_mode != "All"
    ]


def _with_requests(claim: ResourceClaim, change: Callable[[ExactDeviceRequest], ExactDeviceRequest]) -> ResourceClaim:
    devices = claim.spec.devices
    if devices is None:
        return claim

    def changed(request: DeviceRequest) -> DeviceRequest:
        return request if request.exactly is None else with_fields(request, exactly=change(request.exactly))

    requests = tuple(map(changed, devices.requests))
    return with_fields(claim, spec=with_fields(claim.spec, devices=with_fields(devices, requests=requests)))
