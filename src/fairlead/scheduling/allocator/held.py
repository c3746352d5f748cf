"""What is held of one node's devices, by place: a small value that is equal on nodes that are alike and equally used.

Answers that depend on a node only through what its devices are like and this value can be remembered for all such nodes
together.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from fairlead.kube.quantity import Quantity
from fairlead.scheduling.allocator.capacity import Amounts, consumed_by
from fairlead.scheduling.allocator.counters import nanos
from fairlead.scheduling.allocator.devices import DeviceId, PoolId, PreparedDevice
from fairlead.scheduling.allocator.in_use import InUse
from fairlead.scheduling.allocator.pools import NodePools
from fairlead.scheduling.allocator.requests import Alternative, Plan

_SOME_SHARE: Final = frozenset(["held"])


class Held(NamedTuple):
    """What earlier allocations hold of the devices of one `NodePools`. Amounts are in billionths."""

    mask: int = 0
    """A bit for each candidate that is held whole."""
    shares: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """Candidates held in shares, ascending: what is taken of each capacity, in the order of the device's."""
    others: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """Pools of whose counters something is taken by devices that are not among the candidates: the pool's place, and
    how much of each counter."""


NOTHING_HELD: Final = Held()


class Given(NamedTuple):
    """One device given to one request of a plan."""

    claim: int
    request: int
    alternative: int
    """Its place among the request's alternatives."""
    position: int
    """The device's place among the node's candidates."""


def in_use_of(view: NodePools, held: Held) -> InUse:
    """The same as a search by names reads it."""
    candidates = view.candidates
    capacity: dict[DeviceId, Amounts] = {}
    for position, amounts in held.shares:
        device = candidates[position].device
        capacity[device.id] = {
            each.name: Quantity(Decimal(amount).scaleb(-9))
            for each, amount in zip(device.capacities, amounts, strict=True)
        }
    gone: dict[PoolId, dict[tuple[str, str], int]] = {}
    for place, taken in held.others:
        pool = view.pools[place]
        gone[pool.id] = {counter: taken[slot] for counter, slot in pool.counters.slots.items()}
    return InUse(
        frozenset(candidates[position].device.id for position in bits(held.mask)),
        dict.fromkeys(capacity, _SOME_SHARE),
        capacity,
        gone,
    )


def hold_more(plan: Plan, view: NodePools, held: Held, given: Iterable[Given]) -> Held:
    """What is held once `given` is, too."""
    mask, shares = held.mask, dict(held.shares)
    for claim, request, choice, position in given:
        alternative = plan.claims[claim].requests[request].alternatives[choice]
        if alternative.admin_access:
            continue
        device = view.candidates[position].device
        if not (device.is_shared and plan.features.consumable_capacity):
            mask |= 1 << position
            continue
        more = share_of(device, alternative)
        before = shares.get(position)
        shares[position] = more if before is None else tuple(map(sum, zip(before, more, strict=True)))
    return Held(mask, tuple(sorted(shares.items())), held.others)


def share_of(device: PreparedDevice, alternative: Alternative) -> tuple[int, ...]:
    """What a share takes of each of the device's capacities, in billionths."""
    taken = consumed_by(device.capacities, alternative.capacity)
    return tuple(nanos(taken[each.name]) for each in device.capacities)


def bits(mask: int) -> Iterable[int]:
    """The places of the ones, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
