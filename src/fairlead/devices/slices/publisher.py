"""One pool in the API: what is wanted of it, and rounds that bring the API there.

`plan` decides what to write; here it is written, and what the API answers is dealt with. What others change or delete
is put right; slices that a former process left are taken over as they are; a newer process for the same pool has the
say (`precedence`). Failures are tried again with growing delays, except what the API calls invalid: that rests until
something else is wanted, and the error names the device.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from fairlead.clock import Clock
from fairlead.devices.errors import DeviceError, InventoryError
from fairlead.devices.inventory import Inventory
from fairlead.devices.slices.features import ALL_FEATURES, Features, Taints, reduced
from fairlead.devices.slices.layout import SliceContent, compute_layout
from fairlead.devices.slices.plan import (
    Plan,
    Pool,
    Write,
    assignment,
    compute_plan,
    compute_withdrawal,
    content_of,
    newest,
)
from fairlead.devices.slices.pool_view import PoolView, by_pool
from fairlead.devices.slices.precedence import STAND_BACK_S, Mark, newer_publisher, should_stand_back
from fairlead.devices.slices.refusal import explained
from fairlead.devices.slices.rules import check_inventory
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.controller import Result
from fairlead.kube.errors import AlreadyExists, BadRequest, Conflict, Invalid, NotFound, RequestEntityTooLarge
from fairlead.kube.informer import Informer
from fairlead.kube.kinds import RESOURCE_SLICES
from fairlead.kube.objects import DeviceTaint, OwnerReference, ResourceSlice

_LOG = logging.getLogger("fairlead.devices.slices")
_NODE_BACKOFF: Final = Backoff(first_s=0.5, max_s=15.0, jitter=0.2)
_DOUBT_RETRY_S: Final = 6.0
FEATURES_AGE_S: Final = 600.0
"""How long it is believed that the server lacks a feature."""


class PublishError(DeviceError):
    """A pool cannot be published as things are, through no fault of its inventory."""


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """How far a pool is. `problem` is why the API is not in step, "" while nothing stands in the way. `left_out` names
    the feature gates without which parts of the inventory could not be published."""

    generation: int = 0
    slices: int = 0
    is_in_step: bool = False
    is_standing_back: bool = False
    problem: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a pool should be: an inventory, or nothing at all (`None`)."""

    inventory: Inventory | None
    taints: Mapping[str, tuple[DeviceTaint, ...]] = field(default_factory=dict)


class Surroundings(Protocol):
    """What a pool's publisher needs of the process it runs in (`hub.SlicePublisherHub`)."""

    mark: Mark

    def wake(self, publisher: PoolPublisher) -> None: ...
    async def features(self, pool: Pool, doubted: Features | None = None) -> Features: ...
    async def owner(self, node: str) -> OwnerReference | None: ...


