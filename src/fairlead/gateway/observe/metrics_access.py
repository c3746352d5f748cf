"""Who may read the metrics, by the word of the Kubernetes API: whoever has a token and may GET /metrics.

The same two questions as controller-runtime's filter for metrics asks: a TokenReview, and a SubjectAccessReview for the
non-resource URL.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from fairlead.clock import Clock
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError
from fairlead.kube.transport import Unreachable

KEPT_S = 60.0
"""How long an answer holds."""
MAX_KEPT = 256

_PATH = "/metrics"
_log = logging.getLogger(__name__)


class KubernetesAccess:
    """Asks for each token once a minute."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._kept: dict[str, tuple[float, int]] = {}  # token -> until when, and the status

    async def __call__(self, authorization: str) -> int:
        """200, 401 without a valid token, 403 for one that may not, 503 while the API does not answer."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            return 401
        now_s = self._clock.monotonic_s()
        until_s, status = self._kept.get(token, (0.0, 0))
        if now_s < until_s:
            return status
        try:
            status = await self._ask(token.strip())
        except (ApiError, Unreachable, TimeoutError) as error:
            _log.warning("whether the metrics may be read is not known: %s", error)
            return 503
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[token] = (now_s + KEPT_S, status)
        return status

    async def _ask(self, token: str) -> int:
        review = await self._review("authentication.k8s.io", "TokenReview", {"token": token})
        if not review.get("authenticated"):
            return 401
        user = review.get("user", {})
        spec = {
            "user": user.get("username", ""), "groups": user.get("groups", []), "uid": user.get("uid", ""),
            "extra": user.get("extra", {}), "nonResourceAttributes": {"path": _PATH, "verb": "get"},
        }  # fmt: skip
        review = await self._review("authorization.k8s.io", "SubjectAccessReview", spec)
        return 200 if review.get("allowed") else 403

    async def _review(self, group: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        answer = await self._client.request("POST", f"/apis/{group}/v1/{kind.lower()}s", body=body)
        status: dict[str, Any] = msgspec.json.decode(answer.body).get("status", {})
        return status
