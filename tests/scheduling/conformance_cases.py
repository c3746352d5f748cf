"""Random cases for the allocator in the form of Kubernetes' exported ones, and the rules that answers must keep.

The rules are the API's, written down anew: nothing of the allocator is used.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

Json = dict[str, Any]
DeviceKey = tuple[str, str, str]
"""Driver, pool, device."""

DRIVERS = ("a.example.com", "b.example.com")
FEATURES = (
    "AdminAccess", "ConsumableCapacity", "DeviceBindingAndStatus", "DeviceTaints", "ListTypeAttributes",
    "PartitionableDevices", "PrioritizedList",
)  # fmt: skip
_ROOT, _ROOTS = "std.example.com/root", "std.example.com/roots"
_IS_GOOD = 'device.attributes[device.driver].kind == "good"'
_SHARE = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"


class CaseMaker:
    """One case from one source of randomness."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def make(self) -> Json:
        drivers = DRIVERS[: self._random.choice([1, 1, 2])]
        pools = ("p1", "p2")[: self._random.choice([1, 2])]
        slices = [each for driver in drivers for pool in pools for each in self._pool(driver, pool)]
        case: Json = {
            "features": dict.fromkeys(FEATURES, True),
            "node": {"metadata": {"name": "n1", "labels": {"zone": "z1"}}},
            "classes": [{"metadata": {"name": "any"}, "spec": {}}],
            "slices": slices,
            "claims": [self._claim(i) for i in range(self._random.choice([1, 1, 2]))],
            "allocatedDevices": [], "allocatedSharedDeviceIDs": [], "allocatedCapacity": [],
        }  # fmt: skip
        self._random.shuffle(slices)
        for (driver, pool, name), device in devices_of(case).items():
            if self._chance(0.15):
                self._hold(case, {"driver": driver, "pool": pool, "device": name}, device)
        return case

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    @staticmethod
    def _hold(case: Json, entry: Json, device: Json) -> None:
        if not device.get("allowMultipleAllocations"):
            case["allocatedDevices"].append(entry)
            return
        case["allocatedSharedDeviceIDs"].append(entry | {"shareID": _SHARE})
        case["allocatedCapacity"].append(entry | {"consumedCapacity": dict.fromkeys(device["capacity"], "1")})

    def _pool(self, driver: str, pool: str) -> list[Json]:
        counters = self._random.choice([2, 4]) if self._chance(0.5) else 0
        count = self._random.choice([1, 2]) + bool(counters)
        numbers = itertools.count()
        made = []
        for i in range(count - bool(counters)):
            where = self._random.choice(
                [{"nodeName": "n1"}, {"nodeName": "n1"}, {"nodeName": "n2"}, {"allNodes": True}]
            )
            devices = [self._device(next(numbers), counters) for _ in range(self._random.randint(1, 4))]
            made.append({"name": f"{driver}-{pool}-{i}", "devices": devices, **where})
        if counters:
            shared = [{"name": "set", "counters": {"cores": {"value": str(counters)}}}]
            made.append({"name": f"{driver}-{pool}-sets", "sharedCounters": shared, "allNodes": True})
        description = {"name": pool, "generation": 1, "resourceSliceCount": count}
        return [
            {"metadata": {"name": each.pop("name")}, "spec": {"driver": driver, "pool": description, **each}}
            for each in made
        ]

    def _device(self, number: int, counters: int) -> Json:
        attributes: Json = {"kind": {"string": self._random.choice(["good", "plain"])}}
        if self._chance(0.8):
            attributes[_ROOT] = {"int": self._random.randint(0, 2)}
        if self._chance(0.5):
            attributes[_ROOTS] = {"ints": self._random.sample([0, 1, 2], self._random.randint(1, 2))}
        device: Json = {"name": f"d{number}", "attributes": attributes, "capacity": {"memory": {"value": "4"}}}
        if self._chance(0.3):
            device["allowMultipleAllocations"] = True
            policy = {"default": "1", "validRange": {"min": "1", "max": "4", "step": "1"}}
            device["capacity"]["memory"]["requestPolicy"] = policy
        if counters and self._chance(0.7):
            amount = {"cores": {"value": str(self._random.choice([1, 1, 2]))}}
            device["consumesCounters"] = [{"counterSet": "set", "counters": amount}]
        if self._chance(0.2):
            device["taints"] = [{"key": "k", "value": "v", "effect": self._random.choice(["NoSchedule", "NoExecute"])}]
        return device

    def _claim(self, number: int) -> Json:
        requests: list[Json] = []
        for i in range(self._random.choice([1, 1, 2])):
            if self._chance(0.3):
                alternatives = [{"name": f"s{k}", **self._wish()} for k in range(2)]
                requests.append({"name": f"r{i}", "firstAvailable": alternatives})
            else:
                admin = {"adminAccess": True} if self._chance(0.1) else {}
                requests.append({"name": f"r{i}", "exactly": self._wish() | admin})
        kind = self._random.choice(["matchAttribute", "distinctAttribute"])
        constraints = [{kind: self._random.choice([_ROOT, _ROOTS])}] if self._chance(0.5) else []
        return {
            "metadata": {"name": f"claim-{number}", "namespace": "ns", "uid": f"u{number}"},
            "spec": {"devices": {"requests": requests, "constraints": constraints}},
        }

    def _wish(self) -> Json:
        wish: Json = {"deviceClassName": "any", "allocationMode": "All"}
        if self._chance(0.9):
            wish |= {"allocationMode": "ExactCount", "count": self._random.choice([1, 1, 2, 3])}
        if self._chance(0.3):
            wish["selectors"] = [{"cel": {"expression": _IS_GOOD}}]
        if self._chance(0.3):
            wish["tolerations"] = [{"key": "k", "operator": "Exists"}]
        if self._chance(0.3):
            wish["capacity"] = {"requests": {"memory": self._random.choice(["1", "2", "3"])}}
        return wish


