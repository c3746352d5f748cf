"""What pods want of devices: one object for all claims of equal specs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from msgspec.structs import replace

from fairlead.kube.objects.devices import ResourceClaim
from fairlead.kube.objects.meta import ObjectMeta
from fairlead.scheduling.allocator import Plan
from fairlead.scheduling.fleet.device_offers import Refusal
from fairlead.scheduling.fleet.device_profiles import Patience, Profile
from fairlead.scheduling.fleet.device_seats import Seat

POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
"""Annotation of a claim that was made from a template: what the pod calls it."""


class Wants:
    """Claims that are to get devices together, on one node. Compared by identity; what is remembered about nodes for
    them hangs on it, and goes with it."""

    __slots__ = ("__weakref__", "at", "claims", "patience", "plan", "profiles", "refusal")

    def __init__(self, claims: Sequence[ResourceClaim]) -> None:
        self.claims = tuple(claims)
        """Stand-ins: specs are those of the claims, names those by which messages speak of them."""
        self.plan: Plan
        self.refusal: Refusal | None = None
        """What is wrong with the claims or their classes, on whatever node; None for nothing."""
        self.patience: Patience
        """With searches that are cut off. For the book."""
        self.at: dict[str, tuple[Seat, Profile]] = {}
        """By node: what was seen there, and whom it is like. For the book."""
        self.profiles: dict[Hashable, Profile] = {}
        """By likeness. For the book."""

    def renew(self, plan: Plan, refusal: Refusal | None, patience: Patience) -> None:
        """Classes are different: what is remembered is void."""
        self.plan, self.refusal, self.patience = plan, refusal, patience
        self.at.clear()
        self.profiles.clear()

    def class_names(self) -> frozenset[str]:
        """The device classes that it names, known or not."""
        names: set[str] = set()
        for claim in self.claims:
            for request in claim.spec.devices.requests if claim.spec.devices is not None else ():
                if request.exactly is not None:
                    names.add(request.exactly.device_class_name)
                names.update(each.device_class_name for each in request.first_available)
        return frozenset(names)

    def __repr__(self) -> str:
        return f"Wants({', '.join(claim.metadata.name for claim in self.claims)})"


def stand_in(claim: ResourceClaim, place: int) -> ResourceClaim:
    """The claim under a name that fits all pods of a template: the pod's name for it, or else its place."""
    name = claim.metadata.annotations.get(POD_CLAIM) or f"#{place + 1}"
    return replace(claim, metadata=ObjectMeta(name=name), status=type(claim.status)())
