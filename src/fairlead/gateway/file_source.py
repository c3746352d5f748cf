"""Pools from a JSON file: for gateways without Kubernetes, and for tests. The file is read again when it changes.

Form: {"pools": [{"key": "ns/name", "models": ["m"], "runtime": "vllm", "endpoints": ["10.0.0.1:8000"]}]}.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.engines import ENGINES
from fairlead.gateway.endpoints import Endpoint, Pool, Registry

POLL_INTERVAL_S = 0.2

_log = logging.getLogger(__name__)


class _PoolEntry(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    models: list[str]
    endpoints: list[str]
    runtime: str = "vllm"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    pools: list[_PoolEntry]


class FileSource:
    """Follows one file. A file that cannot be read or is malformed changes nothing and is logged once per change."""

    def __init__(self, path: Path, clock: Clock = SYSTEM) -> None:
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None

    async def run(self, registry: Registry) -> None:
        while True:
            self._look(registry)
            await self._clock.sleep(POLL_INTERVAL_S)

    def _look(self, registry: Registry) -> None:
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version == self._seen:
                return
            self._seen = version
            pools = read_pools(self._path.read_bytes())
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            _log.warning("endpoints file %s: %s", self._path, error)
            return
        for key in set(registry.pools) - {p.key for p in pools}:
            registry.remove_pool(key)
        for pool in pools:
            registry.set_pool(pool)
        registry.mark_synced()


def read_pools(text: bytes) -> list[Pool]:
    """The pools of a file. Raises msgspec.MsgspecError, or ValueError for an unknown runtime."""
    pools = []
    for age, entry in enumerate(msgspec.json.decode(text, type=_File).pools):
        if entry.runtime not in ENGINES:
            raise ValueError(f"pool {entry.key}: unknown runtime {entry.runtime!r}; known are {', '.join(ENGINES)}")
        endpoints = tuple(Endpoint(address) for address in entry.endpoints)
        pools.append(Pool(entry.key, tuple(entry.models), endpoints, entry.runtime, f"{age:06d}"))
    return pools
