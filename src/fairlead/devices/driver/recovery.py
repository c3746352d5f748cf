"""What the record of prepared claims becomes when it is damaged, and when the API no longer knows its claims. Pure.

The copy before a damaged record may lack the last claim that was prepared and have one that was given back since. The
API fills both gaps: a claim that holds devices here and is in use keeps them; one that the API no longer allocates to
this node is released. What was prepared is prepared again, which vendors can repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from fairlead.devices.driver.records import ClaimRecord, HeldDevice, Records
from fairlead.kube.objects import ResourceClaim

UNFINISHED_S: Final = 60.0
"""How long a claim may be half prepared before the API is asked whether it still exists: well over a kubelet's
retry."""
GONE_S: Final = 600.0
"""How long a prepared claim must be gone from the API before its devices are taken back unasked. The kubelet gives them
back when the pod has ended; it does not where its own state was lost."""


def rebuild(
    previous: Records | None, claims: Iterable[ResourceClaim], driver: str, pool: str, now_s: float
) -> dict[str, ClaimRecord]:
    """The record after damage. `claims` are those that the API allocates from this driver's pool."""
    known = previous or {}
    records: dict[str, ClaimRecord] = {}
    for claim in claims:
        uid = claim.metadata.uid
        if uid in known or claim.status.reserved_for:
            records[uid] = _of_claim(claim, known.get(uid), driver, pool, now_s)
    for uid, record in known.items():
        if uid not in records:
            records[uid] = msgspec.structs.replace(record, phase="releasing")
    return records


def _of_claim(claim: ResourceClaim, known: ClaimRecord | None, driver: str, pool: str, now_s: float) -> ClaimRecord:
    allocation = claim.status.allocation
    results = allocation.devices.results if allocation and allocation.devices else ()
    remembered = {(d.name, d.request, d.share_id): d for d in known.devices} if known else {}
    devices = [
        remembered.get((result.device, result.request, result.share_id))
        or HeldDevice(
            name=result.device,
            request=result.request,
            share_id=result.share_id,
            admin_access=bool(result.admin_access),
            shareable=bool(result.share_id),
            consumed=dict(result.consumed_capacity),
        )
        for result in results
        if result.driver == driver and result.pool == pool
    ]
    metadata = claim.metadata
    return ClaimRecord(
        uid=metadata.uid, namespace=metadata.namespace, name=metadata.name, phase="preparing", devices=devices,
        since_s=now_s,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Which claims to ask the API about, and since when (wall time) each that it did not know has been missing."""

    ask: tuple[str, ...]
    missing_since_s: Mapping[str, float]


def suspects(records: Records, missing_since_s: Mapping[str, float], now_s: float) -> Suspicion:
    """Records that may have been forgotten: half done for long, or prepared for long."""
    ask = [
        uid
        for uid, record in records.items()
        if now_s - record.since_s >= (GONE_S if record.phase == "prepared" else UNFINISHED_S)
    ]
    return Suspicion(tuple(ask), {uid: s for uid, s in missing_since_s.items() if uid in records})


def is_forgotten(record: ClaimRecord, missing_since_s: float, now_s: float) -> bool:
    """Whether a claim that the API does not know, or allocates elsewhere, is to be released unasked."""
    return record.phase != "prepared" or now_s - missing_since_s >= GONE_S
