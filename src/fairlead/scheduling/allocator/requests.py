"""Claims and their classes as a plan for the search: validated, with selectors, limits and constraints resolved.

A plan does not depend on a node: it is made once for a pod and used on every node. An error in a claim is kept where
upstream's scheduler would meet it, because an error about a pool may come before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.kube.objects.devices import (
    CapacityRequirements,
    DeviceClass,
    DeviceRequest,
    DeviceSelector,
    DeviceSubRequest,
    DeviceToleration,
    ExactDeviceRequest,
    ResourceClaim,
)
from fairlead.kube.quantity import Quantity, parse_quantity
from fairlead.scheduling.allocator import selectors
from fairlead.scheduling.allocator.capacity import Amounts
from fairlead.scheduling.allocator.choice import Choice, SelectorUse
from fairlead.scheduling.allocator.constraints import Constraint, read_constraint
from fairlead.scheduling.allocator.errors import AllocationError, Fault
from fairlead.scheduling.allocator.features import Features

MAX_RESULTS: Final = 32
"""Most devices that one claim's allocation can hold."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to serve a request: the request itself, or one of its `firstAvailable` subrequests."""

    claim: str
    request: str
    """The name of the request."""
    subrequest: str
    """The name of the subrequest, "" for the request itself."""
    device_class: DeviceClass
    choice: Choice
    takes_all: bool
    count: int
    """How many devices it needs; 0 where it takes all."""
    admin_access: bool
    tolerations: tuple[DeviceToleration, ...]
    capacity: Amounts

    @property
    def name(self) -> str:
        """As allocation results name it."""
        return f"{self.request}/{self.subrequest}" if self.subrequest else self.request

    @property
    def own_name(self) -> str:
        return self.subrequest or self.request


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request with its alternatives in order of preference."""

    name: str
    alternatives: tuple[Alternative, ...]
    is_prioritized: bool


@dataclass(frozen=True, slots=True)
class PlannedClaim:
    """One claim to allocate."""

    key: str
    """`namespace/name`, as messages name it."""
    claim: ResourceClaim
    requests: tuple[PlannedRequest, ...]
    """All requests, or those before the first that is in error."""
    constraints: tuple[Constraint, ...]
    request_error: AllocationError | None = None
    constraint_error: AllocationError | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The claims of one attempt, in order. A claim in error is the last one."""

    claims: tuple[PlannedClaim, ...]
    features: Features
    exact: bool
    """Whether constraints mean what the API promises, or what upstream makes of them."""


def plan_claims(
    claims: Sequence[ResourceClaim],
    classes: Mapping[str, DeviceClass],
    features: Features,
    *,
    exact: bool = False,
) -> Plan:
    """Validates the claims; `classes` are the device classes by name."""
    planned: list[PlannedClaim] = []
    for claim in claims:
        planned.append(_ClaimReader(claim, classes, features, exact).read())
        if planned[-1].request_error or planned[-1].constraint_error:
            break
    return Plan(tuple(planned), features, exact)


def find_error(plan: Plan) -> AllocationError | None:
    """What is wrong with the plan on whatever node: a claim in error, or a selector that does not compile."""
    for claim in plan.claims:
        for request in claim.requests:
            for alternative in request.alternatives:
                error = alternative.choice.find_error()
                if error is not None:
                    return error
        if claim.request_error or claim.constraint_error:
            return claim.request_error or claim.constraint_error
    return None


def claim_key(claim: ResourceClaim) -> str:
    metadata = claim.metadata
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


