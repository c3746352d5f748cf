"""What tests of the driver share: a small vendor, claims as a scheduler leaves them, and a kubelet's client."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from fairlead.devices.cdi.spec import NO_EDITS, ContainerEdits, DeviceNode
from fairlead.devices.errors import ConfigError
from fairlead.devices.health import HEALTHY, Health
from fairlead.devices.inventory import Capacity, Device, Inventory
from fairlead.devices.vendor import ClaimReference, Grant, Preparation, Vendor
from fairlead.kube import Client
from fairlead.kube.kinds import RESOURCE_CLAIMS
from fairlead.kube.kubelet import DRA_V1, HEALTH_V1, REGISTRATION, Service, stub
from fairlead.kube.objects import ResourceClaim

DRIVER = "widgets.example.com"
CDI_KIND = "example.com/widget"


def widgets(count: int = 4, *, halves: bool = False) -> Inventory:
    """Cards `widget-N`; with `halves`, each also as two partitions over its counters. `hub-0` is shareable."""
    devices = []
    counters = {}
    for number in range(count):
        name = f"widget-{number}"
        consumes = {}
        if halves:
            counters[name] = {"cores": "8"}
            consumes = {name: {"cores": "8"}}
        devices.append(Device(name, attributes={"index": number}, consumes=consumes))
        if halves:
            for half in ("a", "b"):
                devices.append(Device(f"{name}-{half}", consumes={name: {"cores": "4"}}, parent=name))
    devices.append(Device("hub-0", shareable=True, capacity={"lanes": Capacity("4")}))
    return Inventory(tuple(devices), counters)


class WidgetVendor(Vendor):
    """A vendor whose hardware is a value. `prepared` is what its hardware has been told, by claim UID."""

    name = "widgets"

    def __init__(self, inventory: Inventory | None = None, *, driver: str = DRIVER) -> None:
        self.driver = driver
        self.cdi_kind = CDI_KIND
        self.inventory = inventory or widgets()
        self.states: dict[str, Health] = {}
        self.preparation = Preparation()
        self.prepared: dict[str, tuple[str, ...]] = {}
        self.configs: list[tuple[Mapping[str, Any], ...]] = []
        self.calls: list[tuple[str, str]] = []
        self.gate: threading.Event | None = None
        """Prepare waits for it."""
        self.begun = threading.Event()
        self.error: Exception | None = None
        self.former: Mapping[str, Sequence[str]] = {}

    def probe(self) -> Inventory:
        return self.inventory

    def health(self) -> Mapping[str, Health]:
        return {device.name: self.states.get(device.name, HEALTHY) for device in self.inventory.devices}

    def edits(self, device: Device) -> ContainerEdits:
        return ContainerEdits(
            env=(f"WIDGET_{device.name.upper().replace('-', '_')}=1",),
            device_nodes=(DeviceNode(f"/dev/{device.name}", host_path="/dev/null"),),
        )

    def resume(self, claims: Mapping[str, Sequence[str]]) -> None:
        self.former = dict(claims)

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        self.calls.append(("prepare", claim.uid))
        self.begun.set()
        if self.gate is not None:
            self.gate.wait(30)
        if self.error is not None:
            raise self.error
        for grant in grants:
            self.configs.append(grant.config)
            for config in grant.config:
                if config.get("mode") not in (None, "fast", "slow"):
                    raise ConfigError(f'claim {claim}: mode "{config["mode"]}" is not fast or slow')
        self.prepared[claim.uid] = tuple(grant.device.name for grant in grants)
        return self.preparation

    def release(self, claim: ClaimReference, devices: Sequence[str]) -> None:
        self.calls.append(("release", claim.uid))
        self.prepared.pop(claim.uid, None)


@dataclass(frozen=True, slots=True)
class Result:
    """One line of an allocation."""

    device: str
    request: str = "main"
    driver: str = DRIVER
    pool: str = "node-a"
    share_id: str = ""
    admin: bool = False
    consumed: Mapping[str, str] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "request": self.request, "driver": self.driver, "pool": self.pool, "device": self.device,
        }  # fmt: skip
        if self.share_id:
            found["shareID"] = self.share_id
        if self.admin:
            found["adminAccess"] = True
        if self.consumed:
            found["consumedCapacity"] = dict(self.consumed)
        return found


def config(driver: str, parameters: Mapping[str, Any], *, requests: Iterable[str] = (), source: str) -> dict[str, Any]:
    """One configuration of an allocation."""
    return {
        "source": source, "requests": list(requests), "opaque": {"driver": driver, "parameters": dict(parameters)},
    }  # fmt: skip


async def create_claim(
    client: Client,
    namespace: str,
    name: str,
    results: Sequence[Result],
    *,
    configs: Sequence[Mapping[str, Any]] = (),
    reserved_for: str = "",
) -> ClaimReference:
    """A claim with an allocation, as the scheduler writes it."""
    whole = RESOURCE_CLAIMS.as_unstructured()
    requests = dict.fromkeys(result.request.partition("/")[0] for result in results)
    spec = {"devices": {"requests": [_request(r, results) for r in requests or ["main"]]}}
    made = await client.create(whole, {"metadata": {"name": name, "namespace": namespace}, "spec": spec}, namespace)
    reference = ClaimReference(namespace, name, made["metadata"]["uid"])
    if results:
        await allocate(client, reference, results, configs=configs, reserved_for=reserved_for)
    return reference


def _request(name: str, results: Sequence[Result]) -> dict[str, Any]:
    mine = [r for r in results if r.request.partition("/")[0] == name]
    subs = [r.request.partition("/")[2] for r in mine if "/" in r.request]
    if subs:
        return {
            "name": name,
            "firstAvailable": [{"name": s, "deviceClassName": "widget"} for s in dict.fromkeys((*subs, "other"))],
        }
    exactly: dict[str, Any] = {"deviceClassName": "widget", "count": max(1, len(mine)), "allocationMode": "ExactCount"}
    if any(r.admin for r in mine):
        exactly["adminAccess"] = True
    return {"name": name, "exactly": exactly}


async def allocate(
    client: Client,
    claim: ClaimReference,
    results: Sequence[Result],
    *,
    configs: Sequence[Mapping[str, Any]] = (),
    reserved_for: str = "",
) -> None:
    allocation: dict[str, Any] = {"devices": {"results": [result.wire() for result in results]}}
    if configs:
        allocation["devices"]["config"] = [dict(c) for c in configs]
    status: dict[str, Any] = {"allocation": allocation}
    if reserved_for:
        status["reservedFor"] = [{"resource": "pods", "name": reserved_for, "uid": f"uid-of-{reserved_for}"}]
    await client.patch(RESOURCE_CLAIMS, claim.name, {"status": status}, claim.namespace, subresource="status")


async def deallocate(client: Client, claim: ClaimReference) -> None:
    body = {"status": {"allocation": None, "reservedFor": None, "devices": None}}
    await client.patch(RESOURCE_CLAIMS, claim.name, body, claim.namespace, subresource="status")


async def get_claim(client: Client, claim: ClaimReference) -> ResourceClaim:
    return await client.get(RESOURCE_CLAIMS, claim.name, claim.namespace)


class Kubelet:
    """A kubelet's calls to one plugin, over its sockets."""

    def __init__(self, registration: Any, dra: Any) -> None:
        self._registration = stub(REGISTRATION, registration)
        self.channel = dra

    async def info(self) -> Any:
        return await self._registration["GetInfo"](REGISTRATION.message("InfoRequest")(), timeout=10)

    async def notify(self, *, registered: bool, error: str = "") -> None:
        status = REGISTRATION.message("RegistrationStatus")(plugin_registered=registered, error=error)
        await self._registration["NotifyRegistrationStatus"](status, timeout=10)

    async def prepare(self, *claims: ClaimReference, service: Service = DRA_V1, timeout: float = 45) -> Any:
        """The answers by UID."""
        request = service.message("NodePrepareResourcesRequest")(claims=[_claim(service, c) for c in claims])
        return (await stub(service, self.channel)["NodePrepareResources"](request, timeout=timeout)).claims

    async def unprepare(self, *claims: ClaimReference, service: Service = DRA_V1, timeout: float = 45) -> Any:
        request = service.message("NodeUnprepareResourcesRequest")(claims=[_claim(service, c) for c in claims])
        return (await stub(service, self.channel)["NodeUnprepareResources"](request, timeout=timeout)).claims

    def health(self, service: Service = HEALTH_V1) -> Any:
        return stub(service, self.channel)["NodeWatchResources"](service.message("NodeWatchResourcesRequest")())


def _claim(service: Service, claim: ClaimReference) -> Any:
    return service.message("Claim")(namespace=claim.namespace, uid=claim.uid, name=claim.name)


@asynccontextmanager
async def kubelet_of(registration: Path) -> AsyncIterator[Kubelet]:
    """A kubelet that found this registration socket: it asks for the endpoint, as kubelets do."""
    async with grpc.aio.insecure_channel(f"unix:{registration}") as first:
        info = await stub(REGISTRATION, first)["GetInfo"](REGISTRATION.message("InfoRequest")(), timeout=10)
        async with grpc.aio.insecure_channel(f"unix:{info.endpoint}") as dra:
            yield Kubelet(first, dra)


NO_PREPARATION = Preparation(NO_EDITS)
