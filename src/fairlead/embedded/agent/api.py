"""The node's side of the Kubernetes API: the `Cluster` that workers use, over `fairlead.kube`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from fairlead.clock import SYSTEM, Clock, format_time, parse_time
from fairlead.embedded.agent.cluster import Token
from fairlead.embedded.agent.pod import Pod, TokenProjection
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from fairlead.kube.resources import Resource

PODS = Resource.of("v1", "pods", "Pod")
EVENTS = Resource.of("v1", "events", "Event")
READABLE = {
    "configmaps": Resource.of("v1", "configmaps", "ConfigMap"),
    "secrets": Resource.of("v1", "secrets", "Secret"),
    "resourceclaims": Resource.of("resource.k8s.io/v1", "resourceclaims", "ResourceClaim"),
}
_FRESH_S = 2.0
_EVENT_MEMORY = 4096
_EVENT_BACKLOG = 1000


@dataclass(slots=True)
class _KnownEvent:
    name: str
    count: int


class ApiCluster:
    """One node's view. Objects read a moment ago are not asked for again."""

    def __init__(self, client: Client, node_name: str, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._recent: dict[tuple[str, str, str], tuple[float, dict[str, Any] | None]] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_EVENT_BACKLOG)
        self._known_events: OrderedDict[str, _KnownEvent] = OrderedDict()

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any] | None:
        key, now_s = (resource, namespace, name), self._clock.monotonic_s()
        fetched_s, found = self._recent.get(key, (-_FRESH_S, None))
        if found is not None and now_s - fetched_s < _FRESH_S:
            return found
        try:
            found = await self._client.get(READABLE[resource], name, namespace)
        except NotFound:
            found = None
        if len(self._recent) > _EVENT_MEMORY:
            self._recent.clear()
        self._recent[key] = (now_s, found)
        return found

    async def patch_pod_status(self, pod: Pod, status: dict[str, Any]) -> bool:
        # An absent reason or list must overwrite what an earlier status said.
        cleared = dict.fromkeys(("reason", "message", "podIP"), None)
        conditions = [{"reason": None, "message": None} | condition for condition in status["conditions"]]
        body = {"metadata": {"uid": pod.metadata.uid}, "status": cleared | status | {"conditions": conditions}}
        try:
            await self._client.patch(
                PODS, pod.metadata.name, body, pod.metadata.namespace, kind="strategic", subresource="status"
            )
        except NotFound:
            return False
        except (Conflict, Invalid):
            return not await self._is_replaced(pod)
        return True

    async def _is_replaced(self, pod: Pod) -> bool:
        """Whether the name belongs to another pod by now; otherwise the error is raised again."""
        try:
            current = await self._client.get(PODS, pod.metadata.name, pod.metadata.namespace)
        except NotFound:
            return True
        if current["metadata"]["uid"] != pod.metadata.uid:
            return True
        raise

    async def remove_pod(self, pod: Pod) -> None:
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(
                PODS, pod.metadata.name, pod.metadata.namespace, grace_period_s=0, uid=pod.metadata.uid
            )

    async def request_token(self, pod: Pod, projection: TokenProjection) -> Token:
        account = pod.spec.service_account_name or "default"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
        spec: dict[str, Any] = {"expirationSeconds": projection.expiration_seconds, "boundObjectRef": bound}
        spec["audiences"] = [projection.audience] if projection.audience else []
        answer = await self._client.request(
            "POST",
            f"/api/v1/namespaces/{pod.metadata.namespace}/serviceaccounts/{account}/token",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        status = answer.json()["status"]
        return Token(status["token"], parse_time(status["expirationTimestamp"]))

    def record(self, pod: Pod, kind: str, reason: str, message: str, container: str = "") -> None:
        involved = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
            "resourceVersion": pod.metadata.resource_version,
        } | ({"fieldPath": container} if container else {})
        self._enqueue(pod.metadata.namespace, involved, kind, reason, message)

    def record_node(self, uid: str, kind: str, reason: str, message: str) -> None:
        involved = {"apiVersion": "v1", "kind": "Node", "name": self._node_name, "uid": uid}
        self._enqueue("default", involved, kind, reason, message)

    async def send_events(self) -> None:
        """Deliver recorded events until cancelled; those the API refuses are dropped."""
        while True:
            event = await self._events.get()
            try:
                await self._send_event(event)
            except (NotFound, Forbidden, Invalid, Conflict):
                # A namespace on its way out takes no more events.
                continue
            except (ApiError, OSError, TimeoutError):
                await self._clock.sleep(1.0)

    async def _send_event(self, event: dict[str, Any]) -> None:
        involved = event["involvedObject"]
        identity = (involved.get("uid"), involved.get("fieldPath"), event["type"], event["reason"], event["message"])
        key = hashlib.sha256(repr(identity).encode()).hexdigest()
        known, namespace = self._known_events.get(key), event["metadata"]["namespace"]
        if known is not None:
            known.count += 1
            change = {"count": known.count, "lastTimestamp": event["lastTimestamp"]}
            try:
                await self._client.patch(EVENTS, known.name, change, namespace)
                return
            except NotFound:
                del self._known_events[key]
        with contextlib.suppress(AlreadyExists):
            await self._client.create(EVENTS, event, namespace)
        self._known_events[key] = _KnownEvent(event["metadata"]["name"], 1)
        if len(self._known_events) > _EVENT_MEMORY:
            self._known_events.popitem(last=False)

    def _enqueue(self, namespace: str, involved: dict[str, Any], kind: str, reason: str, message: str) -> None:
        now_s = self._clock.wall_s()
        suffix = f"{int(now_s * 1e9):x}"
        event = {
            "metadata": {"name": f"{involved['name']}.{suffix}", "namespace": namespace},
            "involvedObject": involved,
            "reason": reason,
            "message": message[:1024],
            "type": kind,
            "count": 1,
            "firstTimestamp": format_time(now_s),
            "lastTimestamp": format_time(now_s),
            "source": {"component": "kubelet", "host": self._node_name},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node_name,
        }
        with contextlib.suppress(asyncio.QueueFull):
            self._events.put_nowait(event)
