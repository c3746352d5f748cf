"""The node's side of the Kubernetes API: the `Cluster` that workers use, over `fairlead.kube`."""

from __future__ import annotations

import contextlib
from typing import Any

from fairlead.clock import SYSTEM, Clock, parse_time
from fairlead.embedded.agent.cluster import Token
from fairlead.embedded.agent.pod import Pod, TokenProjection
from fairlead.kube.client import Client
from fairlead.kube.errors import Conflict, Invalid, NotFound
from fairlead.kube.event_correlation import Occurrence, Subject
from fairlead.kube.events import EventRecorder
from fairlead.kube.resources import Resource

PODS = Resource.of("v1", "pods", "Pod")
READABLE = {
    "configmaps": Resource.of("v1", "configmaps", "ConfigMap"),
    "secrets": Resource.of("v1", "secrets", "Secret"),
    "resourceclaims": Resource.of("resource.k8s.io/v1", "resourceclaims", "ResourceClaim"),
}
_ALWAYS_NEW = frozenset({"resourceclaims"})
"""What decides whether a pod may have devices must not be old."""
_FRESH_S = 2.0
_RECENT_LIMIT = 4096


class ApiCluster:
    """One node's view. Objects read a moment ago are not asked for again."""

    def __init__(self, client: Client, node_name: str, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._recent: dict[tuple[str, str, str], tuple[float, dict[str, Any] | None]] = {}
        self.events = EventRecorder(client, "kubelet", instance=node_name, clock=clock)

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any] | None:
        key, now_s = (resource, namespace, name), self._clock.monotonic_s()
        fetched_s, found = self._recent.get(key, (-_FRESH_S, None))
        if found is not None and now_s - fetched_s < _FRESH_S and resource not in _ALWAYS_NEW:
            return found
        try:
            found = await self._client.get(READABLE[resource], name, namespace)
        except NotFound:
            found = None
        if len(self._recent) > _RECENT_LIMIT:
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

    def record_node(self, kind: str, reason: str, message: str) -> None:
        # As kubelets do, the name stands for the uid.
        subject = Subject("v1", "Node", "", self._node_name, self._node_name)
        self.events.record(Occurrence(subject, kind, reason, message))

    def record(self, pod: Pod, kind: str, reason: str, message: str, container: str = "") -> None:
        meta = pod.metadata
        subject = Subject("v1", "Pod", meta.namespace, meta.name, meta.uid, meta.resource_version, container)
        self.events.record(Occurrence(subject, kind, reason, message))
