"""A node's side of dynamic resource allocation as its pods use it: one object for drivers, claims, edits and health."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.claims import claim_name, extended_claim
from fairlead.embedded.agent.dra import absence, selection, state
from fairlead.embedded.agent.dra.absence import Absences
from fairlead.embedded.agent.dra.checkpoint import Checkpoint, CheckpointError
from fairlead.embedded.agent.dra.folder_watch import FolderWatch
from fairlead.embedded.agent.dra.health import DeviceKey
from fairlead.embedded.agent.dra.health_watch import EXPIRY_LOOK_S, HealthWatch
from fairlead.embedded.agent.dra.metrics import DraMetrics
from fairlead.embedded.agent.dra.plugins import Plugin, Plugins
from fairlead.embedded.agent.dra.preparer import ClaimPreparer, ReleaseError
from fairlead.embedded.agent.dra.registrar import Registrar
from fairlead.embedded.agent.pod import ContainerSpec, Pod

if TYPE_CHECKING:
    from fairlead.devices.cdi.cache import SpecCache
    from fairlead.devices.cdi.spec import ContainerEdits

CDI_DIRS = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Folders of CDI specs that all nodes of the machine share, lowest priority first; a node's own `cdi` comes last."""
REGISTRY, PLUGINS, CDI = "plugins_registry", "plugins", "cdi"
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
_PRESENCE_LOOK_S = 2.0
_log = logging.getLogger(__name__)


class EditsError(Exception):
    """A container cannot get its devices; the message names the device and what is missing."""


class Listener(Protocol):
    """What the node's agent does when something changes."""

    def driver_changed(self, driver: str) -> None:
        """A driver came or went: pods that wait for it may go on."""

    def pods_changed(self, uids: Iterable[str]) -> None:
        """The devices of these pods have another health."""

    def is_active(self, pod_uid: str) -> bool:
        """Whether the pod still exists here, in the API or as files of its containers."""

    def report(self, reason: str, message: str) -> None:
        """Tell people of something about the node."""

    async def withdraw_slices(self, driver: str) -> bool:
        """Delete the driver's ResourceSlices of the node; False where that has to be tried again."""


