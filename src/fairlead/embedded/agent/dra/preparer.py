"""Have drivers prepare the claims of pods before they start, and unprepare them when the last pod is gone.

Order, by which a kill at any point leaves no prepared claim without a record and no record without a way back:

1. every driver must be registered, else nothing is recorded;
2. the pod's use of its claims is written to the checkpoint;
3. the drivers are called, once each with all claims that they have not prepared yet;
4. what they answered is written to the checkpoint, and only then may containers start;
5. on release the drivers are called first, and the checkpoint forgets afterwards.

Calls for one claim never overlap. Drivers take repeated calls, which the protocol demands of them: an agent that starts
anew asks again before it starts a container.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.dra import state
from fairlead.embedded.agent.dra.answers import judge_prepared, judge_unprepared
from fairlead.embedded.agent.dra.checkpoint import Checkpoint
from fairlead.embedded.agent.dra.metrics import DraMetrics
from fairlead.embedded.agent.dra.plugins import Plugin, Plugins
from fairlead.embedded.agent.dra.state import ClaimRecord, Claims, WantedClaim, wanted_claim

if TYPE_CHECKING:
    from fairlead.embedded.agent.dra.connection import CallError

_log = logging.getLogger(__name__)


class PrepareError(Exception):
    """A pod's claims are not prepared; the message names the claim or driver, and what to do."""


class ReleaseError(Exception):
    """A pod's claims are not all given back yet; the message says why."""


