"""What the driver tells about a claim's devices in `status.devices[]`: conditions, network data, the vendor's own data.

Written in the background: a pod does not wait for it. Entries of other drivers and pools stay; the API server removes
all of them when the claim is deallocated. Where RBAC of the API server asks for it, the driver needs the verbs of the
synthetic subresource `resourceclaims/driver`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.devices.driver.records import ClaimRecord, Report
from fairlead.kube import ApiError, Client, Conflict, CredentialsError, NotFound, Unreachable
from fairlead.kube.kinds import RESOURCE_CLAIMS
from fairlead.kube.objects import AllocatedDeviceStatus, ResourceClaim

_LOG = logging.getLogger("fairlead.devices.driver.claim_status")
_ATTEMPTS: Final = 6
_PAUSE_S: Final = 0.2


def device_entries(
    reports: Sequence[Report], current: Sequence[AllocatedDeviceStatus], *, driver: str, pool: str, now_s: float
) -> list[dict[str, Any]]:
    """The whole of `status.devices` with these reports in it. Times of conditions that did not change stay."""
    own = {(report.device, report.share_id): report for report in reports}
    entries: list[dict[str, Any]] = []
    known: dict[tuple[str, str], AllocatedDeviceStatus] = {}
    for entry in current:
        key = (entry.device, entry.share_id)
        if (entry.driver, entry.pool) == (driver, pool) and key in own:
            known[key] = entry
        else:
            entries.append(msgspec.to_builtins(entry))
    for key, report in own.items():
        entries.append(_entry(report, known.get(key), driver, pool, now_s))
    return entries


def _entry(report: Report, was: AllocatedDeviceStatus | None, driver: str, pool: str, now_s: float) -> dict[str, Any]:
    status = "True" if report.ready else "False"
    since = {c.type: c.last_transition_time for c in was.conditions if c.status == status} if was else {}
    entry: dict[str, Any] = {
        "driver": driver,
        "pool": pool,
        "device": report.device,
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": report.reason or "Prepared",
                "message": report.message,
                "lastTransitionTime": since.get(kind) or format_time(now_s),
            }
            for kind in report.conditions
        ],
    }
    if report.share_id:
        entry["shareID"] = report.share_id
    if report.data:
        entry["data"] = dict(report.data)
    if report.network is not None:
        entry["networkData"] = dict(report.network)
    return entry


def is_told(record: ClaimRecord, claim: ResourceClaim, *, driver: str, pool: str) -> bool:
    """Whether the claim's status has all that the record reports."""
    current = claim.status.devices
    wanted = device_entries(record.reports, current, driver=driver, pool=pool, now_s=0.0)
    return _by_key(wanted) == _by_key([msgspec.to_builtins(entry) for entry in current])


def _by_key(entries: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    return {(e["driver"], e["pool"], e["device"], e.get("shareID", "")): _without_empty(e) for e in entries}


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_empty(v) for k, v in value.items() if v not in ("", None, [], {}, ())}
    if isinstance(value, list | tuple):
        return [_without_empty(v) for v in value]
    return value


class ClaimStatusWriter:
    """Writes reports of prepared claims, the newest of each. `run` it beside the driver."""

    def __init__(self, client: Client, *, driver: str, pool: str, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._driver = driver
        self._pool = pool
        self._clock = clock
        self._wanted: dict[str, ClaimRecord] = {}
        self._changed = asyncio.Event()
        self._is_dropped = False

    def want(self, record: ClaimRecord, claim: ResourceClaim | None = None) -> None:
        """Tell what the record reports, if it does and the claim does not say so yet."""
        if not record.reports:
            return
        if claim is not None and is_told(record, claim, driver=self._driver, pool=self._pool):
            return
        self._wanted[record.uid] = record
        self._changed.set()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._wanted:
                uid, record = next(iter(self._wanted.items()))
                del self._wanted[uid]
                await self._tell(record)

    async def _tell(self, record: ClaimRecord) -> None:
        failure: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if record.uid in self._wanted:
                return  # there is newer news
            try:
                return await self._write(record)
            except NotFound:
                return
            except Conflict as error:
                failure = error
            except (Unreachable, CredentialsError, TimeoutError) as error:
                failure = error
                await self._clock.sleep(_PAUSE_S * 2.0**attempt)
            except ApiError as error:
                failure = error
                break
        _LOG.warning("claim %s: the status of its devices is not written: %s", record.reference, failure)

    async def _write(self, record: ClaimRecord) -> None:
        claim = await self._client.get(RESOURCE_CLAIMS, record.name, record.namespace)
        allocation = claim.status.allocation
        if claim.metadata.uid != record.uid or allocation is None or allocation.devices is None:
            return
        allocated = {
            (r.device, r.share_id)
            for r in allocation.devices.results
            if (r.driver, r.pool) == (self._driver, self._pool)
        }
        reports = [report for report in record.reports if (report.device, report.share_id) in allocated]
        if not reports or is_told(record, claim, driver=self._driver, pool=self._pool):
            return
        devices = device_entries(
            reports, claim.status.devices, driver=self._driver, pool=self._pool, now_s=self._clock.wall_s()
        )
        body = {
            "metadata": {"resourceVersion": claim.metadata.resource_version, "uid": record.uid},
            "status": {"devices": devices},
        }
        stored = await self._client.patch(RESOURCE_CLAIMS, record.name, body, record.namespace, subresource="status")
        self._note_stored(record, stored)

    def _note_stored(self, record: ClaimRecord, stored: ResourceClaim) -> None:
        """Say once that the server drops what is written."""
        own = [entry for entry in stored.status.devices if (entry.driver, entry.pool) == (self._driver, self._pool)]
        if not own and not self._is_dropped:
            _LOG.warning(
                "claim %s: the API server keeps no status of its devices: feature gate DRAResourceClaimDeviceStatus is "
                "off; this is not said again",
                record.reference,
            )
        self._is_dropped = not own
