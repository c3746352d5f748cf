"""Churn against real processes: workloads come and go, nodes fall ill, and processes are killed at random moments.

python -m scheduling.chaos.live --minutes 5       (with `tests` on PYTHONPATH)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fairlead.clock import SYSTEM, format_micro_time, format_time
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import (
    DEVICE_CLASSES,
    LEASES,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SERVICE_ACCOUNTS,
)
from fairlead.kube.transport import Unreachable
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.verdict import Placed
from scheduling.chaos.live_processes import Processes
from scheduling.chaos.live_watch import CPU_OF_NODE, NAMESPACE, Watch, cpu_of, is_done
from scheduling.chaos.objects import GPU, RACK, request

_TROUBLE: Final = (ApiError, Unreachable, TimeoutError, OSError)
_TEMPLATES: Final[dict[str, dict[str, Any]]] = {
    "card": {"requests": [request("card")]},
    "cards": {"requests": [request("card", 2)]},
    "half": {"requests": [request("half")]},
    "whole": {"requests": [request("whole")]},
    "share": {"requests": [request("shared", capacity="10Gi")]},
}


@dataclass
class Live:
    """A cluster of real processes, and a kubelet for all its nodes that does not sleep."""

    folder: Path
    seed: int
    nodes: int = 6
    pods: int = 40
    disturb_every_s: float = 4.0
    made: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.processes = Processes(self.folder)
        self._no_server_s = -math.inf

    async def run(self, for_s: float) -> Watch:
        """All of it: churn, rest, and the end of everything. Raises AssertionError for what is wrong."""
        await self.processes.begin()
        try:
            async with Client.load(self.processes.kubeconfig) as self.client, Informers(self.client) as informers:
                self.watch = Watch(informers)
                await self._build()
                self.watch.begin()
                await self.watch.pods.wait_synced()
                await self.watch.claims.wait_synced()
                await self._live(for_s)
                await self._rest()
                await self._finish()
                return self.watch
        finally:
            self.processes.end()

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # What there is

    async def _build(self) -> None:
        c = self.client
        await self._until(self._has_account, 30.0, "there is no service account")
        selector = {"cel": {"expression": f'device.driver == "{GPU}"'}}
        await c.create(DEVICE_CLASSES.as_unstructured(), {"metadata": {"name": GPU}, "spec": {"selectors": [selector]}})
        for name, value in (("low", 0), ("high", 1000)):
            await c.create(PRIORITY_CLASSES.as_unstructured(), {"metadata": {"name": name}, "value": value})
        for name, devices in _TEMPLATES.items():
            body = {"metadata": {"name": name}, "spec": {"spec": {"devices": devices}}}
            await c.create(RESOURCE_CLAIM_TEMPLATES.as_unstructured(), body, NAMESPACE)
        for i in range(self.nodes):
            await self._add_node(f"n{i}", f"r{i % 2}")

    async def _has_account(self) -> bool:
        return bool((await self.client.list(SERVICE_ACCOUNTS, NAMESPACE)).items)

    async def _add_node(self, name: str, rack: str) -> None:
        labels = {"kubernetes.io/hostname": name, RACK: rack}
        nodes = NODES.as_unstructured()
        await self.client.create(nodes, {"metadata": {"name": name, "labels": labels}})
        amounts = {"cpu": str(int(CPU_OF_NODE)), "memory": "64Gi", "pods": "30"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
        await self.client.patch(nodes, name, {"status": status}, subresource="status")
        await self.client.patch(nodes, name, {"spec": {"taints": None}})
        await self._publish(name, 1)

    async def _publish(self, node: str, generation: int, missing: str = "", tainted: str = "") -> None:
        """Cards, a die that can be cut, and a device that is given out in shares."""
        kinds = {"card0": "card", "card1": "card", "card2": "card", "whole": "whole", "half0": "half", "half1": "half"}
        devices: list[dict[str, Any]] = []
        for name, kind in kinds.items():
            device: dict[str, Any] = {"name": name, "attributes": {"kind": {"string": kind}}}
            if kind in ("whole", "half"):
                value = "4" if kind == "whole" else "2"
                device["consumesCounters"] = [{"counterSet": "die", "counters": {"slices": {"value": value}}}]
            devices.append(device)
        policy = {"default": "10Gi", "validRange": {"min": "1Gi", "step": "1Gi"}}
        shared = {"name": "shared", "attributes": {"kind": {"string": "shared"}}, "allowMultipleAllocations": True}
        devices.append({**shared, "capacity": {"memory": {"value": "40Gi", "requestPolicy": policy}}})
        devices = [device for device in devices if device["name"] != missing]
        for device in devices:
            if device["name"] == tainted:
                device["taints"] = [{"key": "fault", "value": "xid", "effect": "NoExecute"}]
        counters = [{"name": "die", "counters": {"slices": {"value": "4"}}}]
        for suffix, offer in (("counters", {"sharedCounters": counters}), ("devices", {"devices": devices})):
            pool = {"name": node, "generation": generation, "resourceSliceCount": 2}
            body = {
                "metadata": {"name": f"{node}-{suffix}"},
                "spec": {"driver": GPU, "nodeName": node, "pool": pool, **offer},
            }
            await self._put(RESOURCE_SLICES.as_unstructured(), body)

    async def _put(self, resource: Any, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        try:
            found = await self.client.get(resource, name)
        except ApiError:
            await self.client.create(resource, body)
            return
        await self.client.replace(resource, {**found, "spec": body["spec"]})

    # Churn

    async def _live(self, for_s: float) -> None:
        self._end_s = time.monotonic() + for_s
        async with asyncio.TaskGroup() as group:
            kubelet = group.create_task(self._kubelet())
            heart = group.create_task(self._heartbeat())
            await asyncio.gather(self._churn(), self._disturb())
            kubelet.cancel()
            heart.cancel()

    async def _churn(self) -> None:
        generation = 1
        acts: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (10, self._submit), (4, self._delete), (1, self._node), (1, self._claims),
        ]  # fmt: skip
        weights, choices = zip(*acts, strict=True)
        while time.monotonic() < self._end_s:
            with contextlib.suppress(*_TROUBLE):
                if self.dice.random() < 0.05:
                    generation += 1
                    missing, tainted = self.dice.choice([("", ""), ("", ""), ("card0", ""), ("", "card1")])
                    await self._publish(f"n{self.dice.randrange(self.nodes)}", generation, missing, tainted)
                else:
                    await self.dice.choices(choices, weights)[0]()
            self.watch.check_now()
            self._check()
            await asyncio.sleep(self.dice.choice([0.0, 0.01, 0.05, 0.2]))

    def _check(self) -> None:
        assert not self.watch.broken, self.watch.broken
        for name in self.processes.dead():
            # A process that finds no API server when it begins may end; whoever supervises it begins it anew.
            assert time.monotonic() < self._no_server_s + 15, f"{name} ended: {self.processes.tail(name)}"
            self.count(f"begun anew: {name}")
            self.processes.start(name)

    async def _submit(self) -> None:
        """A pod, or a gang; some of its members come a little later."""
        dice = self.dice
        if len(self.watch.pods.store) >= self.pods:
            return
        self.made += 1
        name, template = f"w{self.made}", dice.choice([*_TEMPLATES, "", ""])
        size = dice.choice([1, 1, 1, 2, 3, 4])
        minimum = dice.choice([size, max(1, size - 1)])
        labels, annotations = {}, {}
        if size > 1:
            spec: dict[str, Any] = {"min": minimum}
            if dice.random() < 0.3:
                spec["topology"] = {"required": RACK}
            labels["fairlead.dev/gang"] = name
            annotations["fairlead.dev/gang-spec"] = json.dumps(spec)
            self.watch.gangs[name] = minimum
        shared = ""
        if dice.random() < 0.15:
            shared = f"{name}-shared"
            body = {"metadata": {"name": shared}, "spec": {"devices": _TEMPLATES["share"]}}
            await self.client.create(RESOURCE_CLAIMS.as_unstructured(), body, NAMESPACE)
        priority = dice.choice(["low", "low", "low", "high"])
        for i in range(size):
            uses = [{"name": "own", "resourceClaimTemplateName": template}] if template else []
            uses += [{"name": "shared", "resourceClaimName": shared}] if shared else []
            container = {"name": "c", "image": "a", "resources": {"requests": {"cpu": dice.choice(["500m", "1", "2"])}}}
            body = {
                "metadata": {"name": f"{name}-{i}", "labels": labels, "annotations": annotations},
                "spec": {
                    "schedulerName": "fairlead", "priorityClassName": priority, "containers": [container],
                    "terminationGracePeriodSeconds": 1, "resourceClaims": uses, "restartPolicy": "Never",
                },
            }  # fmt: skip
            await self.client.create(PODS.as_unstructured(), body, NAMESPACE)
            self.count("pods made")
            if dice.random() < 0.2:
                await asyncio.sleep(0.1)

    async def _delete(self) -> None:
        """Somebody has enough of a workload."""
        pods = [pod for pod in self.watch.pods.store if not pod.metadata.is_deleting]
        if not pods:
            return
        name = self.dice.choice(pods).metadata.name.rpartition("-")[0]
        for pod in pods:
            if pod.metadata.name.rpartition("-")[0] == name:
                with contextlib.suppress(ApiError):
                    await self.client.delete(PODS, pod.metadata.name, NAMESPACE)

    async def _claims(self) -> None:
        """Shared claims whose pods are gone are cleaned up."""
        used = {pod.metadata.name.rpartition("-")[0] for pod in self.watch.pods.store}
        for claim in self.watch.claims.store:
            name = claim.metadata.name
            if name.endswith("-shared") and name.removesuffix("-shared") not in used:
                with contextlib.suppress(ApiError):
                    await self.client.delete(RESOURCE_CLAIMS, name, NAMESPACE)

    async def _node(self) -> None:
        name, dice = f"n{self.dice.randrange(self.nodes)}", self.dice
        spec: dict[str, Any] = {"unschedulable": dice.choice([True, None, None])}
        if dice.random() < 0.3:
            spec["taints"] = dice.choice([None, [{"key": "sick", "effect": "NoSchedule"}]])
        await self.client.patch(NODES.as_unstructured(), name, {"spec": spec})

    async def _disturb(self) -> None:
        """Processes are killed, stopped and doubled."""
        while time.monotonic() < self._end_s:
            await asyncio.sleep(self.dice.uniform(0.2, 2 * self.disturb_every_s))
            dice, processes = self.dice, self.processes
            what = dice.choice(["scheduler", "scheduler", "scheduler", "apiserver", "freeze", "controllers", "second"])
            self.count(f"disturbed: {what}")
            self.watch.disturbed()
            if what in ("freeze", "apiserver"):
                self._no_server_s = time.monotonic()
            if what == "freeze":
                await processes.freeze("apiserver", dice.uniform(0.2, 3.0))
            elif what == "second":
                self.watch.several = True
                processes.start("second")
                await asyncio.sleep(dice.uniform(3.0, 6.0))
                processes.kill("second")
                await asyncio.sleep(1.0)
                # What it has filled twice stays so; from here on nothing is added to it.
                await self._relieve()
                self.watch.several = False
            else:
                await processes.restart(what, dice.choice([0.0, 0.0, 1.0]))
            self.watch.disturbed()

    async def _relieve(self) -> None:
        """The kubelet turns away what two schedulers have put on a full node."""
        for i in range(self.nodes):
            free = CPU_OF_NODE
            for pod in sorted(self._on(f"n{i}"), key=lambda pod: pod.metadata.name):
                free -= cpu_of(pod)
                if free < 0:
                    with contextlib.suppress(*_TROUBLE):
                        await self.client.delete(PODS, pod.metadata.name, NAMESPACE, grace_period_s=0)
        await asyncio.sleep(0.5)

    def _on(self, node: str) -> list[Any]:
        return [p for p in self.watch.pods.store if p.spec.node_name == node and not is_done(p)]

    # The kubelets

    async def _kubelet(self) -> None:
        while True:
            for pod in list(self.watch.pods.store):
                with contextlib.suppress(*_TROUBLE):
                    await self._tend(pod)
            await asyncio.sleep(0.1)

    async def _tend(self, pod: Any) -> None:
        name = pod.metadata.name
        if pod.metadata.is_deleting and (pod.spec.node_name or is_done(pod)):
            await self.client.delete(PODS, name, NAMESPACE, grace_period_s=0, uid=pod.metadata.uid)
        elif is_done(pod):
            if self.dice.random() < 0.3:
                await self.client.delete(PODS, name, NAMESPACE, uid=pod.metadata.uid)
        elif pod.spec.node_name and pod.status.phase == "Pending":
            status = {"phase": "Running", "startTime": format_time(SYSTEM.wall_s())}
            await self.client.patch(PODS.as_unstructured(), name, {"status": status}, NAMESPACE, subresource="status")
            self.count("pods run")
        elif "fairlead.dev/gang" not in pod.metadata.labels and pod.status.phase == "Running" and self._ends():
            done = {"status": {"phase": self.dice.choice(["Succeeded", "Failed"])}}
            await self.client.patch(PODS.as_unstructured(), name, done, NAMESPACE, subresource="status")

    def _ends(self) -> bool:
        return self.dice.random() < 0.01

    async def _heartbeat(self) -> None:
        leases = LEASES.as_unstructured()
        while True:
            for i in range(self.nodes):
                with contextlib.suppress(*_TROUBLE):
                    spec = {"holderIdentity": f"n{i}", "renewTime": format_micro_time(SYSTEM.wall_s())}
                    meta = {"name": f"n{i}", "namespace": "kube-node-lease"}
                    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
                    await self.client.apply(leases, body, force=True, field_manager="kubelet")
            await asyncio.sleep(5.0)

    # The end

    async def _rest(self) -> None:
        """All that fits is placed, nothing is held for nobody, no gang stands in part."""
        for i in range(self.nodes):
            await self._until(lambda i=i: self._heal(i), 30.0, f"n{i} cannot be healed")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._kubelet()), group.create_task(self._heartbeat())]
            try:
                await self._until(self._is_at_rest, 60.0, "")
            except AssertionError as error:
                leaks, left = self.watch.leaks(), await self._unplaced()
                raise AssertionError(f"{error}: {leaks}, not placed: {left}, partial: {self._partial()}") from error
            finally:
                for task in tasks:
                    task.cancel()
        self._check()

    async def _heal(self, number: int) -> bool:
        name = f"n{number}"
        await self.client.patch(NODES.as_unstructured(), name, {"spec": {"unschedulable": None, "taints": None}})
        await self._publish(name, 1_000_000)
        return True

    async def _is_at_rest(self) -> bool:
        self._check()
        is_still = all(
            p.status.phase in ("Running", "Pending") and not p.metadata.is_deleting for p in self.watch.pods.store
        )
        return is_still and not self.watch.leaks() and not self._partial() and not await self._unplaced()

    def _partial(self) -> list[str]:
        standing: dict[str, int] = {}
        for pod in self.watch.pods.store:
            gang = pod.metadata.labels.get("fairlead.dev/gang", "")
            if gang and pod.spec.node_name and pod.status.phase != "Failed":
                standing[gang] = standing.get(gang, 0) + 1
        return [
            f"{gang}: {n} of {self.watch.gangs[gang]}" for gang, n in standing.items() if n < self.watch.gangs[gang]
        ]

    async def _unplaced(self) -> list[str]:
        """Gangs that a planner afresh would place, and that wait."""
        planner = Planner(Settings())
        for kind in (NODES, DEVICE_CLASSES, RESOURCE_SLICES, RESOURCE_CLAIMS, PODS):
            for obj in (await self.client.list(kind)).items:
                planner.see(obj)
        now_s = SYSTEM.wall_s()
        waiting = [gang for gang in planner.gangs.values() if gang.pods]
        return [gang.key for gang in waiting if isinstance(planner.verdict_of(gang, now_s), Placed)]

    async def _finish(self) -> None:
        """Everything is deleted, and nothing stays behind."""
        async with asyncio.TaskGroup() as group:
            kubelet = group.create_task(self._kubelet())
            for pod in list(self.watch.pods.store):
                with contextlib.suppress(ApiError):
                    await self.client.delete(PODS, pod.metadata.name, NAMESPACE)
            for claim in list(self.watch.claims.store):
                if claim.metadata.name.endswith("-shared"):
                    with contextlib.suppress(ApiError):
                        await self.client.delete(RESOURCE_CLAIMS, claim.metadata.name, NAMESPACE)
            try:
                await self._until(self._is_empty, 30.0, "")
            except AssertionError:
                claims = [(c.metadata.name, c.metadata.finalizers, c.status) for c in self.watch.claims.store]
                pods = [(p.metadata.name, p.spec.node_name, p.metadata.is_deleting) for p in self.watch.pods.store]
                raise AssertionError(f"left behind: {claims}, {pods}") from None
            finally:
                kubelet.cancel()

    async def _is_empty(self) -> bool:
        return not len(self.watch.pods.store) and not len(self.watch.claims.store)

    async def _until(self, condition: Callable[[], Awaitable[bool]], timeout_s: float, otherwise: str) -> None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(*_TROUBLE):
                if await condition():
                    return
            assert time.monotonic() < deadline_s, f"{otherwise or 'not yet'} after {timeout_s:g} s"
            await asyncio.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.mkdtemp(prefix="churn-")))
    asked = parser.parse_args()
    live = Live(asked.folder, asked.seed)
    print(f"seed {asked.seed}, logs in {asked.folder}", flush=True)
    try:
        watch = asyncio.run(live.run(asked.minutes * 60))
    finally:
        print(f"{live.counts}", flush=True)
    print(f"{dict(watch.counts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