class ClaimPreparer:
    def __init__(
        self, checkpoint: Checkpoint, claims: Claims, plugins: Plugins, metrics: DraMetrics, clock: Clock = SYSTEM
    ) -> None:
        """`claims` is what the checkpoint held at the start."""
        self._checkpoint = checkpoint
        self._claims = claims
        self._plugins = plugins
        self._metrics = metrics
        self._clock = clock
        self._writing = asyncio.Lock()
        self._locks: dict[str, _SharedLock] = {}
        self._confirmed: set[tuple[str, str]] = set()
        """(claim uid, driver) that were prepared in this agent's life."""

    @property
    def claims(self) -> Claims:
        return self._claims

    def holds(self, pod_uid: str) -> bool:
        """Whether the pod may have devices to give back."""
        return any(pod_uid in record.pods for record in self._claims.values())

    def is_prepared(self, pod_uid: str, names: Iterable[str]) -> bool:
        """Whether all these claims (by name) were prepared for the pod in this agent's life."""
        own = state.of_pod(self._claims, pod_uid)
        return all(name in own and self._is_confirmed(own[name]) for name in names)

    async def prepare(self, pod_uid: str, claims: Iterable[Mapping[str, Any]]) -> None:
        """Return once the drivers of all these ResourceClaims have prepared them. Raises PrepareError."""
        began_s, failed = self._clock.monotonic_s(), True
        try:
            await self._prepare(pod_uid, [wanted_claim(claim) for claim in claims])
            failed = False
        finally:
            self._metrics.observe_operation("PrepareResources", failed, self._clock.monotonic_s() - began_s)

    async def release(self, pod_uid: str) -> None:
        """Return once the drivers have unprepared what only this pod used. Raises ReleaseError; then to be repeated."""
        if not self.holds(pod_uid):
            return
        began_s, failed = self._clock.monotonic_s(), True
        try:
            await self._release(pod_uid)
            failed = False
        finally:
            self._metrics.observe_operation("UnprepareResources", failed, self._clock.monotonic_s() - began_s)

    async def _prepare(self, pod_uid: str, wanted: Sequence[WantedClaim]) -> None:
        self._require_drivers(wanted)
        async with self._locked(claim.uid for claim in wanted):
            for claim in wanted:
                older = state.find_namesake(self._claims, claim)
                if older is not None:
                    raise PrepareError(
                        f"an older ResourceClaim {claim.name} (UID {older.uid}) is not unprepared yet; "
                        "this one waits for that"
                    )
            try:
                await self._change(lambda claims: state.hold(claims, pod_uid, wanted))
            except OSError as error:
                raise PrepareError(f"the claims cannot be recorded in {self._checkpoint.path}: {error}") from error
            todo: dict[str, list[WantedClaim]] = {}
            for claim in wanted:
                for driver in claim.drivers:
                    if not self._is_answered(claim.uid, driver):
                        todo.setdefault(driver, []).append(claim)
            found = await asyncio.gather(*(self._prepare_by(driver, asked) for driver, asked in sorted(todo.items())))
            problems = [problem for part in found for problem in part]
            if problems:
                raise PrepareError("; ".join(problems))

    def _require_drivers(self, wanted: Sequence[WantedClaim]) -> None:
        for claim in wanted:
            for driver in sorted(claim.drivers):
                if self._plugins.find(driver) is None:
                    raise PrepareError(
                        f"DRA driver {driver} is not registered on this node, which ResourceClaim {claim.name} needs: "
                        "start the driver here, or look why it does not register"
                    )

    async def _prepare_by(self, driver: str, asked: Sequence[WantedClaim]) -> list[str]:
        """One driver's part; returns what went wrong, and records what went well."""
        plugin = self._plugins.find(driver)
        if plugin is None:
            return [f"DRA driver {driver} is not registered on this node any more"]
        try:
            answers = await plugin.connection.prepare([(c.uid, c.namespace, c.name) for c in asked])
        except _call_error() as error:
            return [str(error)]
        verdict = judge_prepared(driver, asked, answers)
        for problem in verdict.problems:
            _log.warning("%s", problem)
        try:
            await self._change(lambda claims: state.answer(claims, driver, verdict.devices))
        except OSError as error:
            return [*verdict.problems, f"the devices cannot be recorded in {self._checkpoint.path}: {error}"]
        self._confirmed.update((uid, driver) for uid in verdict.devices)
        return list(verdict.problems)

    async def _release(self, pod_uid: str) -> None:
        async with self._locked(uid for uid, record in self._claims.items() if pod_uid in record.pods):
            alone = {uid: record for uid, record in self._claims.items() if record.pods == (pod_uid,)}
            calls: dict[str, dict[str, str]] = {}  # driver -> claim uid -> claim name
            for uid, record in alone.items():
                for driver in record.drivers:
                    calls.setdefault(driver, {})[uid] = record.name
            found = await asyncio.gather(
                *(self._unprepare_by(driver, alone, uids) for driver, uids in sorted(calls.items()))
            )
            problems = [problem for part in found for problem in part]
            try:
                await self._change(lambda claims: state.forget_empty(state.leave(claims, pod_uid), alone))
            except OSError as error:
                problems.append(f"the release cannot be recorded in {self._checkpoint.path}: {error}")
            if problems:
                raise ReleaseError("; ".join(problems))

    async def _unprepare_by(self, driver: str, records: Claims, asked: Mapping[str, str]) -> list[str]:
        plugin: Plugin | None = self._plugins.find(driver)
        if plugin is None:
            names = ", ".join(asked.values())
            return [f"DRA driver {driver} is not registered on this node, which has to unprepare {names}: start it"]
        try:
            references = [(uid, records[uid].namespace, name) for uid, name in asked.items()]
            errors = await plugin.connection.unprepare(references)
        except _call_error() as error:
            return [str(error)]
        given_back, problems = judge_unprepared(driver, asked, errors)
        self._confirmed.difference_update((uid, driver) for uid in given_back)
        try:
            await self._change(lambda claims: state.give_back(claims, driver, given_back))
        except OSError as error:
            problems.append(f"the release cannot be recorded in {self._checkpoint.path}: {error}")
        return problems

    def _is_answered(self, uid: str, driver: str) -> bool:
        return self._claims[uid].drivers.get(driver) is not None and (uid, driver) in self._confirmed

    def _is_confirmed(self, record: ClaimRecord) -> bool:
        return all(self._is_answered(record.uid, driver) for driver in record.drivers)

    async def _change(self, step: Callable[[Claims], Claims]) -> None:
        """Take one step, on disk first. A cancelled caller does not stop it half-way. Raises OSError."""
        await asyncio.shield(asyncio.ensure_future(self._write(step)))

    async def _write(self, step: Callable[[Claims], Claims]) -> None:
        async with self._writing:
            changed = step(self._claims)
            if changed != self._claims:
                await asyncio.to_thread(self._checkpoint.save, changed)
            self._claims = changed

    @contextlib.asynccontextmanager
    async def _locked(self, uids: Iterable[str]) -> AsyncIterator[None]:
        """Hold the locks of these claims, taken in one order by everyone."""
        async with contextlib.AsyncExitStack() as stack:
            for uid in sorted(uids):
                await stack.enter_async_context(self._lock(uid))
            yield

    @contextlib.asynccontextmanager
    async def _lock(self, uid: str) -> AsyncIterator[None]:
        shared = self._locks.setdefault(uid, _SharedLock())
        shared.users += 1
        try:
            async with shared.lock:
                yield
        finally:
            shared.users -= 1
            if not shared.users:
                del self._locks[uid]


class _SharedLock:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


def _call_error() -> type[CallError]:
    # A registered plugin has loaded it already.
    from fairlead.embedded.agent.dra.connection import CallError

    return CallError