class PoolPublisher:
    """One pool: one driver on one node. Made by `SlicePublisherHub.add`, kept in step while the hub runs."""

    def __init__(self, hub: Surroundings, pool: Pool, informer: Informer[ResourceSlice], clock: Clock) -> None:
        self.pool = pool
        self.status = PublisherStatus()
        self.view = PoolView(pool, informer.store, clock=clock)
        self._hub = hub
        self._clock = clock
        self._wanted: _Wanted | None = None
        self._version = 0
        self._settled = 0
        self._refusal: InventoryError | None = None
        self._wanted_since_s = 0.0
        self._others_wrote_s = float("-inf")
        self._seen_marks: tuple[tuple[str, str], ...] | None = None
        self._node_failures = 0
        # Slice name -> what was sent and how the server stored it, where that is not the same.
        self._stored_as: dict[str, tuple[SliceContent, SliceContent]] = {}
        self._is_surprised = False
        self._sent: ResourceSlice | None = None
        self._changed = asyncio.Condition()

    def want(self, inventory: Inventory, taints: Taints | None = None) -> None:
        """Say what the pool should be from now on; the hub sees to it. Raises InventoryError; nothing changes then."""
        check_inventory(inventory, taints, driver=self.pool.driver)
        self._set(_Wanted(inventory, {name: tuple(t) for name, t in (taints or {}).items() if t}))

    async def publish(
        self, inventory: Inventory, taints: Taints | None = None, *, timeout_s: float | None = None
    ) -> None:
        """`want`, and wait until the API has it. Raises as `want` and `settled` do."""
        self.want(inventory, taints)
        await self.settled(timeout_s)

    async def withdraw(self, *, timeout_s: float | None = None) -> None:
        """Take the pool out of the API, and wait until it is gone. Slices of a newer process stay. Raises as `settled`
        does."""
        self._set(_Wanted(None))
        await self.settled(timeout_s)

    async def settled(self, timeout_s: float | None = None) -> None:
        """Until the API has what is wanted now, or a newer process has the pool. The hub must be running.

        Raises InventoryError when the API refuses it, TimeoutError that says what stands in the way.
        """
        version = self._version
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._settled >= version or self._refusal is not None)
        except TimeoutError:
            why = f": {self.status.problem}" if self.status.problem else ""
            raise TimeoutError(f"pool {self.pool} not published within {timeout_s:g} s{why}") from None
        if self._settled < version and self._refusal is not None:
            raise self._refusal

    def _set(self, wanted: _Wanted) -> None:
        if wanted == self._wanted and self._refusal is None:
            return
        self._wanted = wanted
        self._wanted_since_s = self._clock.monotonic_s()
        self._version += 1
        self._refusal = None
        self.status = replace(self.status, is_in_step=False)
        self._hub.wake(self)

    async def reconcile(self, client: Client) -> Result | None:
        """One round towards what is wanted. For the hub."""
        wanted, version = self._wanted, self._version
        if wanted is None or self._refusal is not None:
            return None
        try:
            result = await self._step(client, wanted)
        except (Invalid, BadRequest, RequestEntityTooLarge) as error:
            self._refusal = explained(error, self._sent)
            await self._note(problem=str(self._refusal), is_in_step=False)
            _LOG.error("pool %s: %s", self.pool, self._refusal)
            return None
        except Exception as error:
            await self._note(problem=str(error) or type(error).__name__, is_in_step=False)
            raise
        if self.status.is_in_step or self.status.is_standing_back:
            self._settled = max(self._settled, version)
            await self._note()
        return result

    async def _step(self, client: Client, wanted: _Wanted) -> Result | None:
        await self.view.look_up_doubtful(client)
        existing = self.view.slices()
        self._note_other_writers(existing)
        newer = newer_publisher(existing, self._hub.mark)
        if wanted.inventory is None and newer is not None:
            return await self._stand_back(newer, existing, None)
        features = await self._hub.features(self.pool) if wanted.inventory is not None else ALL_FEATURES
        contents = self._contents(wanted, features, existing)
        plan = self._plan(contents, existing, None)
        now_s = self._clock.monotonic_s()
        if plan.writes and should_stand_back(newer, self._wanted_since_s, self._others_wrote_s, now_s):
            assert newer is not None
            return await self._stand_back(newer, existing, STAND_BACK_S)
        if any(write.action == "create" for write in plan.writes):
            try:
                owner = await self._hub.owner(self.pool.node)
            except NotFound:
                return await self._wait_for_node()
            plan = self._plan(contents, existing, owner)
        self._node_failures = 0
        for write in plan.writes:
            await self._write(client, write)
        if self._is_surprised and await self._has_changed(features):
            return Result(0.0)
        await self._note(
            generation=plan.generation, slices=len(contents or ()), is_in_step=True, is_standing_back=False, problem=""
        )
        if self.view.is_ahead:
            return Result(_DOUBT_RETRY_S)
        return Result(FEATURES_AGE_S) if self.status.left_out else None

    async def _has_changed(self, features: Features) -> bool:
        """Whether the server, which stored something otherwise than it was sent, has other features than before: it was
        replaced by one with other feature gates. Otherwise what it stored is taken as it is."""
        self._is_surprised = False
        if await self._hub.features(self.pool, doubted=features) != features:
            self._stored_as.clear()
            return True
        _LOG.warning("pool %s: the API server stores slices otherwise than they are sent; taken as they are", self.pool)
        return False

    def _contents(
        self, wanted: _Wanted, features: Features, existing: Sequence[ResourceSlice]
    ) -> tuple[SliceContent, ...] | None:
        """The slices that the pool should have; None where it should not be there at all."""
        if wanted.inventory is None:
            return None
        inventory, taints = reduced(wanted.inventory, wanted.taints, features)
        left_out = features.missing if (inventory, dict(taints)) != (wanted.inventory, dict(wanted.taints)) else ()
        if left_out and left_out != self.status.left_out:
            _LOG.warning(
                "pool %s: the API server does not store all of the inventory; feature gates that are off: %s",
                self.pool,
                ", ".join(left_out),
            )
        self.status = replace(self.status, left_out=left_out)
        contents = compute_layout(inventory, taints, assignment(self.pool, existing))
        return tuple(self._as_stored(content) for content in contents)

    def _plan(
        self,
        contents: tuple[SliceContent, ...] | None,
        existing: Sequence[ResourceSlice],
        owner: OwnerReference | None,
    ) -> Plan:
        if contents is None:
            return Plan(0, compute_withdrawal(existing))
        return compute_plan(self.pool, existing, contents, mark=str(self._hub.mark), owner=owner)

    async def _write(self, client: Client, write: Write) -> None:
        """One write. Raises what the API answers; a race with another writer is looked up first, so that the next round
        knows what is there."""
        self._sent = write.slice
        metadata = write.slice.metadata
        try:
            if write.action == "delete":
                await client.delete(
                    RESOURCE_SLICES, metadata.name, uid=metadata.uid, resource_version=metadata.resource_version
                )
                self.view.deleted(write.slice)
                return
            send = client.create if write.action == "create" else client.replace
            stored = await send(RESOURCE_SLICES, write.slice)
        except NotFound as error:
            # Kubelets remove the slices of their node when they start. The next round creates it anew.
            self.view.deleted(write.slice)
            if write.action != "delete":
                raise Conflict(f'ResourceSlice "{metadata.name}" was deleted meanwhile') from error
            return
        except (Conflict, AlreadyExists) as error:
            live = await self.view.look_up(client, metadata.name)
            if live is not None and by_pool(live) != (str(self.pool),):
                raise PublishError(
                    f'ResourceSlice "{metadata.name}" belongs to pool {"".join(by_pool(live)) or "of no name"}, not to '
                    f"{self.pool}: delete it, or rename one of the pools"
                ) from error
            raise
        self.view.wrote(stored)
        self._note_stored(write.slice, stored)

    def _note_stored(self, sent: ResourceSlice, stored: ResourceSlice) -> None:
        wrote, kept = content_of(self.pool, sent), content_of(self.pool, stored)
        if wrote is None or kept is None or wrote == kept:
            self._stored_as.pop(sent.metadata.name, None)
            return
        self._is_surprised = True
        self._stored_as[sent.metadata.name] = (wrote, kept)

    def _as_stored(self, content: SliceContent) -> SliceContent:
        """The content as the server stores it, where it is known to store another: or it would be sent for ever."""
        for sent, stored in self._stored_as.values():
            if sent == content:
                return stored
        return content

    def _note_other_writers(self, existing: Sequence[ResourceSlice]) -> None:
        """Remember when another process last wrote: seen by the versions of slices that do not bear our mark."""
        own = str(self._hub.mark)
        marks = tuple(
            (s.metadata.name, s.metadata.resource_version)
            for s in existing
            if own not in s.metadata.annotations.values()
        )
        if self._seen_marks is not None and marks != self._seen_marks:
            self._others_wrote_s = self._clock.monotonic_s()
        # What is there at the first look may be of a process that is gone (and whose clock was ahead of ours).
        self._seen_marks = marks

    async def _stand_back(self, newer: Mark, existing: Sequence[ResourceSlice], retry_s: float | None) -> Result | None:
        if not self.status.is_standing_back:
            _LOG.info("pool %s: left to the process %s, which started later", self.pool, newer)
        current = newest(existing)
        generation = max((s.spec.pool.generation for s in current if s.spec.pool), default=0)
        await self._note(
            generation=generation, slices=len(current), is_in_step=False, is_standing_back=True, problem=""
        )
        return None if retry_s is None else Result(retry_s)

    async def _wait_for_node(self) -> Result:
        self._node_failures += 1
        await self._note(
            problem=f'node "{self.pool.node}" does not exist; the pool is published once it does', is_in_step=False
        )
        return Result(_NODE_BACKOFF.delay_s(self._node_failures))

    async def _note(self, **changes: object) -> None:
        self.status = replace(self.status, **changes)  # type: ignore[arg-type]
        async with self._changed:
            self._changed.notify_all()
