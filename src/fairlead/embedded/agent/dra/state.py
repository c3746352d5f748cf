"""Which claims are prepared on a node, for which pods, and what drivers answered. Pure: every change is a new value.

A claim is recorded before any driver hears of it and forgotten only after every driver gave it back, so that whatever
happens in between, nothing stays prepared without a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec


class PreparedDevice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device as its driver described it. `requests` are the claim's requests it serves, none meaning all."""

    pool: str
    device: str
    requests: tuple[str, ...] = ()
    cdi_ids: tuple[str, ...] = ()
    share_id: str = ""


class ClaimRecord(msgspec.Struct, frozen=True):
    """One claim on this node. `pods` are the uids of those that use it.

    `drivers` has every driver of the claim's allocation: its devices, or None while it has not answered (it may have
    prepared the claim all the same).
    """

    uid: str
    namespace: str
    name: str
    pods: tuple[str, ...] = ()
    drivers: dict[str, tuple[PreparedDevice, ...] | None] = {}

    @property
    def is_prepared(self) -> bool:
        return all(devices is not None for devices in self.drivers.values())


Claims = Mapping[str, ClaimRecord]
"""Claim uid -> record."""


@dataclass(frozen=True, slots=True)
class WantedClaim:
    """A claim that a pod needs prepared. `drivers`: driver -> the (pool, device) it must hand out."""

    uid: str
    namespace: str
    name: str
    drivers: Mapping[str, frozenset[tuple[str, str]]]


def wanted_claim(claim: Mapping[str, Any]) -> WantedClaim:
    """From an allocated ResourceClaim."""
    drivers: dict[str, set[tuple[str, str]]] = {}
    allocation = (claim.get("status") or {}).get("allocation") or {}
    for result in (allocation.get("devices") or {}).get("results") or ():
        drivers.setdefault(result["driver"], set()).add((result["pool"], result["device"]))
    metadata = claim["metadata"]
    return WantedClaim(
        metadata["uid"],
        metadata.get("namespace", ""),
        metadata["name"],
        {driver: frozenset(devices) for driver, devices in drivers.items()},
    )


def find_namesake(claims: Claims, wanted: WantedClaim) -> ClaimRecord | None:
    """An older claim of the same name that is not given back yet."""
    same = (r for r in claims.values() if (r.namespace, r.name) == (wanted.namespace, wanted.name))
    return next((record for record in same if record.uid != wanted.uid), None)


def hold(claims: Claims, pod_uid: str, wanted: Iterable[WantedClaim]) -> Claims:
    """The pod uses these claims, and their drivers are about to be asked."""
    changed = dict(claims)
    for claim in wanted:
        record = changed.get(claim.uid) or ClaimRecord(claim.uid, claim.namespace, claim.name)
        drivers = dict.fromkeys(claim.drivers) | record.drivers
        pods = record.pods if pod_uid in record.pods else (*record.pods, pod_uid)
        changed[claim.uid] = msgspec.structs.replace(record, pods=pods, drivers=drivers)
    return changed


def answer(claims: Claims, driver: str, devices: Mapping[str, tuple[PreparedDevice, ...]]) -> Claims:
    """The driver prepared these claims (claim uid -> devices)."""
    changed = dict(claims)
    for uid, prepared in devices.items():
        record = changed[uid]
        changed[uid] = msgspec.structs.replace(record, drivers={**record.drivers, driver: prepared})
    return changed


def leave(claims: Claims, pod_uid: str) -> Claims:
    """The pod no longer uses the claims that others use too. Those it used alone stay until they are given back."""
    changed = dict(claims)
    for uid, record in claims.items():
        if pod_uid in record.pods and len(record.pods) > 1:
            changed[uid] = msgspec.structs.replace(record, pods=tuple(p for p in record.pods if p != pod_uid))
    return changed


def give_back(claims: Claims, driver: str, uids: Iterable[str]) -> Claims:
    """The driver unprepared these claims; one that no driver has any more is forgotten."""
    changed = dict(claims)
    for uid in uids:
        record = changed[uid]
        drivers = {name: devices for name, devices in record.drivers.items() if name != driver}
        changed[uid] = msgspec.structs.replace(record, drivers=drivers)
    return changed


def forget_empty(claims: Claims, uids: Iterable[str]) -> Claims:
    """Drop those of the given claims that no driver has (any more)."""
    gone = {uid for uid in uids if uid in claims and not claims[uid].drivers}
    return {uid: record for uid, record in claims.items() if uid not in gone}


def of_pod(claims: Claims, pod_uid: str) -> dict[str, ClaimRecord]:
    """Claim name -> record, of the claims that the pod uses."""
    return {record.name: record for record in claims.values() if pod_uid in record.pods}
