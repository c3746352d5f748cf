"""Shared counters: what the partitions of one piece of hardware may use together.

A counter belongs to a counter set of one pool of one driver; two drivers whose pools share a name share nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.kube.objects.devices import CounterSet, Device
from fairlead.kube.quantity import Quantity, parse_quantity

_NANO = 10**9
_BEYOND = 10**40
"""Amounts are cut here: a short text can denote a number that would fill the memory."""

CounterSlots = Mapping[tuple[str, str], int]
"""The place of each counter of a pool, by counter set and counter name."""


@dataclass(frozen=True, slots=True)
class CounterTable:
    """The counters of one pool: their places and how much there is of each, in billionths."""

    slots: CounterSlots
    amounts: tuple[int, ...]

    def consumed_by(self, device: Device) -> tuple[tuple[int, int], ...]:
        """Place and amount of every counter that a device takes. Counters that do not exist are left out."""
        taken: dict[int, int] = {}
        for consumption in device.consumes_counters:
            for name, counter in consumption.counters.items():
                slot = self.slots.get((consumption.counter_set, name))
                if slot is not None:
                    taken[slot] = taken.get(slot, 0) + nanos(parse_quantity(counter.value or "0"))
        return tuple(sorted(taken.items()))


NO_COUNTERS = CounterTable({}, ())


def build_counter_table(counter_sets: Iterable[CounterSet]) -> CounterTable:
    slots: dict[tuple[str, str], int] = {}
    amounts: list[int] = []
    for counter_set in counter_sets:
        for name in sorted(counter_set.counters):
            slots[counter_set.name, name] = len(amounts)
            amounts.append(nanos(parse_quantity(counter_set.counters[name].value or "0")))
    return CounterTable(slots, tuple(amounts))


def repeated_set(counter_sets: Sequence[CounterSet]) -> str:
    """The sentence about a counter set that is defined twice, "" if none is."""
    seen: set[str] = set()
    for counter_set in counter_sets:
        if counter_set.name in seen:
            return f"duplicate counter set name {counter_set.name}"
        seen.add(counter_set.name)
    return ""


def dangling_reference(counter_sets: Sequence[CounterSet], devices: Iterable[Device]) -> str:
    """The sentence about the first counter or set that a device consumes and nobody defines, "" if there is none."""
    defined = {counter_set.name: counter_set.counters for counter_set in counter_sets}
    for device in devices:
        for consumption in device.consumes_counters:
            counters = defined.get(consumption.counter_set)
            if counters is None:
                return f"counter set {consumption.counter_set} not found"
            for name in sorted(consumption.counters):
                if name not in counters:
                    return f"counter {name} not found in counter set {consumption.counter_set}"
    return ""


def nanos(quantity: Quantity) -> int:
    """A quantity in billionths, which is the finest that quantities are."""
    if abs(quantity.amount) >= _BEYOND:
        return _BEYOND * _NANO * (1 if quantity.amount > 0 else -1)
    numerator, denominator = quantity.amount.as_integer_ratio()
    return numerator * _NANO // denominator