class NodeDevices:
    """`folder` is the node's root, as a kubelet's `/var/lib/kubelet`."""

    def __init__(
        self,
        folder: Path,
        watch: FolderWatch,
        cdi_dirs: Sequence[Path] = CDI_DIRS,
        clock: Clock = SYSTEM,
        *,
        driver_away_s: float = absence.LIMIT_S,
    ) -> None:
        """A driver that is away for `driver_away_s` loses its ResourceSlices of the node."""
        self._folder = folder
        self._watch = watch
        self._cdi_dirs = (*cdi_dirs, folder / CDI)
        self._clock = clock
        self._cache: SpecCache | None = None
        self._listener: Listener | None = None
        self._pods_known = asyncio.Event()
        self._reconcile = asyncio.Event()
        self._holding = asyncio.Event()
        self._absences = Absences(driver_away_s)
        self._driver_seen = asyncio.Event()
        self._metrics = DraMetrics()
        self._plugins = Plugins(self._driver_changed)
        self._health = HealthWatch(self._health_changed, clock)
        self._registrar = Registrar(
            folder / REGISTRY,
            self._plugins,
            serve=self._serve,
            report=lambda message: self._report("DRAPluginNotRegistered", message),
            observe=self._metrics.observe_call,
            clock=clock,
        )
        checkpoint = Checkpoint(folder)
        self._damage = ""
        claims: state.Claims = {}
        try:
            claims = checkpoint.load()
        except CheckpointError as error:
            claims = _claims_of_pods(folder)
            aside = checkpoint.replace_damaged(claims)
            self._damage = f"{error}; it is kept as {aside}, and the claims of present pods are prepared again"
            _log.error("%s", self._damage)
        self._preparer = ClaimPreparer(checkpoint, claims, self._plugins, self._metrics, clock)

    async def run(self, listener: Listener) -> None:
        """Register drivers and give back what no pod has any more, until cancelled."""
        self._listener = listener
        if self._damage:
            self._report("DRACheckpointDamaged", self._damage)
        for name in (PLUGINS, CDI):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._watch.add(self._folder / REGISTRY, self._registrar.look)
        self._registrar.look()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_reconciled())
                group.create_task(self._keep_health_fresh())
                group.create_task(self._keep_slices_true())
        finally:
            await self._registrar.stop()

    def reconcile(self) -> None:
        """All pods of the node are known by now, or one is gone: look for claims that no pod has."""
        self._pods_known.set()
        self._reconcile.set()

    def holds(self, pod: Pod) -> bool:
        """Whether the pod may have devices to give back."""
        return self._preparer.holds(pod.metadata.uid)

    def knows_devices(self, pod: Pod) -> bool:
        """Whether the drivers' answers for the pod are on record."""
        records = self._records(pod).values()
        return bool(records) and all(record.is_prepared for record in records)

    def remembered(self, pod: Pod) -> list[dict[str, Any]]:
        """The pod's claims and their drivers, as `_claims_of_pods` reads them."""
        records = self._records(pod).values()
        return [{"uid": r.uid, "namespace": r.namespace, "name": r.name, "drivers": sorted(r.drivers)} for r in records]

    def is_prepared(self, pod: Pod) -> bool:
        """Whether nothing is left to prepare for the pod. True for pods without claims."""
        return self._preparer.is_prepared(pod.metadata.uid, _claim_names(pod))

    async def prepare(self, pod: Pod, claims: Mapping[str, Mapping[str, Any]]) -> None:
        """Have the drivers prepare the pod's ResourceClaims. Raises PrepareError."""
        await self._preparer.prepare(pod.metadata.uid, claims.values())
        self._holding.set()

    async def release(self, pod: Pod) -> None:
        """Give back what only this pod used; its containers must be gone. Raises ReleaseError; then to be repeated."""
        await self._preparer.release(pod.metadata.uid)

    async def edits(self, pod: Pod, container: ContainerSpec) -> ContainerEdits | None:
        """What the container's devices change in it; None where it has none. Raises EditsError."""
        try:
            ids = selection.cdi_ids(pod, container, self._records(pod))
        except selection.MissingClaim as error:
            raise EditsError(str(error)) from error
        return await asyncio.to_thread(self._resolve, ids) if ids else None

    def allocated_resources(self, pod: Pod) -> dict[str, list[dict[str, Any]]]:
        """Container name -> `allocatedResourcesStatus`, of those containers that have one."""
        if not pod.spec.resource_claims:
            return {}
        records = self._records(pod)
        shown = {
            container.name: selection.allocated_resources(pod, container, records, self._health.health)
            for container in pod.spec.containers
            if container.resources.claims
        }
        return {name: entries for name, entries in shown.items() if entries}

    def metrics(self) -> str:
        """Prometheus text."""
        return self._metrics.render(self._preparer.claims.values())

    def _records(self, pod: Pod) -> dict[str, state.ClaimRecord]:
        return state.of_pod(self._preparer.claims, pod.metadata.uid)

    def _resolve(self, ids: Sequence[str]) -> ContainerEdits:
        from fairlead.devices.cdi.cache import SpecCache
        from fairlead.devices.cdi.errors import CdiError

        if self._cache is None:
            self._cache = SpecCache(self._cdi_dirs, clock=self._clock)
        try:
            return self._cache.resolve(ids)
        except CdiError as error:
            where = ", ".join(map(str, self._cdi_dirs))
            raise EditsError(f"CDI devices cannot be injected: {error} (looked in {where})") from error

    def _serve(self, plugin: Plugin) -> asyncio.Task[None]:
        return asyncio.create_task(self._health.follow(plugin), name=f"health of {plugin.driver}")

    def _driver_changed(self, driver: str) -> None:
        self._reconcile.set()
        if self._plugins.find(driver) is not None:
            self._absences.seen(driver)
            self._driver_seen.set()
        if self._listener is not None:
            self._listener.driver_changed(driver)

    def _health_changed(self, devices: set[DeviceKey]) -> None:
        pods: set[str] = set()
        for record in self._preparer.claims.values():
            held = {(driver, d.pool, d.device) for driver, found in record.drivers.items() for d in found or ()}
            if not held.isdisjoint(devices):
                pods.update(record.pods)
        if pods and self._listener is not None:
            self._listener.pods_changed(pods)

    def _report(self, reason: str, message: str) -> None:
        _log.warning("%s", message)
        if self._listener is not None:
            self._listener.report(reason, message)

    async def _keep_reconciled(self) -> None:
        """Release claims of pods that are gone, over and over until their drivers have them back."""
        delay_s, left = _FIRST_RETRY_S, False
        # Before that, every pod would seem to be gone.
        await self._pods_known.wait()
        while True:
            if left:
                try:
                    async with asyncio.timeout(delay_s):
                        await self._reconcile.wait()
                    delay_s = _FIRST_RETRY_S
                except TimeoutError:
                    delay_s = min(2 * delay_s, _LAST_RETRY_S)
            else:
                await self._reconcile.wait()
                delay_s = _FIRST_RETRY_S
            self._reconcile.clear()
            left = not await self._release_stale()

    async def _release_stale(self) -> bool:
        assert self._listener is not None
        known = {pod for record in self._preparer.claims.values() for pod in record.pods}
        stale = [pod for pod in sorted(known) if not self._listener.is_active(pod)]
        done = True
        for pod in stale:
            try:
                await self._preparer.release(pod)
                _log.info("claims of pod %s, which is gone, are given back", pod)
            except ReleaseError as error:
                _log.warning("claims of pod %s, which is gone, are not given back yet: %s", pod, error)
                done = False
        return done

    async def _keep_slices_true(self) -> None:
        """Withdraw the slices of drivers that stay away."""
        assert self._listener is not None
        await self._driver_seen.wait()
        while True:
            await self._clock.sleep(_PRESENCE_LOOK_S)
            usable = {driver: self._is_usable(driver) for driver in self._absences.drivers}
            for driver in self._absences.look(usable, self._clock.monotonic_s()):
                if await self._listener.withdraw_slices(driver):
                    self._absences.settled(driver)

    def _is_usable(self, driver: str) -> bool:
        plugin = self._plugins.find(driver)
        return plugin is not None and plugin.connection.is_connected

    async def _keep_health_fresh(self) -> None:
        if self._preparer.claims:
            self._holding.set()
        while True:
            await self._holding.wait()
            self._health.look_for_expired()
            if not self._preparer.claims:
                self._holding.clear()
            await self._clock.sleep(EXPIRY_LOOK_S)


def _claims_of_pods(folder: Path) -> state.Claims:
    """Which claims pods used, by the pods' own files, without the devices."""
    claims: state.Claims = {}
    for path in folder.glob("pods/*/pod.json"):
        try:
            record = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        wanted = [
            state.WantedClaim(c["uid"], c["namespace"], c["name"], dict.fromkeys(c["drivers"], frozenset()))
            for c in record.get("claims") or ()
        ]
        claims = state.hold(claims, record["uid"], wanted)
    return claims


def _claim_names(pod: Pod) -> list[str]:
    names = [claim_name(pod, use) or "" for use in pod.spec.resource_claims]
    extended = extended_claim(pod)
    if extended is not None:
        names.append(str(extended["resourceClaimName"]))
    return [name for name in names if name]
