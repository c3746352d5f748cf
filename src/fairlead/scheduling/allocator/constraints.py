"""Constraints over the devices of a claim: matchAttribute and distinctAttribute.

A constraint's state is an immutable value: `add` answers with the next state or None, so that a search can keep,
compare and print states. Two behaviours are offered. `exact` is what the API promises: going back restores the former
state, and distinctAttribute remembers every device. Otherwise upstream's answers are reproduced, where going back only
counts down: an intersection that was narrowed stays narrow, and of each request only the last value is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from fairlead.kube.objects.devices import DeviceAttribute, DeviceConstraint

AttributeValue = tuple[str, frozenset[int] | frozenset[bool] | frozenset[str]]
"""The type of an attribute and its values: one for a scalar, several for a list."""

UNKNOWN: Final[AttributeValue] = ("", frozenset())
"""The value of an attribute whose type this version does not know."""


@dataclass(frozen=True, slots=True)
class MatchState:
    """How many devices are under the constraint, and the values they still share."""

    devices: int = 0
    shared: AttributeValue = UNKNOWN


@dataclass(frozen=True, slots=True)
class DistinctState:
    """How many devices are under the constraint, and the values taken, each with the request that took it."""

    devices: int = 0
    taken: tuple[tuple[str, AttributeValue], ...] = ()


State = MatchState | DistinctState


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint of a claim, ready to be held against devices."""

    kind: Literal["matchAttribute", "distinctAttribute"]
    attribute: str
    """Fully qualified, `domain/name`."""
    requests: frozenset[str]
    """The requests ("name" or "name/sub") it is about; empty for all."""
    lists: bool
    """Whether list attributes count; without, only scalars do."""
    exact: bool

    def initial(self) -> State:
        return MatchState() if self.kind == "matchAttribute" else DistinctState()

    def concerns(self, request: str, subrequest: str) -> bool:
        """Whether it applies to a device of this request."""
        if not self.requests or request in self.requests:
            return True
        return bool(subrequest) and f"{request}/{subrequest}" in self.requests

    def add(self, state: State, request: str, value: AttributeValue | None) -> State | None:
        """The state with one more device of `request`, whose attribute is `value`; None where that breaks it."""
        if value is None:
            return None
        if isinstance(state, MatchState):
            return self._match(state, value)
        return self._distinguish(state, request, value)

    def remove(self, state: State, request: str) -> State:
        """The state after a device of `request` was taken back, the way upstream does it (see the module's text)."""
        if state.devices <= 1:
            return self.initial()
        if isinstance(state, MatchState):
            return MatchState(state.devices - 1, state.shared)
        return DistinctState(state.devices - 1, tuple(entry for entry in state.taken if entry[0] != request))

    def _match(self, state: MatchState, value: AttributeValue) -> MatchState | None:
        if state.devices == 0:
            # Without lists an unknown type is only noticed when there is something to compare it with.
            return None if value == UNKNOWN and self.lists else MatchState(1, value)
        common = _intersect(state.shared, value)
        return None if common == UNKNOWN else MatchState(state.devices + 1, common)

    def _distinguish(self, state: DistinctState, request: str, value: AttributeValue) -> DistinctState | None:
        if state.devices:
            if value == UNKNOWN and (self.lists or state.taken):
                return None
            if any(_intersect(value, taken) != UNKNOWN for _, taken in state.taken):
                return None
        kept = state.taken if self.exact else tuple(entry for entry in state.taken if entry[0] != request)
        return DistinctState(state.devices + 1, tuple(sorted((*kept, (request, value)), key=_by_request)))


def read_constraint(constraint: DeviceConstraint, *, lists: bool, exact: bool) -> Constraint | None:
    """The constraint that an API object describes; None for a kind this version does not know."""
    requests = frozenset(constraint.requests)
    if constraint.match_attribute:
        return Constraint("matchAttribute", constraint.match_attribute, requests, lists, exact)
    if constraint.distinct_attribute:
        return Constraint("distinctAttribute", constraint.distinct_attribute, requests, lists, exact)
    return None


def attribute_value(
    attributes: Mapping[str, DeviceAttribute], driver: str, name: str, *, lists: bool
) -> AttributeValue | None:
    """The value of a fully qualified attribute, which a driver may also publish under its bare name. None if absent.

    Without `lists`, a list is of a type that is not known.
    """
    attribute = attributes.get(name)
    if attribute is None:
        domain, slash, bare = name.partition("/")
        if not slash or domain != driver:
            return None
        attribute = attributes.get(bare)
    if attribute is None:
        return None
    listed = _list_value(attribute) if lists else None
    return _scalar_value(attribute) if listed is None else listed


def _list_value(attribute: DeviceAttribute) -> AttributeValue | None:
    lists: tuple[tuple[str, Sequence[int] | Sequence[bool] | Sequence[str]], ...] = (
        ("int", attribute.ints),
        ("bool", attribute.bools),
        ("string", attribute.strings),
        ("version", attribute.versions),
    )
    for kind, values in lists:
        if values:
            return _interned(kind, frozenset(values))
    return None


def _scalar_value(attribute: DeviceAttribute) -> AttributeValue:
    if attribute.int_ is not None:
        return _interned("int", frozenset([attribute.int_]))
    if attribute.bool_ is not None:
        return _interned("bool", frozenset([attribute.bool_]))
    if attribute.string is not None:
        return _interned("string", frozenset([attribute.string]))
    if attribute.version is not None:
        return _interned("version", frozenset([attribute.version]))
    return UNKNOWN


@lru_cache(maxsize=65536, typed=True)
def _interned(kind: str, values: frozenset[int] | frozenset[bool] | frozenset[str]) -> AttributeValue:
    """One object for equal values, so that thousands of devices share theirs and comparison is mostly identity."""
    return kind, values


def _intersect(one: AttributeValue, other: AttributeValue) -> AttributeValue:
    if one is other:
        return one
    if one[0] != other[0]:
        return UNKNOWN
    common = one[1] & other[1]
    return (one[0], common) if common else UNKNOWN


def _by_request(entry: tuple[str, AttributeValue]) -> str:
    return entry[0]
