"""Scheduler, kubelet and engine of the pods of one namespace, as a test plays them: pods get a node, become ready, and
are gone when they are deleted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from chaos.engines import Engine
from chaos.history import Write
from fairlead.kube.client import Client
from fairlead.kube.errors import Conflict, NotFound
from fairlead.kube.kinds import PODS

DRAINING = "fairlead.dev/draining"
GANG, GANG_SPEC = "fairlead.dev/gang", "fairlead.dev/gang-spec"
Json = dict[str, Any]
_RAW = PODS.as_unstructured()
_CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready")


class Kubelet:
    """Give it every write of its namespace (`see`). Subclass it for nodes that misbehave."""

    def __init__(self, client: Client, namespace: str, node: str) -> None:
        self.client = client
        self.namespace = namespace
        self.node = node
        self.engines: dict[str, Engine] = {}  # uid of a pod -> its engine
        self.busy = 0
        """Requests that each engine has in flight, until `finish_s` after its pod was told to drain."""
        self.finish_s = 0.4
        self.cut: list[str] = []
        """Pods that were deleted with requests in flight."""
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._told: set[str] = set()
        self._gangs: dict[str, dict[str, Json]] = {}  # gang -> uid -> pods of it that wait for the others

    def see(self, write: Write) -> None:
        if write.kind != "Pod":
            return
        meta = write.obj["metadata"]
        uid = meta["uid"]
        if write.type == "DELETED" or "deletionTimestamp" in meta:
            for waiting in self._gangs.values():
                waiting.pop(uid, None)
        if write.type == "DELETED":
            self._stop(uid)
        elif "deletionTimestamp" in meta:
            if uid not in self._told:
                self._told.add(uid)
                engine = self.engines.get(uid)
                if engine is not None and engine.in_flight:
                    self.cut.append(meta["name"])
                self._do(uid, self._end(write.obj))
        elif uid not in self._doing:
            for pod in self._placeable(write.obj):
                self._do(pod["metadata"]["uid"], self._run(pod))
        if DRAINING in (meta.get("annotations") or {}) and (engine := self.engines.get(uid)) and engine.in_flight:
            asyncio.get_running_loop().call_later(self.finish_s, setattr, engine, "in_flight", 0)

    def _placeable(self, pod: Json) -> list[Json]:
        """A gang gets its places all at once, when so many of it are there as it says."""
        meta = pod["metadata"]
        gang = (meta.get("labels") or {}).get(GANG)
        if not gang:
            return [pod]
        waiting = self._gangs.setdefault(gang, {})
        waiting[meta["uid"]] = pod
        least = json.loads((meta.get("annotations") or {}).get(GANG_SPEC, "{}")).get("min", 1)
        return list(self._gangs.pop(gang).values()) if len(waiting) >= least else []

    async def close(self) -> None:
        for task in self._doing.values():
            task.cancel()
        await asyncio.gather(*self._doing.values(), return_exceptions=True)
        for engine in self.engines.values():
            engine.stop()

    @property
    def is_idle(self) -> bool:
        return all(task.done() for task in self._doing.values())

    def will_start(self, pod: Json) -> bool:
        """Whether the pod becomes ready."""
        return True

    def _do(self, uid: str, work: Any) -> None:
        before = self._doing.get(uid)
        if before is not None:
            before.cancel()
        self._doing[uid] = asyncio.create_task(work)

    def _stop(self, uid: str) -> None:
        if (engine := self.engines.get(uid)) is not None:
            engine.stop()

    async def _run(self, pod: Json) -> None:
        meta = pod["metadata"]
        path = PODS.path(self.namespace, meta["name"])
        binding = {
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"], "namespace": self.namespace},
            "target": {"kind": "Node", "name": self.node},
        }  # fmt: skip
        try:
            await self.client.request("POST", f"{path}/binding", body=binding)
            if not self.will_start(pod):
                return
            engine = Engine()
            await engine.start()
            engine.in_flight = self.busy
            self.engines[meta["uid"]] = engine
            await self.report(meta["name"], self.running(pod, engine))
        except (NotFound, Conflict):
            return

    async def fail(self, name: str) -> None:
        """The pod's process has ended and is not started again."""
        await self.report(name, {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}]})

    async def report(self, name: str, status: Json) -> None:
        await self.client.patch(_RAW, name, {"status": status}, self.namespace, subresource="status")

    def running(self, pod: Json, engine: Engine, *, ready: bool = True) -> Json:
        started = {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}
        containers = [
            {
                "name": c["name"], "image": c["image"], "imageID": "", "ready": ready, "started": True,
                "restartCount": 0, "state": started,
            }
            for c in pod["spec"]["containers"]
        ]  # fmt: skip
        said = {"ContainersReady": ready, "Ready": ready}
        return {
            "phase": "Running", "podIP": engine.address, "containerStatuses": containers,
            "conditions": [
                {"type": t, "status": "True" if said.get(t, True) else "False",
                 "lastTransitionTime": pod["metadata"]["creationTimestamp"]}
                for t in _CONDITIONS
            ],
        }  # fmt: skip

    async def _end(self, pod: Json) -> None:
        meta = pod["metadata"]
        try:
            await self.client.delete(PODS, meta["name"], self.namespace, grace_period_s=0, uid=meta["uid"])
        except (NotFound, Conflict):
            return
