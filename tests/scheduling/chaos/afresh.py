"""A planner that has lived through it all knows and says the same as one that has just been told of everything."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from fairlead.scheduling.eviction.reservations import PREFIX
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.verdict import Placed, Refused, Verdict
from scheduling.chaos.truth import Key

_OF_WAITING = ("waits_for",)


def planner_afresh(old: Planner, told: Mapping[Key, Any], dice: random.Random) -> Planner:
    """The objects in any order, but for the nodes: ties go to the first."""
    fresh = Planner(old.settings)
    fresh.intake.follow_jobs()
    by_name = {key[2]: obj for key, obj in told.items() if key[0] == "Node"}
    for node in old.fleet.nodes:
        if node is not None:
            fresh.see(by_name[node.name])
    others = [obj for key, obj in told.items() if key[0] != "Node"]
    dice.shuffle(others)
    for obj in others:
        fresh.see(obj)
    return fresh


def dump(fleet: Fleet) -> dict[str, Any]:
    """All facts, in an order that does not depend on how they came."""
    found: dict[str, Any] = {}
    for row, node in enumerate(fleet.nodes):
        if node is None:
            continue
        pods = {uid: s for uid, s in fleet.on[row].items() if not uid.startswith(PREFIX)}
        found[node.name] = {
            "pods": sorted(pods),
            "used": {name: amount for name, amount in sorted(fleet.used[row].items()) if amount},
            "ports": {port: count for port, count in sorted(fleet.host_ports[row].items()) if count},
            "devices": {row.id: sorted(row.holders) for row in fleet.devices.device_table(node.name)},
            "facts": (node.unschedulable, node.taints, dict(node.labels), dict(node.allocatable)),
        }
    found["claims"] = {
        key: [(r.pool, r.device, r.share_id) for r in state.allocation.devices.results]
        for key, state in sorted(fleet.claims.items())
        if state.allocation is not None and state.allocation.devices is not None
    }
    found["users"] = {key: sorted(users) for key, users in sorted(fleet.users.items())}
    return found


def differences(one: Any, two: Any, at: str = "") -> Iterable[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in one.keys() | two.keys():
            yield from differences(one.get(key), two.get(key), f"{at}/{key}")
    elif one != two:
        yield f"{at}: {one} before, {two} afresh"


def told(verdict: Verdict) -> tuple[Any, ...]:
    """What two planners have to agree on."""
    if isinstance(verdict, Refused):
        return "Refused", verdict.explanation.because
    if isinstance(verdict, Placed):
        return "Placed", len(verdict.assignments)
    return ("Cleared",)


def lost_devices(objects: Mapping[Key, Any]) -> bool:
    """Whether a claim holds a device that nobody offers any more: what it takes of counters know those who saw it."""
    newest: dict[tuple[str, str], int] = {}
    slices = [obj for key, obj in objects.items() if key[0] == "ResourceSlice"]
    for each in slices:
        pool = each.spec.driver, each.spec.pool.name
        newest[pool] = max(newest.get(pool, 0), each.spec.pool.generation)
    there = {
        (each.spec.driver, each.spec.pool.name, device.name)
        for each in slices
        if each.spec.pool.generation == newest[each.spec.driver, each.spec.pool.name]
        for device in each.spec.devices
    }
    allocations = [obj.status.allocation for key, obj in objects.items() if key[0] == "ResourceClaim"]
    held = {(r.driver, r.pool, r.device) for one in allocations if one is not None for r in one.devices.results}
    return not held <= there


def disagreements(old: Planner, fresh: Planner, now_s: float, *, verdicts: bool = True) -> list[str]:
    """What the two planners know or say differently, at rest."""
    # Room that is held is what a planner knows and no object says.
    old.reservations.expire(now_s)
    old_gangs, fresh_gangs = old.gangs, fresh.gangs
    found = list(differences(dump(old.fleet), dump(fresh.fleet)))
    if old_gangs.keys() != fresh_gangs.keys():
        return [*found, f"gangs: {sorted(old_gangs.keys() ^ fresh_gangs.keys())}"]
    for key, gang in sorted(old_gangs.items()):
        other = fresh_gangs[key]
        for name in ("queue", "priority", "created_s", "is_preemptible", "disruption", *_OF_WAITING[: len(gang.pods)]):
            if getattr(gang, name) != getattr(other, name):
                found.append(f"{key}: {name} is {getattr(gang, name)!r}, afresh {getattr(other, name)!r}")
        if {p.uid for p in gang.pods} != {p.uid for p in other.pods}:
            found.append(f"{key}: other pods wait")
    if found or not verdicts:
        return found
    for key, gang in sorted(old_gangs.items()):
        if not gang.pods:
            continue
        one, two = told(old.verdict_of(gang, now_s)), told(fresh.verdict_of(fresh_gangs[key], now_s))
        if one != two:
            found.append(f"{key}: {one}, afresh {two}")
    return found
