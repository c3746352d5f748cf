"""Tells the Kubernetes API which adapters requests wait for: an annotation of the pool, which whoever loads them reads.

Several pickers write the same annotation, each what it knows; one that is overwritten says it again while its requests
wait.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Final

from fairlead.api.inference_pool import ADAPTERS_ASKED_ANNOTATION, INFERENCE_POOLS
from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError
from fairlead.kube.transport import Unreachable

_log = logging.getLogger(__name__)

KEEP_S: Final = 30.0
"""For how long a wish is repeated beside others of its pool."""
TIMEOUT_S: Final = 10.0


class AskForAdapters:
    """One for a picker; belongs to the running event loop."""

    def __init__(self, client: Client, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._clock = clock
        self._wanted: dict[str, dict[str, float]] = {}  # pool -> adapter -> wall time
        self._dirty: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def wanted(self, pool: str, adapter: str) -> None:
        """Requests of the pool (namespace/name) wait for this adapter."""
        self._wanted.setdefault(pool, {})[adapter] = self._clock.wall_s()
        self._dirty.add(pool)
        if pool not in self._tasks:
            task = self._tasks[pool] = asyncio.get_running_loop().create_task(self._tell(pool), name=f"adapters {pool}")
            task.add_done_callback(lambda _: self._tasks.pop(pool, None))

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, pool: str) -> None:
        while pool in self._dirty:
            self._dirty.discard(pool)
            now_s = self._clock.wall_s()
            fresh = {a: at_s for a, at_s in self._wanted.get(pool, {}).items() if now_s - at_s < KEEP_S}
            self._wanted[pool] = fresh
            said = json.dumps({adapter: format_time(at_s) for adapter, at_s in sorted(fresh.items())})
            namespace, _, name = pool.partition("/")
            change = {"metadata": {"annotations": {ADAPTERS_ASKED_ANNOTATION: said}}}
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._client.patch(INFERENCE_POOLS, name, change, namespace)
            except (ApiError, Unreachable, CredentialsError, TimeoutError) as error:
                # It is said again while requests wait.
                _log.warning("pool %s: that requests wait for adapters could not be told: %s", pool, error)
