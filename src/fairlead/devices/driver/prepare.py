"""Claims made ready and given back: any number in one call, each with its own outcome.

    record "preparing" → vendor.prepare → CDI spec → record "prepared" → answer
    record "releasing" → vendor.release → CDI spec removed → no record → answer

A process that dies between two of these steps leaves a record of what may have been done; its devices are nobody
else's, and the next call for the claim does the steps again. The same claim twice is answered from the record. Devices
are given only after `conflicts` has been asked. Records are written once a step for all claims of a call. Calls take
turns, among instances too; a call that its client gave up goes on to its end (see `plugin_server`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.driver.allocation import check_claim, grants_of, own_results
from fairlead.devices.driver.calls import VendorCalls
from fairlead.devices.driver.checkpoint import Checkpoint, CheckpointDamaged
from fairlead.devices.driver.claim_specs import ClaimSpecs, DeviceSpecs
from fairlead.devices.driver.claims import ClaimReader, ClaimUnreadable
from fairlead.devices.driver.conflicts import Conflict, find_conflict
from fairlead.devices.driver.damping import VANISHED
from fairlead.devices.driver.records import (
    ClaimRecord,
    HeldDevice,
    Records,
    held_device,
    is_same_allocation,
    reports_of,
)
from fairlead.devices.driver.recovery import is_forgotten, rebuild, suspects
from fairlead.devices.driver.rolling import FileLock
from fairlead.devices.driver.state import NodeView
from fairlead.devices.errors import CheckpointError, ClaimError, DeviceError
from fairlead.devices.vendor import ClaimReference, Grant, Vendor
from fairlead.kube.objects import ResourceClaim

_LOG = logging.getLogger("fairlead.devices.driver.prepare")
T = TypeVar("T")
_RECOVERY_PAUSE_S: Final = 2.0
_FORCE_AFTER_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """Time limits in seconds. The kubelet gives a call 45 s."""

    vendor_limit_s: float = 30.0
    turn_limit_s: float = 40.0


@dataclass(frozen=True, slots=True)
class _Work:
    """A claim that is to be made ready."""

    claim: ClaimReference
    grants: tuple[Grant, ...]
    record: ClaimRecord


@dataclass(slots=True)
class _Round:
    """One call's claims, sorted out."""

    ready: dict[str, ClaimRecord] = field(default_factory=dict)
    failed: dict[str, DeviceError] = field(default_factory=dict)
    work: list[_Work] = field(default_factory=list)


