"""The best devices by trying everything: every assignment checked against the rules of the API, every cost worked out
from the formula in the text of `potential`, from scratch."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from scheduling.allocator.allocator_objects import DRIVER

Device = Mapping[str, Any]
Assignment = tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]
"""By request: devices; and which alternative."""

_SCORES = (("bus", 70), ("nvlinkDomain", 70), ("pcieSwitch", 30), ("pcieRoot", 25))
_WEIGHTS = (("bus", 4), ("pcieSwitch", 4), ("pcieRoot", 3), ("numaNode", 2), ("nvlinkDomain", 2))


class Exhaustive:
    """`counters`: counter set -> counter -> amount. `held` are devices in use as a whole."""

    def __init__(
        self, devices: Sequence[Device], counters: Mapping[str, Mapping[str, int]], held: frozenset[str]
    ) -> None:
        self._devices = devices
        self._counters = counters
        self._held = frozenset(i for i, device in enumerate(devices) if device["name"] in held)

    def best(self, claims: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int, int], Any] | None:
        """The least cost, and the assignment that comes first of those that have it; None where nothing fits."""
        found = [
            (self.cost(claims, assignment), self._order(assignment), assignment)
            for assignment in self._assignments(claims)
            if self._is_allowed(claims, assignment)
        ]
        if not found:
            return None
        cost, _, assignment = min(found, key=lambda each: each[:2])
        return cost, assignment

    def cost(self, claims: Sequence[Mapping[str, Any]], assignment: Assignment) -> tuple[int, int, int]:
        chosen, ways = assignment
        owners = [c for c, claim in enumerate(claims) for _ in claim["spec"]["devices"]["requests"]]
        link = 0
        for c in range(len(claims)):
            mine = [d for owner, ds in zip(owners, chosen, strict=True) if owner == c for d in ds]
            link += sum(self._distance(a, b) for a, b in itertools.combinations(mine, 2))
        shares: dict[int, int] = {}
        whole = set(self._held)
        for _, _, wanted, devices in self._given(claims, assignment):
            for d in devices:
                if self._is_shared(d):
                    shares[d] = shares.get(d, 0) + self._consumed(d, wanted)
                else:
                    whole.add(d)
        return sum(ways), link, self._worth(self._held, {}) - self._worth(whole, shares)

    @staticmethod
    def _order(assignment: Assignment) -> Any:
        chosen, ways = assignment
        return tuple(zip(ways, chosen, strict=True))

    def _assignments(self, claims: Sequence[Mapping[str, Any]]) -> Iterator[Assignment]:
        options = [
            [
                (devices, way)
                for way, wanted in enumerate(_ways(asked))
                for devices in itertools.combinations(range(len(self._devices)), wanted["count"])
            ]
            for claim in claims
            for asked in claim["spec"]["devices"]["requests"]
        ]
        for combination in itertools.product(*options):
            yield tuple(devices for devices, _ in combination), tuple(way for _, way in combination)

    def _given(
        self, claims: Sequence[Mapping[str, Any]], assignment: Assignment
    ) -> Iterator[tuple[int, str, Mapping[str, Any], tuple[int, ...]]]:
        requests = [(c, asked) for c, claim in enumerate(claims) for asked in claim["spec"]["devices"]["requests"]]
        for (c, asked), devices, way in zip(requests, *assignment, strict=True):
            yield c, asked["name"], _ways(asked)[way], devices

    def _is_allowed(self, claims: Sequence[Mapping[str, Any]], assignment: Assignment) -> bool:
        times: Counter[int] = Counter()
        shares: Counter[int] = Counter()
        for _, _, wanted, devices in self._given(claims, assignment):
            for d in devices:
                if d in self._held or (self._devices[d].get("taints") and not wanted.get("tolerations")):
                    return False
                times[d] += 1
                if "capacity" in wanted and not self._is_shared(d):
                    return False
                if self._is_shared(d):
                    shares[d] += self._consumed(d, wanted)
        if any(count > 1 and not self._is_shared(d) for d, count in times.items()):
            return False
        if any(amount > 4 for amount in shares.values()):
            return False
        left = self._left({*times, *self._held})
        # What others have overdrawn is no matter to those who take nothing of it.
        used = [each for d in times for each in self._devices[d].get("consumesCounters", ())]
        if any(left[each["counterSet"]][name] < 0 for each in used for name in each["counters"]):
            return False
        return all(self._keeps(claim, c, claims, assignment) for c, claim in enumerate(claims))

    def _keeps(
        self, claim: Mapping[str, Any], number: int, claims: Sequence[Mapping[str, Any]], assignment: Assignment
    ) -> bool:
        values = [
            self._devices[d]["attributes"].get("root", {}).get("int")
            for c, _, _, devices in self._given(claims, assignment)
            if c == number
            for d in devices
        ]
        for constraint in claim["spec"]["devices"].get("constraints", ()):
            if None in values:
                return False
            if "matchAttribute" in constraint and len(set(values)) > 1:
                return False
            if "distinctAttribute" in constraint and len(set(values)) < len(values):
                return False
        return True

    def _left(self, taken: set[int]) -> dict[str, dict[str, int]]:
        left = {name: dict(amounts) for name, amounts in self._counters.items()}
        for d in taken:
            for used in self._devices[d].get("consumesCounters", ()):
                for name, amount in used["counters"].items():
                    left[used["counterSet"]][name] -= int(amount["value"])
        return left

    def _worth(self, whole: set[int] | frozenset[int], shares: Mapping[int, int]) -> int:
        left = self._left({*whole, *shares})
        worth = 0
        groups: Counter[tuple[str, Any, int]] = Counter()
        for d, device in enumerate(self._devices):
            used = device.get("consumesCounters", ())
            if d in whole or device.get("taints"):
                continue
            if d in shares:
                rest = max(0, 4 - shares[d]) * 65536 // 4
                worth += self._size(d) ** 2 * rest * rest // 65536**2
                continue
            if any(int(v["value"]) > left[u["counterSet"]][n] for u in used for n, v in u["counters"].items()):
                continue
            worth += self._size(d) ** 2
            if self._share(d) == max(self._share(other) for other in self._siblings(d)):
                groups["node", 0, 1] += 1
                for name, weight in _WEIGHTS:
                    if (value := self._attribute(d, name)) is not None:
                        groups[name, value, weight] += 1
        return worth + 64 * sum(weight * count**2 for (_, _, weight), count in groups.items())

    def _share(self, d: int) -> Fraction:
        """How much of its counters a device takes."""
        return sum(
            (
                Fraction(int(amount["value"]), self._counters[used["counterSet"]][name])
                for used in self._devices[d].get("consumesCounters", ())
                for name, amount in used["counters"].items()
            ),
            Fraction(0),
        )

    def _size(self, d: int) -> int:
        most = max(self._share(other) for other in self._siblings(d))
        return max(1, int(64 * self._share(d) / most + Fraction(1, 2))) if most else 64

    def _siblings(self, d: int) -> list[int]:
        sets = {used["counterSet"] for used in self._devices[d].get("consumesCounters", ())}
        return [
            other
            for other, device in enumerate(self._devices)
            if other == d or sets & {used["counterSet"] for used in device.get("consumesCounters", ())}
        ]

    def _distance(self, a: int, b: int) -> int:
        for name, score in _SCORES:
            value = self._attribute(a, name)
            if value is not None and value == self._attribute(b, name):
                return 70 - score
        numa = self._attribute(a, "numaNode"), self._attribute(b, "numaNode")
        if None in numa:
            return 70
        return 50 if numa[0] == numa[1] else 60

    def _attribute(self, d: int, name: str) -> Any:
        attributes = self._devices[d]["attributes"]
        value = attributes.get("resource.kubernetes.io/pciBusID" if name == "bus" else name)
        if name == "bus" and value is None:
            # A partition that does not say is on the card of its counters.
            return next((used["counterSet"] for used in self._devices[d].get("consumesCounters", ())), None)
        return None if value is None else next(iter(value.values()))

    def _is_shared(self, d: int) -> bool:
        return bool(self._devices[d].get("allowMultipleAllocations"))

    @staticmethod
    def _consumed(d: int, wanted: Mapping[str, Any]) -> int:
        return int(wanted["capacity"]["requests"]["bandwidth"]) if "capacity" in wanted else 4


def _ways(asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(asked["firstAvailable"]) if "firstAvailable" in asked else [asked["exactly"]]


__all__ = ["DRIVER", "Exhaustive"]
