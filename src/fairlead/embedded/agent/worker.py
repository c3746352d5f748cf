"""A pod's worker: gathers facts, asks the plan what to do, does it, and reports the status. One task per pod.

The worker may die with the agent at any point: what it needs to go on lies in the pod's folder, where `adopt` finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from fairlead.clock import SYSTEM, Clock, parse_time
from fairlead.embedded.agent import name_files
from fairlead.embedded.agent.addresses import AddressError, PodAddresses
from fairlead.embedded.agent.backoff import Backoff, BackoffPolicy
from fairlead.embedded.agent.claims import ClaimsPending, uses_claims
from fairlead.embedded.agent.cluster import Cluster, Token
from fairlead.embedded.agent.container import Container, load_pod
from fairlead.embedded.agent.containers import ContainerRunner
from fairlead.embedded.agent.dra.node_devices import NodeDevices
from fairlead.embedded.agent.dra.pod_devices import PodDevices
from fairlead.embedded.agent.dra.preparer import PrepareError
from fairlead.embedded.agent.environment import NodeView, PodView
from fairlead.embedded.agent.facts import PodFacts, Trouble
from fairlead.embedded.agent.name_files import ClusterDns
from fairlead.embedded.agent.plan import (
    Plan,
    PrepareSandbox,
    RemovePod,
    StartContainer,
    StopContainer,
    compute_plan,
    is_finished,
)
from fairlead.embedded.agent.pod import Pod, TokenProjection
from fairlead.embedded.agent.reporter import StatusReporter
from fairlead.embedded.agent.runtime import ProcessRuntime
from fairlead.embedded.agent.shim.main import write_durably
from fairlead.embedded.agent.slot import Slot
from fairlead.embedded.agent.starter import HostLimits
from fairlead.embedded.agent.status import TERMINAL, compute_status
from fairlead.embedded.agent.volumes import PodVolumes, VolumeError
from fairlead.kube.errors import ApiError

_VOLUME_RETRY_FIRST_S, _VOLUME_RETRY_LAST_S = 0.5, 60.0
_CLAIM_RETRY_S, _PREPARE_RETRY_LAST_S = 1.0, 30.0
_UNPREPARED = "FailedPrepareDynamicResources"
_TOKEN_REFRESH_SHARE = 0.8
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class NodeContext:
    """What all pods of a node share."""

    node: NodeView
    folder: Path
    cluster: Cluster
    runtime: ProcessRuntime
    addresses: PodAddresses
    devices: NodeDevices
    limits: HostLimits
    session: aiohttp.ClientSession
    environment: dict[str, str]
    policy: BackoffPolicy = field(default_factory=BackoffPolicy)
    dns: ClusterDns = field(default_factory=ClusterDns)
    refresh_s: float = 20.0
    clock: Clock = SYSTEM

    def pod_folder(self, uid: str) -> Path:
        return self.folder / "pods" / uid


class PodWorker:
    """Runs one pod until it is removed. `on_done` is told when nothing of it is left."""

    def __init__(self, context: NodeContext, pod: Pod, on_done: Callable[[str], None]) -> None:
        self.context = context
        self.pod = pod
        self.folder = context.pod_folder(pod.metadata.uid)
        self.slots: dict[str, Slot] = {}
        self.pod_ip = ""
        self.volumes: dict[str, Path] = {}
        self._on_done = on_done
        self._reporter = StatusReporter(context.cluster, context.clock)
        self.devices = PodDevices(context.devices, lambda: self.pod, self.lookup, self.record, context.clock)
        self._runner = ContainerRunner(self)
        self._pod_volumes = PodVolumes(self.folder / "volumes", self.lookup, self._token, context.folder / "images")
        self._tokens: dict[str, Token] = {}
        self._sandbox_ready = False
        self._preparing: asyncio.Task[None] | None = None
        self._giving_back: asyncio.Task[None] | None = None
        self._blocked: Trouble | None = None
        self._blocked_retries = 0
        self._ended: Trouble | None = None
        self._start_time_s = pod_start_time_s(pod) or context.clock.wall_s()
        self._status: dict[str, Any] = pod.status
        self._wake = asyncio.Event()
        self._stale = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._removing = False
        self._orphaned = False
        self._gone = False
        for container in pod.containers():
            self.slots[container.name] = Slot(container, container in pod.spec.init_containers)

    @property
    def view(self) -> PodView:
        return PodView(self.pod, self.pod_ip, self.context.node)

    def wake(self) -> None:
        self._wake.set()

    def update(self, pod: Pod) -> None:
        """The API has a newer version of the pod."""
        before, self.pod = self.pod.metadata, pod
        if (before.labels, before.annotations) != (pod.metadata.labels, pod.metadata.annotations):
            # What the downward API tells of the pod itself is not to wait for the next round, as with a kubelet.
            self._stale.set()
        for container in pod.containers():
            if container.name in self.slots:
                self.slots[container.name].spec = container
        self._wake.set()

    def retry_devices(self) -> None:
        """A driver came or went: what waits for one is tried again at once."""
        if self._blocked is not None and self._blocked.reason == _UNPREPARED:
            self._blocked = replace(self._blocked, retry_at_s=0.0)
        for slot in self.slots.values() if uses_claims(self.pod) else ():
            if slot.trouble is not None and slot.trouble.reason == "CreateContainerError":
                slot.trouble = replace(slot.trouble, retry_at_s=0.0)
        self._wake.set()

    def abandon(self) -> None:
        """The API no longer knows the pod: end what runs of it at once."""
        self._orphaned = True
        self._wake.set()

    async def lookup(self, resource: str, name: str) -> dict[str, Any] | None:
        return await self.context.cluster.get(resource, self.pod.metadata.namespace, name)

    def record(self, kind: str, reason: str, message: str, container: str = "") -> None:
        if container:
            field = "initContainers" if self.slots[container].is_init else "containers"
            container = f"spec.{field}{{{container}}}"
        self.context.cluster.record(self.pod, kind, reason, message, container)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("pod %s: a task failed", self.pod.full_name, exc_info=task.exception())

    async def adopt(self) -> None:
        """Take over what a former agent left of this pod."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            record = json.loads((self.folder / "pod.json").read_text())
            self.pod_ip, self._start_time_s = record["ip"], float(record["start_time"])
            self._sandbox_ready = bool(record["ready"])
            self.volumes = {name: Path(path) for name, path in record["volumes"].items()}
        if self.devices.are_lost:
            # Without a record of its claims nobody would give them back.
            self._sandbox_ready = False
        found = await asyncio.to_thread(load_pod, self.folder)
        for name, slot in self.slots.items():
            slot.attempts = found.get(name, [])[-2:]
            if slot.attempts:
                await self._adopt_container(slot, slot.attempts[-1])

    async def run(self) -> None:
        """Work until the pod is gone; cancelling leaves its containers running."""
        self.spawn(self._reporter.run())
        self.spawn(self._refresh_volumes())
        try:
            while not self._gone:
                self._wake.clear()
                wake_at_s = self.step()
                timeout_s = None if wake_at_s is None else max(0.01, wake_at_s - self.context.clock.wall_s())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), timeout_s)
        finally:
            for slot in self.slots.values():
                slot.cancel_tasks()
            for task in self._tasks:
                task.cancel()

    def step(self) -> float | None:
        """Plan once, report, and begin what is to be done; returns when to look again at the latest."""
        now_s = self.context.clock.wall_s()
        self._check_deadline(now_s)
        facts = self.facts()
        self._give_back_devices(facts)
        if self._is_settled():
            return None
        plan = compute_plan(self.pod, facts, self.context.policy, now_s)
        if (
            not plan.actions
            and is_finished(self.pod, facts)
            and not any(c.is_running for c in facts.containers.values())
        ):
            # Finished pods may stay for long: their address goes to others.
            self.context.addresses.release(self.pod.metadata.uid)
        self._status = compute_status(self.pod, facts, plan, now_s)
        if not self._orphaned and not self._removing:
            self._reporter.report(self.pod, self._status)
        self._perform(plan)
        return plan.wake_at_s

    def container_status(self, name: str) -> dict[str, Any]:
        """What the newest status says of a container; empty where nothing is known."""
        fields = ("initContainerStatuses", "containerStatuses")
        shown = [status for field in fields for status in self._status.get(field, ())]
        return next((status for status in shown if status["name"] == name), {})

    def facts(self) -> PodFacts:
        return PodFacts(
            host_ip=self.context.node.host_ip,
            pod_ip=self.pod_ip,
            sandbox_ready=self._sandbox_ready,
            start_time_s=self._start_time_s,
            blocked=self._blocked,
            ended=self._ended or self._ended_by_others(),
            deleting=self._orphaned or self.pod.metadata.deletion_timestamp is not None,
            devices_held=self.devices.are_held,
            allocated=self.context.devices.allocated_resources(self.pod),
            containers={name: slot.facts() for name, slot in self.slots.items()},
        )

    def grace_s(self) -> float:
        """How long a container gets to end now."""
        if self._orphaned:
            return 1.0
        grace = self.pod.metadata.deletion_grace_period_seconds
        return float(self.pod.spec.termination_grace_period_seconds if grace is None else grace)

    def _ended_by_others(self) -> Trouble | None:
        """A pod whose phase is terminal stays so, even where another component (an eviction) said it."""
        if self.pod.status.get("phase") != "Failed" or not self.pod.status.get("reason"):
            return None
        return Trouble(str(self.pod.status["reason"]), str(self.pod.status.get("message", "")))

    def _is_settled(self) -> bool:
        # A pod that had ended before this agent saw it, and of which nothing is on disk, is not run again.
        done = self.pod.status.get("phase") in TERMINAL and not any(slot.attempts for slot in self.slots.values())
        return done and not self._orphaned and self.pod.metadata.deletion_timestamp is None

    def _perform(self, plan: Plan) -> None:
        for action in plan.actions:
            match action:
                case PrepareSandbox() if self._preparing is None:
                    self._preparing = self.spawn(self._prepare())
                case StartContainer(name, number, backoff):
                    self._runner.start(self.slots[name], number, backoff)
                case StopContainer(name, reason):
                    self._runner.stop(self.slots[name], reason)
                case RemovePod() if not self._removing:
                    self._removing = True
                    self.spawn(self._remove())
        for name, trouble in (plan.waiting or {}).items():
            self._runner.note_waiting(self.slots[name], trouble)

    def _check_deadline(self, now_s: float) -> None:
        seconds = self.pod.spec.active_deadline_seconds
        if seconds is None or self._ended is not None or self.pod.status.get("phase") in TERMINAL:
            return
        if now_s >= self._start_time_s + seconds:
            message = "Pod was active on the node longer than the specified deadline"
            self._ended = Trouble("DeadlineExceeded", message)
            self.record("Normal", "DeadlineExceeded", message)

    async def _prepare(self) -> None:
        try:
            await self._prepare_sandbox()
            self._blocked, self._blocked_retries = None, 0
        except ClaimsPending as pending:
            self._block(_UNPREPARED, f"Failed to prepare dynamic resources: {pending}", _CLAIM_RETRY_S)
        except PrepareError as error:
            delay_s = min(_CLAIM_RETRY_S * 2 ** min(self._blocked_retries, 8), _PREPARE_RETRY_LAST_S)
            self._block(_UNPREPARED, f"Failed to prepare dynamic resources: {error}", delay_s)
        except (VolumeError, AddressError, ApiError, OSError, TimeoutError) as error:
            reason = "FailedCreatePodSandBox" if isinstance(error, AddressError) else "FailedMount"
            delay_s = min(_VOLUME_RETRY_FIRST_S * 2**self._blocked_retries, _VOLUME_RETRY_LAST_S)
            self._block(reason, str(error), delay_s)
        except Exception as error:
            self._block("FailedCreatePodSandBox", f"{type(error).__name__}: {error}", _VOLUME_RETRY_LAST_S)
            raise
        finally:
            self._preparing = None
            self._wake.set()

    async def _stop_preparing(self) -> None:
        task = self._preparing
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _give_back_devices(self, facts: PodFacts) -> None:
        """Of a pod that has ended; a deleted one gives them back before it is removed."""
        over = facts.ended is not None or is_finished(self.pod, facts) or self._is_settled()
        busy = any(c.is_running or c.starting for c in facts.containers.values())
        if over and not busy and not facts.deleting and facts.devices_held and self._giving_back is None:
            self._giving_back = self.spawn(self._give_back())

    async def _give_back(self) -> None:
        try:
            await self._stop_preparing()
            await self.devices.release()
        finally:
            self._giving_back = None
            self._wake.set()

    def _block(self, reason: str, message: str, delay_s: float) -> None:
        if self._blocked is None or self._blocked.message != message:
            self.record("Warning", reason, message)
        self._blocked_retries += 1
        self._blocked = Trouble(reason, message, self.context.clock.wall_s() + delay_s)

    async def _prepare_sandbox(self) -> None:
        await self.devices.prepare()
        uid = self.pod.metadata.uid
        self.pod_ip = self.context.node.host_ip if self.pod.spec.host_network else self.context.addresses.allocate(uid)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remember(ready=False)
        self.volumes = await self._pod_volumes.prepare(self.view)
        if self.context.limits.mounts:
            await asyncio.to_thread(name_files.write, self.folder, self.pod, self.pod_ip, self.context.dns)
        self._sandbox_ready = True
        self._remember(ready=True)

    def _remember(self, *, ready: bool) -> None:
        record = {
            "uid": self.pod.metadata.uid,
            "namespace": self.pod.metadata.namespace,
            "name": self.pod.metadata.name,
            "ip": self.pod_ip,
            "start_time": self._start_time_s,
            "ready": ready,
            "volumes": {name: str(path) for name, path in self.volumes.items()},
            "claims": self.devices.remembered(),
        }
        write_durably(str(self.folder / "pod.json"), record)

    async def _refresh_volumes(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stale.wait(), self.context.refresh_s)
            self._stale.clear()
            if not self._sandbox_ready or not self._pod_volumes.has_content(self.view):
                continue
            # A source that is away for now leaves the volume as it was.
            with contextlib.suppress(VolumeError, ApiError, OSError, TimeoutError):
                await self._pod_volumes.prepare(self.view)

    async def _token(self, projection: TokenProjection) -> str:
        key = f"{projection.audience}/{projection.expiration_seconds}"
        known = self._tokens.get(key)
        now_s = self.context.clock.wall_s()
        if known is not None:
            margin_s = (1 - _TOKEN_REFRESH_SHARE) * projection.expiration_seconds
            if now_s < known.expires_at_s - margin_s:
                return known.value
        self._tokens[key] = await self.context.cluster.request_token(self.pod, projection)
        return self._tokens[key].value

    async def _adopt_container(self, slot: Slot, container: Container) -> None:
        remembered = container.config["meta"].get("backoff")
        slot.backoff = Backoff(*remembered) if remembered else None
        fields = ("initContainerStatuses", "containerStatuses")
        statuses = [s for field in fields for s in self.pod.status.get(field, ()) if s["name"] == slot.spec.name]
        if statuses and statuses[0].get("containerID") == container.id:
            slot.startup_passed = bool(statuses[0].get("started"))
            slot.ready = bool(statuses[0].get("ready"))
        await self._runner.adopt(slot)

    async def _remove(self) -> None:
        await self._stop_preparing()
        await self.devices.release()
        if not self._orphaned:
            await self._reporter.settled()
            delay_s = 0.2
            while not self._reporter.is_gone:
                try:
                    await self.context.cluster.remove_pod(self.pod)
                    break
                except (ApiError, OSError, TimeoutError):
                    await self.context.clock.sleep(delay_s)
                    delay_s = min(2 * delay_s, 5.0)
        await asyncio.to_thread(shutil.rmtree, self.folder, True)
        self.context.addresses.release(self.pod.metadata.uid)
        self._gone = True
        self._wake.set()
        self._on_done(self.pod.metadata.uid)


def pod_start_time_s(pod: Pod) -> float | None:
    """The start time that was reported for a pod, if any."""
    text = pod.status.get("startTime")
    return parse_time(text) if text else None