class ClaimPreparer:
    """One driver on one node. `on_prepared` is told of each claim that has just been made ready; it must not block."""

    def __init__(
        self,
        vendor: Vendor,
        calls: VendorCalls,
        *,
        driver: str,
        pool: str,
        view: Callable[[], NodeView],
        claims: ClaimReader,
        checkpoint: Checkpoint,
        lock: FileLock,
        device_specs: DeviceSpecs,
        claim_specs: ClaimSpecs,
        on_prepared: Callable[[ClaimRecord, ResourceClaim | None], None] = lambda record, claim: None,
        settings: PrepareSettings | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._vendor = vendor
        self._calls = calls
        self._driver = driver
        self._pool = pool
        self._view = view
        self._claims = claims
        self._checkpoint = checkpoint
        self._lock = lock
        self._device_specs = device_specs
        self._claim_specs = claim_specs
        self._on_prepared = on_prepared
        self._settings = settings or PrepareSettings()
        self._clock = clock
        self._missing_since_s: dict[str, float] = {}
        self._forcing: asyncio.Future[None] | None = None

    async def load(self) -> None:
        """Read the record; a damaged one is put together again, which waits for the API server. Raises
        CheckpointError."""
        async with self._lock.held(self._settings.turn_limit_s):
            await self._refresh(at_start=True)

    async def settle(self) -> None:
        """Finish what an earlier process was about to give back, and remove specs of claims that are no more."""
        async with self._lock.held(self._settings.turn_limit_s):
            for record in [r for r in self._checkpoint.records.values() if r.phase == "releasing"]:
                try:
                    await self._undo(record)
                    self._save(remove=[record.uid])
                except DeviceError as error:
                    _LOG.warning("claim %s: not given back yet: %s", record.reference, error)
            removed = await asyncio.to_thread(self._claim_specs.remove_orphans, self._checkpoint.records.keys())
        for uid in removed:
            _LOG.info("removed the CDI spec of claim %s, which is no more", uid)

    async def close(self) -> None:
        """Wait until the disk has the record."""
        if self._forcing is not None:
            self._forcing.cancel()
            await asyncio.gather(self._forcing, return_exceptions=True)
            await asyncio.to_thread(self._checkpoint.force)

    async def prepare(self, claims: Sequence[ClaimReference]) -> dict[str, ClaimRecord | DeviceError]:
        """By UID: the record with the devices' CDI ids, or why there is none."""
        return await self._prepare(claims, lambda uid: True)

    async def _prepare(
        self, claims: Sequence[ClaimReference], is_due: Callable[[str], bool]
    ) -> dict[str, ClaimRecord | DeviceError]:
        """As `prepare`; `is_due` is asked by UID once it is this call's turn, when another may have given it back."""
        found = await asyncio.gather(*(self._read(claim) for claim in claims))
        round_ = _Round()
        try:
            async with self._lock.held(self._settings.turn_limit_s):
                await self._refresh()
                for claim, read in zip(claims, found, strict=True):
                    if is_due(claim.uid):
                        await self._sort(claim, read, round_)
                await self._make_all_ready(round_)
        except DeviceError as error:
            # It concerns no claim in particular: the lock, or the record.
            round_.failed = {claim.uid: error for claim in claims if claim.uid not in round_.ready} | round_.failed
        objects = {
            claim.uid: read for claim, read in zip(claims, found, strict=True) if isinstance(read, ResourceClaim)
        }
        for uid, record in round_.ready.items():
            self._on_prepared(record, objects.get(uid))
        return {**round_.failed, **round_.ready}

    async def restore(self) -> dict[str, ClaimRecord | DeviceError]:
        """Make claims ready again whose CDI specs are gone, by UID as `prepare` does. Call it now and then."""
        lost = [record.reference for uid, record in self._checkpoint.records.items() if self._is_spec_lost(uid)]
        return await self._prepare(lost, self._is_spec_lost) if lost else {}

    def _is_spec_lost(self, uid: str) -> bool:
        record = self._checkpoint.records.get(uid)
        return (
            record is not None and record.phase == "prepared" and record.has_spec and not self._claim_specs.exists(uid)
        )

    async def unprepare(self, claims: Sequence[ClaimReference]) -> dict[str, DeviceError | None]:
        """By UID: None, or why the claim is not given back. One that is not known here is."""
        outcome: dict[str, DeviceError | None] = {claim.uid: None for claim in claims}
        try:
            async with self._lock.held(self._settings.turn_limit_s):
                await self._refresh()
                known = [r for uid in outcome if (r := self._checkpoint.records.get(uid)) is not None]
                if known:
                    outcome |= await self._release(known)
        except DeviceError as error:
            outcome = dict.fromkeys(outcome, error)
        return outcome

    async def tidy(self) -> list[str]:
        """Release claims that were forgotten: half prepared, or prepared long ago, and no longer in the API. Their
        UIDs. Call it now and then."""
        now_s = self._clock.wall_s()
        suspicion = suspects(self._checkpoint.records, self._missing_since_s, now_s)
        missing = dict(suspicion.missing_since_s)
        forgotten: list[ClaimRecord] = []
        for uid in suspicion.ask:
            record = self._checkpoint.records.get(uid)
            if record is None:
                continue
            try:
                is_known = await self._claims.is_ours(record.reference, self._driver, self._pool)
            except ClaimUnreadable:
                continue
            if is_known:
                missing.pop(uid, None)
            elif is_forgotten(record, missing.setdefault(uid, now_s), now_s):
                forgotten.append(record)
        self._missing_since_s = missing
        if not forgotten:
            return []
        return await self._release_forgotten(forgotten)

    # One call

    async def _read(self, claim: ClaimReference) -> ResourceClaim | ClaimError:
        try:
            found = await self._claims.read(claim)
        except ClaimError as error:
            return error
        return found or ClaimError(f"claim {claim} is not there any more; its pod cannot start", retry=False)

    async def _sort(self, claim: ClaimReference, found: ResourceClaim | ClaimError, round_: _Round) -> None:
        """Find out whether a claim is ready, to be made ready, or impossible."""
        if claim.uid in round_.ready or any(work.claim.uid == claim.uid for work in round_.work):
            return
        try:
            outcome = await self._plan(claim, found, round_)
        except DeviceError as error:
            round_.failed[claim.uid] = error
            return
        if isinstance(outcome, ClaimRecord):
            round_.ready[claim.uid] = outcome
        else:
            round_.work.append(outcome)

    async def _plan(
        self, claim: ClaimReference, found: ResourceClaim | ClaimError, round_: _Round
    ) -> ClaimRecord | _Work:
        record = self._checkpoint.records.get(claim.uid)
        is_whole = record is not None and record.phase == "prepared" and self._are_specs_there(record)
        if isinstance(found, ClaimError):
            if record is not None and is_whole and isinstance(found, ClaimUnreadable):
                return record  # a kubelet that restarts while the API server is away gets its answer
            raise found
        results = own_results(check_claim(found, claim), claim, self._driver, self._pool)
        if record is not None:
            is_same = is_same_allocation(record, [(r.device, r.request, r.share_id) for r in results])
            if is_whole and is_same:
                return record
            if record.phase == "releasing" or not is_same:
                await self._release_one(record)
        view = self._view()
        grants = grants_of(found, claim, driver=self._driver, pool=self._pool, inventory=view.inventory)
        _check_present(claim, grants, view)
        held = [held_device(grant) for grant in grants]
        await self._check_free(claim, held, round_)
        begun = ClaimRecord(
            claim.uid, claim.namespace, claim.name, "preparing", devices=held, since_s=self._clock.wall_s()
        )
        return _Work(claim, grants, begun)

    def _are_specs_there(self, record: ClaimRecord) -> bool:
        """The folder of dynamic specs is in memory on most machines, and people empty it."""
        if record.has_spec and not self._claim_specs.exists(record.uid):
            return False
        return self._device_specs.is_there

    async def _check_free(self, claim: ClaimReference, held: Sequence[HeldDevice], round_: _Round) -> None:
        while True:
            records = self._checkpoint.updated(work.record for work in round_.work)
            conflict = find_conflict(claim.uid, held, records, self._view().inventory)
            if conflict is None:
                return
            if not await self._was_orphan(conflict, round_):
                raise ClaimError(
                    f"claim {claim}: {conflict.reason}; it is given to nobody else until that claim is given back"
                )

    async def _was_orphan(self, conflict: Conflict, round_: _Round) -> bool:
        """Whether the claim in the way was half prepared and is no more; it is released then."""
        record = self._checkpoint.records.get(conflict.holder)
        if record is None or record.phase == "prepared" or conflict.holder in {w.claim.uid for w in round_.work}:
            return False
        try:
            if await self._claims.is_ours(record.reference, self._driver, self._pool):
                return False
        except ClaimUnreadable:
            return False
        await self._release_one(record)
        return True

    async def _make_all_ready(self, round_: _Round) -> None:
        if not round_.work:
            return
        begun = [work.record for work in round_.work]
        if any(self._checkpoint.records.get(record.uid) != record for record in begun):
            if self._vendor.outlives_machine:
                await asyncio.to_thread(self._checkpoint.save, self._checkpoint.updated(begun))
            else:
                self._save(begun)
        done: list[ClaimRecord] = []
        for work in round_.work:
            try:
                done.append(await self._call("prepare", lambda work=work: self._make_ready(work)))  # type: ignore[misc]
            except DeviceError as error:
                round_.failed[work.claim.uid] = error
        if done:
            self._save(done)
        round_.ready |= {record.uid: record for record in done}

    def _make_ready(self, work: _Work) -> ClaimRecord:
        """What a claim takes outside the record; in the vendor's thread. Raises DeviceError, or whatever the vendor
        does."""
        inventory = self._view().inventory
        if not self._device_specs.is_current(inventory):
            self._device_specs.update(inventory)
        own_ids = {grant.device.name: self._device_specs.ids_of(grant.device.name) for grant in work.grants}
        prepared = self._vendor.prepare(work.claim, work.grants)
        claim_ids = self._claim_specs.write(work.claim, work.record.device_names, prepared)
        devices = [
            held_device(grant, (*own_ids[name], *([claim_ids[name]] if name in claim_ids else ())))
            for grant in work.grants
            for name in (grant.device.name,)
        ]
        return msgspec.structs.replace(
            work.record,
            phase="prepared",
            devices=devices,
            has_spec=bool(claim_ids),
            reports=reports_of(work.grants, prepared),
        )

    async def _release_one(self, record: ClaimRecord) -> None:
        error = (await self._release([record]))[record.uid]
        if error is not None:
            raise error

    async def _release(self, records: Sequence[ClaimRecord]) -> dict[str, DeviceError | None]:
        outcome: dict[str, DeviceError | None] = {}
        ending = [msgspec.structs.replace(record, phase="releasing") for record in records]
        self._save([record for record in ending if self._checkpoint.records.get(record.uid) != record])
        for record in ending:
            try:
                await self._undo(record)
                outcome[record.uid] = None
            except DeviceError as error:
                outcome[record.uid] = error
        gone = [uid for uid, error in outcome.items() if error is None]
        self._save(remove=gone)
        return outcome

    async def _undo(self, record: ClaimRecord) -> None:
        def undo() -> None:
            self._vendor.release(record.reference, record.device_names)
            self._claim_specs.remove(record.uid)

        await self._call("release", undo)

    async def _release_forgotten(self, forgotten: Sequence[ClaimRecord]) -> list[str]:
        async with self._lock.held(self._settings.turn_limit_s):
            await self._refresh()
            records = [record for record in forgotten if self._checkpoint.records.get(record.uid) == record]
            outcome = await self._release(records) if records else {}
        released = [uid for uid, error in outcome.items() if error is None]
        for record in records:
            if record.uid in released:
                _LOG.warning("claim %s was forgotten: it is gone from the API; its devices are free", record.reference)
        return released

    # The record

    def _save(self, put: Sequence[ClaimRecord] = (), remove: Sequence[str] = ()) -> None:
        """Change the record, and have it forced to the disk without waiting for that."""
        if not put and not remove:
            return
        self._checkpoint.save(self._checkpoint.updated(put, remove), is_forced=False)
        if self._forcing is None or self._forcing.done():
            self._forcing = asyncio.ensure_future(self._force())

    async def _force(self) -> None:
        await self._clock.sleep(_FORCE_AFTER_S)
        await asyncio.to_thread(self._checkpoint.force)

    async def _refresh(self, *, at_start: bool = False) -> None:
        try:
            if at_start:
                await asyncio.to_thread(self._checkpoint.load)
            else:
                self._checkpoint.refresh()
        except CheckpointDamaged as error:
            previous = self._checkpoint.records if not at_start else error.previous
            _LOG.error("%s; it is put together again from the copy before it and the claims in the API", error)
            await self._recover(previous, patient=at_start)

    async def _recover(self, previous: Records | None, *, patient: bool) -> None:
        while True:
            try:
                claims = await self._claims.allocated_from(self._driver, self._pool)
                break
            except ClaimUnreadable as error:
                if not patient:
                    raise CheckpointError(
                        f"{self._checkpoint.path}: is damaged and cannot be rebuilt: {error}"
                    ) from error
                _LOG.warning("the record of prepared claims cannot be rebuilt yet: %s", error)
                await self._clock.sleep(_RECOVERY_PAUSE_S)
        records = rebuild(previous, claims, self._driver, self._pool, self._clock.wall_s())
        await asyncio.to_thread(self._checkpoint.save, records)
        _LOG.warning("%s: rebuilt with %d claims", self._checkpoint.path, len(records))

    async def _call(self, what: str, call: Callable[[], T]) -> T:
        """A call of the vendor in its thread. Raises DeviceError whatever goes wrong in it."""
        try:
            return await self._calls.call(what, call, limit_s=self._settings.vendor_limit_s)
        except DeviceError:
            raise
        except Exception as error:
            _LOG.exception("%s: %s failed in a way its vendor did not foresee", self._calls.name, what)
            raise ClaimError(f"{self._calls.name}: {what} failed: {type(error).__name__}: {error}") from error


def _check_present(claim: ClaimReference, grants: Sequence[Grant], view: NodeView) -> None:
    """A device that vanished may still be in the view because another claim holds it."""
    for grant in grants:
        health = view.health(grant.device.name)
        if health.state == "unhealthy" and health.reason == VANISHED:
            raise ClaimError(f'claim {claim}: device "{grant.device.name}" vanished from this node: {health.message}')
