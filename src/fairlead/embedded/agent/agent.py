"""One virtual node at work: its pods' workers, its registration, its kubelet API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from fairlead.embedded.agent import cgroups
from fairlead.embedded.agent.addresses import restore_addresses
from fairlead.embedded.agent.api import PODS, ApiCluster
from fairlead.embedded.agent.container import load_pod
from fairlead.embedded.agent.pod import Pod, decode_pod
from fairlead.embedded.agent.registration import Registration
from fairlead.embedded.agent.runtime import ProcessRuntime
from fairlead.embedded.agent.worker import NodeContext, PodWorker
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.resources import Resource, uid_of

SLICES = Resource.of("resource.k8s.io/v1", "resourceslices", "ResourceSlice", namespaced=False)
_log = logging.getLogger(__name__)


class NodeAgent:
    """Runs the pods that the API binds to its node. `run` until cancelled; pods then live on for the next agent."""

    def __init__(self, client: Client, context: NodeContext, cluster: ApiCluster, registration: Registration) -> None:
        self._client = client
        self._cluster = cluster
        self._registration = registration
        self.context = context
        self.workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cleaning: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        pods = self.context.folder / "pods"
        pods.mkdir(parents=True, exist_ok=True)
        restore_addresses(pods, self.context.addresses)
        informer = Informer(
            self._client, PODS, field_selector=f"spec.nodeName={self.context.node.name}", clock=self.context.clock
        )
        informer.add_handler(Handler(self.put, lambda old, new: self.put(new), self.drop))
        await self._registration.register()
        try:
            async with self._cluster.events, asyncio.TaskGroup() as group:
                group.create_task(self.context.devices.run(self))
                group.create_task(self._registration.run())
                group.create_task(informer.run())
                await informer.synced.wait()
                self._clean_orphans()
                self.context.devices.reconcile()
        finally:
            for task in (*self._tasks.values(), *self._cleaning):
                task.cancel()
            await asyncio.gather(*self._tasks.values(), *self._cleaning, return_exceptions=True)

    def driver_changed(self, driver: str) -> None:
        """A DRA driver registered with this node, or is not there any more."""
        for worker in self.workers.values():
            worker.retry_devices()

    def pods_changed(self, uids: Iterable[str]) -> None:
        """The devices of these pods have another health."""
        for uid in uids:
            if uid in self.workers:
                self.workers[uid].wake()

    def is_active(self, pod_uid: str) -> bool:
        """Whether there is, or may be, something of the pod on this node."""
        return pod_uid in self.workers or (self.context.folder / "pods" / pod_uid).exists()

    async def withdraw_slices(self, driver: str) -> bool:
        """Delete the ResourceSlices of a driver that is away; False where that has to be tried again."""
        node = self.context.node.name
        selector = f"spec.nodeName={node},spec.driver={driver}"
        try:
            await self._client.delete_collection(SLICES, field_selector=selector)
        except NotFound:
            return True
        except (ApiError, OSError, TimeoutError) as error:
            _log.warning("node %s: the ResourceSlices of driver %s cannot be deleted yet: %s", node, driver, error)
            return False
        message = f"DRA driver {driver} is away: its ResourceSlices of this node are deleted until it is back"
        self.report("DRADriverAway", message)
        return True

    def report(self, reason: str, message: str) -> None:
        self._cluster.record_node("Warning", reason, message)

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod by name; the newest where a name was used again."""
        found = [
            w for w in self.workers.values() if (w.pod.metadata.namespace, w.pod.metadata.name) == (namespace, name)
        ]
        return found[-1] if found else None

    def put(self, value: dict[str, Any]) -> None:
        """The API says that this pod is on this node, in this version."""
        try:
            pod = decode_pod(value)
        except msgspec.ValidationError as error:
            _log.error("pod %s: cannot be understood: %s", value.get("metadata", {}).get("name"), error)
            return
        worker = self.workers.get(pod.metadata.uid)
        if worker is not None:
            worker.update(pod)
        else:
            self._begin(pod)

    def drop(self, value: dict[str, Any]) -> None:
        """The API no longer has this pod."""
        worker = self.workers.get(uid_of(value))
        if worker is not None:
            worker.abandon()

    def _begin(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        worker = PodWorker(self.context, pod, self._forget)
        self.workers[uid] = worker
        self._tasks[uid] = asyncio.create_task(self._work(worker))

    async def _work(self, worker: PodWorker) -> None:
        try:
            await worker.adopt()
            await worker.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("the worker of pod %s failed; it starts again", worker.pod.full_name)
            await self.context.clock.sleep(1.0)
            if self.workers.get(worker.pod.metadata.uid) is worker:
                self._begin(worker.pod)

    def _forget(self, uid: str) -> None:
        self.workers.pop(uid, None)
        self._tasks.pop(uid, None)

    def _clean_orphans(self) -> None:
        """End what is on disk of pods that the API does not bind to this node."""
        for folder in (self.context.folder / "pods").iterdir():
            if folder.name not in self.workers:
                task = asyncio.create_task(remove_pod_folder(self.context.runtime, folder))
                self._cleaning.add(task)
                task.add_done_callback(self._cleaned)
                self.context.addresses.release(folder.name)

    def _cleaned(self, task: asyncio.Task[None]) -> None:
        self._cleaning.discard(task)
        self.context.devices.reconcile()


async def remove_pod_folder(runtime: ProcessRuntime, folder: Path) -> None:
    """Kill every process of a pod by its folder, then delete it."""
    await end_pod(runtime, folder)
    await asyncio.to_thread(shutil.rmtree, folder, True)


async def end_pod(runtime: ProcessRuntime, folder: Path) -> None:
    """Kill every process of a pod by its folder; what the containers ended with stays on disk."""
    for attempts in (await asyncio.to_thread(load_pod, folder)).values():
        for container in attempts:
            await asyncio.to_thread(cgroups.remove, container.config.get("cgroup") if container.exit else None)
            while container.exit is None:
                runtime.kill(container)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(runtime.wait(container), 1.0)
