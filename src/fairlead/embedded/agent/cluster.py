"""What a node needs of the Kubernetes API, as its pods see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from fairlead.embedded.agent.pod import Pod, TokenProjection


@dataclass(frozen=True, slots=True)
class Token:
    value: str
    expires_at_s: float


class Cluster(Protocol):
    """Raises `fairlead.kube.errors.ApiError` and OSError (no connection) where the API cannot do it now."""

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any] | None:
        """A ConfigMap, Secret, Service or ResourceClaim (`resource` is the plural); None where there is none."""

    async def patch_pod_status(self, pod: Pod, status: dict[str, Any]) -> bool:
        """Report a status; False if this very pod no longer exists."""

    async def remove_pod(self, pod: Pod) -> None:
        """Delete the pod for good (grace period 0); nothing happens if it is gone or another of its name is there."""

    async def request_token(self, pod: Pod, projection: TokenProjection) -> Token: ...

    def record_node(self, kind: str, reason: str, message: str) -> None:
        """Send an Event about the node. Never fails, never waits."""

    def record(self, pod: Pod, kind: str, reason: str, message: str, container: str = "") -> None:
        """Send an Event about the pod or one of its containers (a field path). Never fails, never waits."""
