"""Pools and their endpoints as the picker knows them, and which pool serves which model name.

Whoever learns of endpoints (the Kubernetes API, a file, a test) sets pools here; the picker and the scraper read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One port of one pod that serves. `address` is ip:port and identifies it; brackets around an IPv6 address."""

    address: str
    pod: str = ""
    """namespace/name."""
    role: str = "both"
    """What it does of a request: both, prefill, decode, encode, prefill-decode, encode-prefill."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Labels of the pod."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rule of an InferenceModelRewrite: for these names (empty = any), one of the targets by weight."""

    models: tuple[str, ...]
    targets: tuple[tuple[str, int], ...]
    """(name the engine is asked for, weight)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Endpoints that serve the same models. `key` is namespace/name; `age_key` orders pools: the smaller is older."""

    key: str
    models: tuple[str, ...]
    endpoints: tuple[Endpoint, ...] = ()
    runtime: str = "vllm"
    age_key: str = ""
    config: str = ""
    """Name of the picker configuration that the pool asks for; empty = the picker's own."""
    rewrites: tuple[Rewrite, ...] = ()
    """In order of precedence."""
    objectives: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Name of an InferenceObjective -> its priority."""
    scale_target: str = ""
    """What to scale when a request comes and no replica is there: Kind/namespace/name; empty = nothing."""
    tokenizer: str = ""
    """Path of a tokenizer.json for exact token counts; empty = estimates."""


class EndpointSource(Protocol):
    """Where pools come from: fills a registry until cancelled."""

    async def run(self, registry: Registry) -> None: ...


class Registry:
    """All pools by key, and the pool of each model name: the oldest one that serves it.

    Listeners are called after every change with the addresses that no pool has any more.
    """

    def __init__(self) -> None:
        self._pools: dict[str, Pool] = {}
        self._by_model: dict[str, Pool] = {}
        self._listeners: list[Callable[[frozenset[str]], None]] = []
        self._synced = asyncio.Event()

    @property
    def pools(self) -> Mapping[str, Pool]:
        return self._pools

    @property
    def models(self) -> Iterable[str]:
        """Model names, sorted."""
        return sorted(self._by_model)

    @property
    def synced(self) -> bool:
        """Whether the source has seen everything there was at its start."""
        return self._synced.is_set()

    def mark_synced(self) -> None:
        self._synced.set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def pool_of(self, model: str) -> Pool | None:
        return self._by_model.get(model)

    def on_change(self, listener: Callable[[frozenset[str]], None]) -> None:
        self._listeners.append(listener)

    def set_pool(self, pool: Pool) -> None:
        if self._pools.get(pool.key) != pool:
            self._change({**self._pools, pool.key: pool})

    def remove_pool(self, key: str) -> None:
        if key in self._pools:
            self._change({k: p for k, p in self._pools.items() if k != key})

    def addresses(self) -> frozenset[str]:
        return frozenset(e.address for p in self._pools.values() for e in p.endpoints)

    def _change(self, pools: dict[str, Pool]) -> None:
        before = self.addresses()
        self._pools = pools
        by_model: dict[str, Pool] = {}
        for pool in sorted(pools.values(), key=lambda p: (p.age_key, p.key)):
            for model in pool.models:
                by_model.setdefault(model, pool)
        self._by_model = by_model
        gone = before - self.addresses()
        for listener in self._listeners:
            listener(gone)