def devices_of(case: Json) -> dict[DeviceKey, Json]:
    """Every device, with its slice's spec as `slice`."""
    return {
        (each["spec"]["driver"], each["spec"]["pool"]["name"], device["name"]): device | {"slice": each["spec"]}
        for each in case["slices"]
        for device in each["spec"].get("devices", ())
    }


def breaches(case: Json, allocations: list[Json], *, exact: bool) -> Iterator[str]:
    """Which rules the allocations break. `exact`: whether `distinctAttribute` counts for all pairs."""
    devices = devices_of(case)
    taken: list[tuple[DeviceKey, Json]] = []
    for claim, allocation in zip(case["claims"], allocations, strict=True):
        results = allocation["devices"]["results"]
        wishes = [(wish, result) for result in results for wish in [_wish_of(claim, result["request"])]]
        yield from _count_breaches(claim, results)
        for wish, result in wishes:
            key = (result["driver"], result["pool"], result["device"])
            yield from (f"{key}: {breach}" for breach in _device_breaches(wish, devices[key]))
            if not wish.get("adminAccess"):
                taken.append((key, result))
        for constraint in claim["spec"]["devices"]["constraints"]:
            yield from _constraint_breaches(constraint, [devices[_key(each)] for each in results], exact)
    yield from _use_breaches(case, devices, taken)
    yield from _counter_breaches(case, devices, {key for key, _ in taken})


def _key(entry: Json) -> DeviceKey:
    return entry["driver"], entry["pool"], entry["device"]


def _wish_of(claim: Json, name: str) -> Json:
    request, _, alternative = name.partition("/")
    asked = next(each for each in claim["spec"]["devices"]["requests"] if each["name"] == request)
    if not alternative:
        return asked["exactly"]  # type: ignore[no-any-return]
    return next(each for each in asked["firstAvailable"] if each["name"] == alternative)


def _count_breaches(claim: Json, results: list[Json]) -> Iterator[str]:
    for asked in claim["spec"]["devices"]["requests"]:
        served = [each for each in results if each["request"].partition("/")[0] == asked["name"]]
        names = {each["request"] for each in served}
        if len(names) != 1:
            yield f"{asked['name']} is served as {sorted(names)}"
            continue
        wish = _wish_of(claim, names.pop())
        if wish["allocationMode"] == "ExactCount" and len(served) != wish["count"]:
            yield f"{asked['name']} has {len(served)} devices"
        if len({_key(each) for each in served}) < len(served):
            yield f"{asked['name']} has a device twice"


def _device_breaches(wish: Json, device: Json) -> Iterator[str]:
    if device["slice"].get("nodeName", "n1") != "n1":
        yield "is on another node"
    if wish.get("selectors") and device["attributes"]["kind"]["string"] != "good":
        yield "is not selected"
    if device.get("taints") and not wish.get("tolerations"):
        yield "is tainted"


def _constraint_breaches(constraint: Json, devices: list[Json], exact: bool) -> Iterator[str]:
    kind, name = next(iter(constraint.items()))
    values = [device["attributes"].get(name) for device in devices]
    if None in values:
        yield f"{kind}: a device has no {name}"
        return
    sets = [set(value["ints"]) if "ints" in value else {value["int"]} for value in values]
    if kind == "matchAttribute" and not set.intersection(*sets):
        yield f"{kind} {name}: nothing in common"
    if kind == "distinctAttribute" and exact and any(a & b for a, b in itertools.combinations(sets, 2)):
        yield f"{kind} {name}: something in common"


def _use_breaches(case: Json, devices: dict[DeviceKey, Json], taken: list[tuple[DeviceKey, Json]]) -> Iterator[str]:
    held = {_key(each) for each in case["allocatedDevices"]}
    shares = Counter({_key(each): 1 for each in case["allocatedSharedDeviceIDs"]})
    times: Counter[DeviceKey] = Counter()
    for key, result in taken:
        if key in held:
            yield f"{key} is in use"
        if not devices[key].get("allowMultipleAllocations"):
            times[key] += 1
            continue
        if "shareID" not in result:
            yield f"{key}: a share without an id"
        shares[key] += int(result["consumedCapacity"]["memory"])
    yield from (f"{key} is given {count} times" for key, count in times.items() if count > 1)
    yield from (f"{key}: shares of {amount} in 4" for key, amount in shares.items() if amount > 4)


def _counter_breaches(case: Json, devices: dict[DeviceKey, Json], taken: set[DeviceKey]) -> Iterator[str]:
    held = {_key(each) for each in (*case["allocatedDevices"], *case["allocatedSharedDeviceIDs"])}
    for each in case["slices"]:
        spec = each["spec"]
        pool = (spec["driver"], spec["pool"]["name"])
        for counters in spec.get("sharedCounters", ()):
            before = sum(_cores(devices[key]) for key in held if key[:2] == pool)
            more = sum(_cores(devices[key]) for key in taken - held if key[:2] == pool)
            if more and before + more > int(counters["counters"]["cores"]["value"]):
                yield f"{pool}: {before} and {more} cores of {counters['counters']['cores']['value']}"


def _cores(device: Json) -> int:
    return sum(int(each["counters"]["cores"]["value"]) for each in device.get("consumesCounters", ()))
