"""Pools and their endpoints as the picker knows them, and which pool serves which model name.

Whoever learns of endpoints (the Kubernetes API, a file, a test) sets pools here; the picker, the scraper and the peers
read. A change costs what the changed pool costs, however many others there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fairlead.gateway.resolve import ModelNames, NotFound, Resolved, resolve

_log = logging.getLogger(__name__)


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
    runtime: str = ""
    """Of its engine, where that differs from the pool's; empty = the pool's."""
    adapters: frozenset[str] | None = None
    """LoRA adapters that are loaded there; None = its pool does not tell by pod."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rule of an InferenceModelRewrite: for these names (empty = any), one of the targets by weight."""

    models: tuple[str, ...]
    targets: tuple[tuple[str, int], ...]
    """(name the engine is asked for, weight); weights are 1 or more."""
    name: str = ""
    """namespace/name of the object that has the rule."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Endpoints that serve the same models. `key` is namespace/name; `age_key` orders pools: the smaller is older."""

    key: str
    models: tuple[str, ...]
    """The model's own name first; empty = the pool does not say, so that any name may be meant for it."""
    endpoints: tuple[Endpoint, ...] = ()
    runtime: str = "vllm"
    age_key: str = ""
    config: str = ""
    """Key of the picker configuration in `Registry.configs`; empty = the picker's own."""
    rewrites: tuple[Rewrite, ...] = ()
    """In order of precedence."""
    objectives: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Name of an InferenceObjective -> its priority."""
    scale_target: str = ""
    """What to scale when a request comes and no replica is there: Kind/namespace/name; empty = nothing."""
    tokenizer: str = ""
    """Path of a tokenizer.json for exact token counts; empty = estimates."""
    adapters: tuple[str, ...] = ()
    """Names of the LoRA adapters that its engines serve or can load."""
    known_names: tuple[str, ...] = ()
    """Further names that its engines answer to: a request that a rule has led here keeps its own, if it is one."""
    h2c: bool = False
    """Whether its engines are to be spoken to in HTTP/2 (`appProtocol: kubernetes.io/h2c`)."""
    fails_open: bool = False
    """Whether its gateway is to serve without the picker when that does not answer (`failureMode: FailOpen`)."""
    reports: str = ""
    """What its traffic is to be reported for (annotation `fairlead.dev/report-traffic`); empty = it is not."""
    uid: str = ""
    """Of the InferencePool; empty where it is none."""
    problems: tuple[str, ...] = ()
    """What of its definition could not be followed, for people."""
    addresses: tuple[str, ...] = field(init=False, compare=False, repr=False)
    """Of its endpoints, in their order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", tuple([endpoint.address for endpoint in self.endpoints]))


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one pool. `came` and `gone` are addresses that no pool had before, or has any more."""

    key: str
    before: Pool | None
    """None = the pool is new."""
    now: Pool | None
    """None = the pool is gone."""
    came: frozenset[str]
    gone: frozenset[str]


Listener = Callable[[Change], None]


class EndpointSource(Protocol):
    """Where pools come from: fills a registry until cancelled."""

    async def run(self, registry: Registry) -> None: ...


class Registry:
    """All pools by key, the names they serve, and the texts of the picker configurations that they name.

    Listeners are called after every change, in the order in which they were added.
    """

    def __init__(self) -> None:
        self.names = ModelNames()
        self._pools: dict[str, Pool] = {}
        self._at: dict[str, tuple[str, ...]] = {}  # address -> keys of the pools that have it
        self._on_host: dict[str, tuple[str, ...]] = {}  # host -> its addresses
        self._configs: dict[str, str] = {}  # namespace/name/key of a ConfigMap, or a path -> text
        self._listeners: list[Listener] = []
        self._config_listeners: list[Callable[[str], None]] = []
        self._synced = asyncio.Event()

    @property
    def pools(self) -> Mapping[str, Pool]:
        return self._pools

    @property
    def models(self) -> Sequence[str]:
        """Names that requests may give, those of adapters and of rewrite rules among them; sorted."""
        return self.names.all

    @property
    def shadowed(self) -> Mapping[str, tuple[str, ...]]:
        """Model name -> keys of pools that list it and do not get its requests, as an older pool does."""
        return self.names.shadowed

    @property
    def configs(self) -> Mapping[str, str]:
        """Key (`Pool.config`) -> text of an EndpointPickerConfig. A key that is not here could not be read (yet)."""
        return self._configs

    @property
    def synced(self) -> bool:
        """Whether the source has seen everything there was at its start."""
        return self._synced.is_set()

    def mark_synced(self) -> None:
        self._synced.set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def pool_of(self, model: str) -> Pool | None:
        """The pool that gets the requests for this name, before any rewriting."""
        return self.names.pool_of(model)

    def resolve(self, model: str, rewrite: str, draw: float, pool: Pool | None = None) -> Resolved | NotFound:
        """See `fairlead.gateway.resolve.resolve`."""
        return resolve(self.names, model, rewrite, draw, pool)

    def pools_at(self, address: str) -> tuple[str, ...]:
        """Keys of the pools that have an endpoint at this address."""
        return self._at.get(address, ())

    def pool_at(self, places: Iterable[str], model: str) -> Pool | None:
        """The pool a gateway means that restricts a request to these places (ip:port or ip); None = no pool has them.

        Where several pools share the first place that is known: one that has the model's name, else the oldest.
        """
        for place in places:
            keys = self._at.get(place) or [key for a in self._on_host.get(place, ()) for key in self._at[a]]
            if keys:
                pools = sorted((self._pools[key] for key in dict.fromkeys(keys)), key=lambda p: (p.age_key, p.key))
                return next((pool for pool in pools if self.names.home(pool).has(model)), pools[0])
        return None

    def addresses(self) -> frozenset[str]:
        return frozenset(self._at)

    def on_change(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on."""
        self._listeners.append(listener)

    def on_config(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` the key of every configuration whose text has changed or gone."""
        self._config_listeners.append(listener)

    def set_pool(self, pool: Pool) -> None:
        before = self._pools.get(pool.key)
        if before == pool:
            return
        self._pools[pool.key] = pool
        self._warn(self.names.put(pool))
        for problem in pool.problems if before is None or before.problems != pool.problems else ():
            _log.warning("pool %s: %s", pool.key, problem)
        self._tell(before, pool)

    def remove_pool(self, key: str) -> None:
        pool = self._pools.pop(key, None)
        if pool is not None:
            self._warn(self.names.drop(key))
            self._tell(pool, None)

    def set_config(self, key: str, text: str | None) -> None:
        """The text of a configuration; None = there is none any more."""
        if self._configs.get(key) == text:
            return
        if text is None:
            del self._configs[key]
        else:
            self._configs[key] = text
        for listener in self._config_listeners:
            listener(key)

    def see_adapters(self, address: str, adapters: Iterable[str]) -> None:
        """The engine at an address says that it has these adapters in use."""
        for key in self._at.get(address, ()):
            self.names.see_adapters(key, adapters)

    def _warn(self, names: Sequence[str]) -> None:
        for name in names:
            if (pool := self.pool_of(name)) is not None and (shadowed := self.shadowed.get(name)):
                _log.warning(
                    "model %s: pool %s gets the requests, not the newer %s", name, pool.key, ", ".join(shadowed)
                )

    def _tell(self, before: Pool | None, now: Pool | None) -> None:
        key = now.key if now is not None else before.key if before is not None else ""
        had = set(before.addresses) if before is not None else set()
        has = set(now.addresses) if now is not None else set()
        came = frozenset(a for a in has - had if self._add(a, key))
        gone = frozenset(a for a in had - has if self._remove(a, key))
        change = Change(key, before, now, came, gone)
        for listener in self._listeners:
            listener(change)

    def _add(self, address: str, key: str) -> bool:
        """Whether the address is new to all pools."""
        owners = self._at.get(address, ())
        self._at[address] = (*owners, key)
        if not owners:
            host = _host(address)
            self._on_host[host] = (*self._on_host.get(host, ()), address)
        return not owners

    def _remove(self, address: str, key: str) -> bool:
        """Whether no pool has the address any more."""
        owners = tuple([owner for owner in self._at.get(address, ()) if owner != key])
        if owners:
            self._at[address] = owners
            return False
        self._at.pop(address, None)
        host = _host(address)
        rest = tuple([other for other in self._on_host.get(host, ()) if other != address])
        if rest:
            self._on_host[host] = rest
        else:
            self._on_host.pop(host, None)
        return True


def _host(address: str) -> str:
    return address.rpartition(":")[0].removeprefix("[").removesuffix("]")
