"""Bring a pod's newest status to the API, however long the API is away."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.cluster import Cluster
from fairlead.embedded.agent.pod import Pod
from fairlead.kube.errors import ApiError

_FIRST_RETRY_S = 0.2
_LAST_RETRY_S = 10.0
_log = logging.getLogger(__name__)


class StatusReporter:
    """Statuses that follow each other faster than the API takes them are skipped: only the newest counts."""

    def __init__(self, cluster: Cluster, clock: Clock = SYSTEM) -> None:
        self._cluster = cluster
        self._clock = clock
        self._wanted: tuple[Pod, dict[str, Any]] | None = None
        self._known: dict[str, Any] | None = None
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.is_gone = False

    def report(self, pod: Pod, status: dict[str, Any]) -> None:
        """Have `status` written, unless it is what was written last."""
        if self._wanted is None and status == self._known:
            return
        self._wanted = (pod, status)
        self._settled.clear()
        self._changed.set()

    async def settled(self) -> None:
        """Wait until the newest status is written (or the pod is gone)."""
        await self._settled.wait()

    async def run(self) -> None:
        delay_s = _FIRST_RETRY_S
        while True:
            if self._wanted is None:
                self._settled.set()
                self._changed.clear()
                await self._changed.wait()
                continue
            pod, status = self._wanted
            self._wanted = None
            try:
                self.is_gone = not await self._cluster.patch_pod_status(pod, status)
                self._known = status
                delay_s = _FIRST_RETRY_S
            except (ApiError, OSError, TimeoutError) as error:
                if delay_s == _FIRST_RETRY_S:
                    _log.warning("the status of pod %s cannot be written yet: %s", pod.full_name, error)
                if self._wanted is None:
                    self._wanted = (pod, status)
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, _LAST_RETRY_S)