class _ClaimReader:
    """Turns one claim into a plan."""

    def __init__(
        self,
        claim: ResourceClaim,
        classes: Mapping[str, DeviceClass],
        features: Features,
        exact: bool,
    ) -> None:
        self._claim = claim
        self._key = claim_key(claim)
        self._classes = classes
        self._features = features
        self._selecting = selectors.Features(
            consumable_capacity=features.consumable_capacity, list_attributes=features.list_attributes
        )
        self._exact = exact

    def read(self) -> PlannedClaim:
        devices = self._claim.spec.devices
        requests: list[PlannedRequest] = []
        request_error: AllocationError | None = None
        constraints: list[Constraint] = []
        constraint_error: AllocationError | None = None
        for request in devices.requests if devices is not None else ():
            alternatives: list[Alternative] = []
            try:
                self._read_request(request, alternatives.append)
            except AllocationError as error:
                request_error = error
            requests.append(PlannedRequest(request.name, tuple(alternatives), bool(request.first_available)))
            if request_error is not None:
                break
        for i, described in enumerate(devices.constraints if devices is not None else ()):
            constraint = read_constraint(described, lists=self._features.list_attributes, exact=self._exact)
            if constraint is None:
                constraint_error = AllocationError(
                    Fault.CLAIM, f"claim {self._key}, constraint #{i}: empty constraint (unsupported constraint type?)"
                )
                break
            constraints.append(constraint)
        return PlannedClaim(
            self._key, self._claim, tuple(requests), tuple(constraints), request_error, constraint_error
        )

    def _read_request(self, request: DeviceRequest, add: Callable[[Alternative], None]) -> None:
        features = self._features
        if request.first_available and not features.prioritized_list:
            raise self._error(request.name, "has subrequests, but the DRAPrioritizedList feature is disabled")
        if not features.consumable_capacity:
            problem = "has capacity requests, but the DRAConsumableCapacity feature is disabled"
            if request.exactly is not None and request.exactly.capacity is not None:
                raise self._error(request.name, problem)
            for subrequest in request.first_available:
                if subrequest.capacity is not None:
                    raise AllocationError(Fault.CLAIM, f"claim {self._key}, subrequest {subrequest.name}: {problem}")
        if not request.first_available:
            add(self._read_alternative(request.exactly or ExactDeviceRequest(), request.name, ""))
        for subrequest in request.first_available:
            add(self._read_alternative(subrequest, request.name, subrequest.name))

    def _read_alternative(
        self, wanted: ExactDeviceRequest | DeviceSubRequest, request: str, subrequest: str
    ) -> Alternative:
        name = subrequest or request
        for i, selector in enumerate(wanted.selectors):
            if selector.cel is None:
                raise self._error(name, f"selector #{i}: CEL expression empty (unsupported selector type?)", sep=", ")
        admin_access = wanted.admin_access if isinstance(wanted, ExactDeviceRequest) else None
        if admin_access is not None and not self._features.admin_access:
            raise self._error(name, "admin access is requested, but the feature is disabled")
        if not wanted.device_class_name:
            raise self._error(name, "missing device class name (unsupported request type?)")
        device_class = self._classes.get(wanted.device_class_name)
        if device_class is None:
            raise AllocationError(
                Fault.CLASS,
                f"claim {self._key}, request {name}: could not retrieve device class {wanted.device_class_name}: "
                "it does not exist",
            )
        if wanted.allocation_mode not in ("ExactCount", "All"):
            raise self._error(name, f"unsupported count mode {wanted.allocation_mode}")
        takes_all = wanted.allocation_mode == "All"
        return Alternative(
            self._key,
            request,
            subrequest,
            device_class,
            self._choice(device_class, wanted.selectors),
            takes_all,
            0 if takes_all else wanted.count or 0,
            bool(admin_access),
            tuple(wanted.tolerations),
            self._amounts(name, wanted.capacity),
        )

    def _choice(self, device_class: DeviceClass, selectors: Sequence[DeviceSelector]) -> Choice:
        of_class = f"class {device_class.metadata.name}"
        of_claim = f"claim {self._key}"
        uses = [
            SelectorUse(owner, i, selector.cel.expression)
            for owner, listed in ((of_class, device_class.spec.selectors), (of_claim, selectors))
            for i, selector in enumerate(listed)
            if selector.cel is not None
        ]
        return Choice(tuple(uses), self._selecting)

    def _amounts(self, name: str, capacity: CapacityRequirements | None) -> dict[str, Quantity]:
        try:
            requests = capacity.requests if capacity is not None else {}
            return {key: parse_quantity(text) for key, text in requests.items()}
        except ValueError as error:
            raise self._error(name, f"a requested capacity is no quantity: {error}") from error

    def _error(self, request: str, problem: str, sep: str = ": ") -> AllocationError:
        return AllocationError(Fault.CLAIM, f"claim {self._key}, request {request}{sep}{problem}")
