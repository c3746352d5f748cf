"""The story of a claim: what it has or lacks, who uses it, who waits for it and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.kube.objects.devices import DeviceRequest, ResourceClaim
from fairlead.scheduling.allocator.devices import DeviceId
from fairlead.scheduling.explain.document import document
from fairlead.scheduling.explain.page import claim_text, page
from fairlead.scheduling.explain.standing import ClaimDevices, Place, place_of
from fairlead.scheduling.explain.story import Story
from fairlead.scheduling.explain.words import counted, listed
from fairlead.scheduling.fleet.fleet import ClaimKey, ClaimState, Fleet


@dataclass(frozen=True, slots=True)
class ClaimStory:
    """One claim."""

    claim: ResourceClaim
    is_allocated: bool
    is_written: bool
    """Whether the API shows what was decided."""
    place: Place | None
    """Its devices and what its node has left; None where it has none, or its node is not known."""
    devices: tuple[DeviceId, ...]
    users: tuple[str, ...]
    """Pods that stand on nodes and use it."""
    reserved: tuple[str, ...]
    """Whom the API has entered as users."""
    waiting: tuple[Story, ...]
    """Gangs that use it and have pods without a node."""

    @property
    def full_name(self) -> str:
        return f"{self.claim.metadata.namespace}/{self.claim.metadata.name}"


def claim_story(fleet: Fleet, key: ClaimKey, waiting: Sequence[Story]) -> ClaimStory:
    """Raises KeyError for a claim that is not known."""
    state = fleet.claims[key]
    users = [fleet.pods[uid] for uid in sorted(fleet.users.get(key, ())) if uid in fleet.pods]
    place = None
    if state.allocation is not None and users:
        node = fleet.nodes[users[0].row]
        if node is not None:
            place = place_of(fleet, users[0].pod, node.name, {key[1]: state.allocation})
    reserved = tuple(f"{user.resource} {user.name}" for user in state.claim.status.reserved_for)
    return ClaimStory(
        state.claim,
        state.allocation is not None,
        state.is_written,
        place,
        _devices(state),
        tuple(each.pod.full_name for each in users),
        reserved,
        tuple(waiting),
    )


def claim_page(story: ClaimStory) -> str:
    """As text."""
    state = "has its devices" if story.is_allocated else "has no devices"
    lines = [f"claim {story.full_name}: {state}", f"  asks for {_asked(story.claim)}"]
    if story.is_allocated:
        given = story.place.claims[0] if story.place is not None else ClaimDevices("", story.devices)
        lines.append(f"  devices: {claim_text(given, story.place.node if story.place is not None else '')}")
        if not story.is_written:
            lines.append("  decided, but not written yet")
    if story.place is not None:
        left = ", ".join(f"{count or 'no'} more {name}" for name, count in story.place.left.items())
        lines.append(f"  on {story.place.node}{f', which has {left} to give' if left else ''}")
    if story.users:
        lines.append(f"  used by {listed([f'pod {name}' for name in story.users], 8)}")
    elif story.reserved:
        lines.append(f"  reserved for {listed(list(story.reserved), 8)}")
    elif story.is_allocated:
        lines.append("  used by nobody: it keeps its devices until a pod uses it and ends, or it is deleted")
    if not story.waiting and not story.users and not story.is_allocated:
        lines.append("  no pod waits for it: a claim gets devices with the first pod that uses it")
    for each in story.waiting:
        lines += ["", *(f"  {line}".rstrip() for line in page(each).splitlines())]
    return "\n".join(lines)


def claim_document(story: ClaimStory) -> dict[str, Any]:
    """As JSON."""
    place = story.place
    return {
        "claim": {"namespace": story.claim.metadata.namespace, "name": story.claim.metadata.name},
        "allocated": story.is_allocated,
        "written": story.is_written,
        "devices": [str(each) for each in story.devices],
        "nearness": place.claims[0].nearness if place is not None else "",
        "linkScore": place.claims[0].link_score if place is not None else None,
        "node": place.node if place is not None else "",
        "left": dict(place.left) if place is not None else {},
        "users": list(story.users),
        "reservedFor": list(story.reserved),
        "waiting": [document(each) for each in story.waiting],
    }


def _devices(state: ClaimState) -> tuple[DeviceId, ...]:
    allocation = state.allocation
    results = allocation.devices.results if allocation is not None and allocation.devices is not None else ()
    return tuple(DeviceId(each.driver, each.pool, each.device) for each in results)


def _asked(claim: ResourceClaim) -> str:
    devices = claim.spec.devices
    if devices is None or not devices.requests:
        return "nothing"
    texts = [_request(each) for each in devices.requests]
    for constraint in devices.constraints:
        attribute = constraint.match_attribute or constraint.distinct_attribute
        word = "the same" if constraint.match_attribute else "different"
        texts.append(f"{word} {attribute}")
    return ", ".join(texts)


def _request(request: DeviceRequest) -> str:
    if request.exactly is not None:
        exactly = request.exactly
        if exactly.allocation_mode == "All":
            return f"all {exactly.device_class_name}"
        return f"{exactly.count or 1} {exactly.device_class_name}"
    choices = [f"{each.count or 1} {each.device_class_name}" for each in request.first_available]
    return f"the first that can be had of {', '.join(choices)}" if choices else counted(0, "device")
