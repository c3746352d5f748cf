"""A namespace of a real API server with nodes and devices of its own, for schedulers under test."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import (
    DEVICE_CLASSES,
    NODES,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)
from fairlead.kube.objects import Pod, ResourceClaim
from fairlead.scheduling.controller import Scheduler
from fairlead.scheduling.settings import Settings
from patience import PATIENCE_S
from scheduling.commit.faulty_proxy import Proxy, proxied

Object = dict[str, Any]


@dataclass
class Cluster:
    """What tests of the live scheduler do. Nodes, classes and the scheduler have names of their own: many share a
    server."""

    client: Client
    namespace: str
    nodes: list[str] = field(default_factory=list)
    devices: int = 0

    @property
    def driver(self) -> str:
        return f"{self.namespace}.example.com"

    @property
    def scheduler(self) -> str:
        return f"s-{self.namespace}"

    async def build(self, nodes: int, devices: int, cpu: str = "64") -> None:
        selector = f'device.driver == "{self.driver}"'
        await self.client.create(
            DEVICE_CLASSES.as_unstructured(),
            {"metadata": {"name": self.driver}, "spec": {"selectors": [{"cel": {"expression": selector}}]}},
        )
        self.devices = devices
        for i in range(nodes):
            await self.add_node(f"{self.namespace}-n{i}", cpu)

    async def add_node(self, name: str, cpu: str = "64") -> None:
        amounts = {"cpu": cpu, "memory": "512Gi", "pods": "250"}
        body = {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "own": self.namespace}}}
        nodes = NODES.as_unstructured()
        await self.client.create(nodes, body)
        await self.client.patch(
            nodes, name, {"status": {"allocatable": amounts, "capacity": amounts}}, subresource="status"
        )
        await self.client.patch(nodes, name, {"spec": {"taints": None}})
        self.nodes.append(name)
        await self.offer(name)

    async def offer(
        self, node: str, *, without: Iterable[int] = (), tainted: Iterable[int] = (), generation: int = 1
    ) -> None:
        """Publish the devices of a node."""
        devices = []
        for i in range(self.devices):
            if i in without:
                continue
            device: Object = {"name": f"d{i}"}
            if i in tainted:
                device["taints"] = [{"key": "fault", "value": "xid", "effect": "NoExecute"}]
            devices.append(device)
        spec = {
            "driver": self.driver,
            "nodeName": node,
            "pool": {"name": node, "generation": generation, "resourceSliceCount": 1},
            "devices": devices,
        }
        slices = RESOURCE_SLICES.as_unstructured()
        try:
            found = await self.client.get(slices, node)
            await self.client.replace(slices, {**found, "spec": spec})
        except NotFound:
            await self.client.create(slices, {"metadata": {"name": node}, "spec": spec})

    async def pod(
        self, name: str, *, devices: int = 1, gang: str = "", size: int = 0, cpu: str = "100m",
        priority: str = "", claims: Iterable[str] = (), labels: dict[str, str] | None = None,
        recovery: str = "gang", tolerations: Iterable[Object] = (), scheduler: str = "",
        volumes: Iterable[str] = (),
    ) -> Pod:  # fmt: skip
        """A pod with a claim of its own, as the claim controller leaves both; `claims` are others that it shares."""
        uses = [{"name": c, "resourceClaimName": c} for c in claims]
        own = f"{name}-own"
        if devices:
            exactly = {"deviceClassName": self.driver, "count": devices}
            if tolerations:
                exactly["tolerations"] = list(tolerations)
            await self.claim(own, exactly)
            uses.append({"name": "own", "resourceClaimName": own})
        meta: Object = {"name": name, "labels": dict(labels or {}), "annotations": {}}
        if gang:
            meta["labels"]["fairlead.dev/gang"] = gang
            meta["annotations"]["fairlead.dev/gang-spec"] = json.dumps({"min": size, "recovery": recovery})
        spec: Object = {
            "schedulerName": scheduler or self.scheduler,
            "nodeSelector": {"own": self.namespace},
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "a", "resources": {"requests": {"cpu": cpu}}}],
        }
        if uses:
            spec["resourceClaims"] = uses
            spec["containers"][0]["resources"]["claims"] = [{"name": use["name"]} for use in uses]
        if volumes:
            spec["volumes"] = [{"name": v, "persistentVolumeClaim": {"claimName": v}} for v in volumes]
        if priority:
            spec["priorityClassName"] = priority
        made = await self.client.create(PODS.as_unstructured(), {"metadata": meta, "spec": spec}, self.namespace)
        return await self.client.get(PODS, made["metadata"]["name"], self.namespace)

    async def claim(self, name: str, exactly: Object) -> None:
        spec = {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}
        body = {"metadata": {"name": name}, "spec": spec}
        await self.client.create(RESOURCE_CLAIMS.as_unstructured(), body, self.namespace)

    async def pods(self) -> dict[str, Pod]:
        return {p.metadata.name: p for p in (await self.client.list(PODS, self.namespace)).items}

    async def claims(self) -> dict[str, ResourceClaim]:
        return {c.metadata.name: c for c in (await self.client.list(RESOURCE_CLAIMS, self.namespace)).items}

    async def all_bound(self, names: Iterable[str]) -> bool:
        pods = await self.pods()
        return all(name in pods and pods[name].spec.node_name for name in names)

    async def check(self) -> None:
        """What must hold whenever nothing is under way: no device twice, no reservation for a pod without a node,
        devices where the pod is, every bound pod's claims reserved for it."""
        pods, claims = await self.pods(), await self.claims()
        by_uid = {p.metadata.uid: p for p in pods.values()}
        holders: dict[tuple[str, str], str] = {}
        for name, claim in claims.items():
            allocation = claim.status.allocation
            if allocation is None:
                assert not claim.status.reserved_for, f"{name} is reserved and has no devices"
                continue
            assert allocation.devices is not None
            for result in allocation.devices.results:
                device = (result.pool, result.device)
                assert device not in holders, f"{device} is held by {holders[device]} and {name}"
                holders[device] = name
                for consumer in claim.status.reserved_for:
                    pod = by_uid[consumer.uid]
                    assert pod.spec.node_name == result.pool, (
                        f"{name} is held by {pod.metadata.name}, which is elsewhere"
                    )
        for pod in pods.values():
            for use in pod.spec.resource_claims if pod.spec.node_name else ():
                consumers = {c.uid for c in claims[use.resource_claim_name].status.reserved_for}
                assert pod.metadata.uid in consumers, f"{use.resource_claim_name} is not reserved for its pod"

    @asynccontextmanager
    async def proxy(self) -> AsyncIterator[Proxy]:
        credentials = self.client.credentials
        header = await credentials.authorization.header()
        assert isinstance(credentials.tls, ssl.SSLContext)
        async with proxied(credentials, header.removeprefix("Bearer "), credentials.tls) as proxy:
            yield proxy

    @asynccontextmanager
    async def scheduling(self, url: str = "", name: str = "") -> AsyncIterator[Scheduler]:
        """A scheduler that runs, and at the end stops as dead: nothing more is written."""
        options: Any = {"server": url, "tls": None} if url else {}
        credentials = _replace(self.client.credentials, options)
        async with (
            Client(credentials) as client,
            EventRecorder(client, "scheduler") as events,
            Informers(client) as informers,
        ):
            scheduler = Scheduler(client, informers, Settings(frozenset([name or self.scheduler])), events)
            task = asyncio.create_task(scheduler.run())
            try:
                yield scheduler
            finally:
                task.cancel()
                ended = await asyncio.gather(task, return_exceptions=True)
                if isinstance(ended[0], Exception):
                    raise ended[0]


def _replace(credentials: Any, options: Any) -> Any:
    import dataclasses

    return dataclasses.replace(credentials, **options) if options else credentials


async def eventually(check: Callable[[], Awaitable[Any]], timeout_s: float = PATIENCE_S) -> Any:
    """The first true result of `check`, whose AssertionErrors count as false until the time is over."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        try:
            result = await check()
            if result or loop.time() > deadline_s:
                assert result, f"still {result!r} after {timeout_s:g} s"
                return result
        except AssertionError:
            if loop.time() > deadline_s:
                raise
        await asyncio.sleep(0.03)


def own_name() -> str:
    return f"t{uuid.uuid4().hex[:8]}"
