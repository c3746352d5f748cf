"""Keep a node known to the cluster: its Node object, its status, and its Lease."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

from fairlead.clock import SYSTEM, Clock, format_micro_time
from fairlead.embedded.agent.machine import Machine, measure_pressure
from fairlead.embedded.agent.node import NodeIdentity, lease_object, node_object, node_status
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from fairlead.kube.resources import Resource

NODES = Resource.of("v1", "nodes", "Node", namespaced=False)
LEASES = Resource.of("coordination.k8s.io/v1", "leases", "Lease")
LEASE_NAMESPACE = "kube-node-lease"
RENEW_S = 10.0
STATUS_CHECK_S = 10.0
STATUS_REPORT_S = 300.0
_RETRY_S = 0.5
_log = logging.getLogger(__name__)


class Registration:
    def __init__(
        self, client: Client, identity: NodeIdentity, machine: Machine, data: Path, clock: Clock = SYSTEM
    ) -> None:
        self._client = client
        self._identity = identity
        self._machine = machine
        self._data = data
        self._clock = clock
        self._name = identity.spec.name
        self.uid = ""

    async def register(self) -> None:
        """Return once the node exists with a current status. Tries until the API is there."""
        while True:
            try:
                await self._report_status(await self._ensure_node())
                await self._renew_lease()
                return
            except (ApiError, OSError, TimeoutError) as error:
                _log.warning("node %s: cannot register yet: %s", self._name, error)
                await self._clock.sleep(_RETRY_S)

    async def run(self) -> None:
        """Renew the Lease and keep the status current until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_lease())
            group.create_task(self._keep_status())

    async def _keep_lease(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            try:
                await self._renew_lease()
            except (ApiError, OSError, TimeoutError) as error:
                _log.warning("node %s: cannot renew its lease: %s", self._name, error)

    async def _keep_status(self) -> None:
        reported_s, last = self._clock.monotonic_s(), measure_pressure(self._data)
        while True:
            await self._clock.sleep(STATUS_CHECK_S)
            pressure = measure_pressure(self._data)
            overdue = self._clock.monotonic_s() - reported_s >= STATUS_REPORT_S
            try:
                node = await self._client.get(NODES, self._name)
                if pressure == last and not overdue and self._is_ready(node):
                    continue
                await self._report_status(node)
                reported_s, last = self._clock.monotonic_s(), pressure
            except NotFound:
                # Someone deleted the node: a running kubelet's node comes back.
                with contextlib.suppress(ApiError, OSError, TimeoutError):
                    await self._report_status(await self._ensure_node())
            except (ApiError, OSError, TimeoutError) as error:
                _log.warning("node %s: cannot report its status: %s", self._name, error)

    def _is_ready(self, node: dict[str, Any]) -> bool:
        conditions = (node.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    async def _ensure_node(self) -> dict[str, Any]:
        wanted = node_object(self._identity, self._machine)
        try:
            node = await self._client.create(NODES, wanted)
        except AlreadyExists:
            body = {"metadata": {key: wanted["metadata"][key] for key in ("labels", "annotations")}}
            node = await self._client.patch(NODES, self._name, body)
        self.uid = node["metadata"]["uid"]
        return node

    async def _report_status(self, node: dict[str, Any]) -> None:
        before = (node.get("status") or {}).get("conditions") or ()
        status = node_status(self._identity, self._machine, measure_pressure(self._data), before, self._clock.wall_s())
        # Addresses and conditions merge by key there, so that what others report stays.
        await self._client.patch(NODES, self._name, {"status": status}, kind="strategic", subresource="status")

    async def _renew_lease(self) -> None:
        now = format_micro_time(self._clock.wall_s())
        try:
            await self._client.patch(
                LEASES, self._name, {"spec": {"renewTime": now, "holderIdentity": self._name}}, LEASE_NAMESPACE
            )
        except NotFound:
            with contextlib.suppress(AlreadyExists, Conflict):
                await self._client.create(LEASES, lease_object(self._name, self.uid, now), LEASE_NAMESPACE)
