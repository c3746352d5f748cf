"""What an engine is to be asked for one role on one accelerator, in the terms of its adapter. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from fairlead.api.model_service import AdapterPolicy, KvCache, ModelService
from fairlead.api.model_service import KvTransfer as KvTransferSpec
from fairlead.api.model_service import Parallelism as ParallelismSpec
from fairlead.engines import (
    AdapterSettings,
    CacheSettings,
    Engine,
    EngineSpec,
    EngineSpecError,
    KvEventPublishing,
    KvTransfer,
    Parallelism,
)
from fairlead.kube.quantity import Quantity
from fairlead.serving.resolve.arguments import flags, normal
from fairlead.serving.resolve.workload import RoleWorkload
from fairlead.serving.resolved import Unservable

_FIELDS: Final = {
    "model source": "model.source",
    "model name": "model.name",
    "aliases": "model.aliases",
    "max_context_tokens": "model.maxContextTokens",
    "role": "roles",
    "adapters.max_count": "adapters.slots",
    "adapters.initial": "adapters",
    "kv_events": "kvCache",
    "cache.memory_fraction": "kvCache.memoryPercent",
    "cache.offload_bytes": "kvCache.offload",
}
"""Field of an EngineSpec -> where the service says it, as far as the names differ."""
_EVENT_FLAG: Final = "--kv-events-config"


def engine_parallelism(p: ParallelismSpec, field: str) -> Parallelism:
    """Raises Unservable where hosts do not divide the accelerators."""
    try:
        return Parallelism(p.tensor, p.pipeline, p.data, p.expert, p.hosts)
    except ValueError as error:
        why = str(error).partition(", which ")[2]
        raise Unservable(f"{field}parallelism.hosts", p.hosts, f"it {why}" if why else str(error)) from error


def engine_spec(
    service: ModelService,
    workload: RoleWorkload,
    engine: Engine,
    *,
    source: str,
    command: Sequence[str],
    args: Sequence[str],
    shadow: str,
    events: bool,
) -> EngineSpec:
    """`source` is what the engine is told to load, `shadow` a further name of the model, `events`: whether it is to
    publish what its cache holds, if it can. Raises Unservable."""
    spec = service.spec
    transfer = spec.kv_transfer or KvTransferSpec()
    return EngineSpec(
        model=spec.model.name,
        aliases=(*spec.model.aliases, *((shadow,) if shadow else ())),
        source=source,
        command=tuple(command),
        args=tuple(args),
        drain_s=spec.termination_grace_period_seconds,
        parallelism=engine_parallelism(workload.parallelism, workload.field),
        role=workload.role,
        kv_transfer=KvTransfer(transfer.connector, transfer.port, transfer.settings),
        adapters=_adapters(spec.adapters),
        cache=_cache(workload.kv_cache, workload.field),
        max_context_tokens=spec.model.max_context_tokens,
        kv_events=KvEventPublishing() if events and _publishes(engine, workload, args) else None,
    )


def refusal(error: EngineSpecError, runtime: str, field: str) -> Unservable:
    """What an adapter refuses, in terms of the service; `field` is where the role stands."""
    name = _FIELDS.get(error.field) or re.sub(
        r"_([a-z])", lambda m: m[1].upper(), error.field.replace("cache.", "kvCache.")
    )
    is_role_field = name.startswith(("parallelism", "kvCache", "args"))
    value = error.value if isinstance(error.value, (str, int, float, bool)) else None
    return Unservable(f"{field}{name}" if is_role_field else name, value, f"runtime {runtime}: {error.remedy}")


def refuse_own_flags(spec: EngineSpec, argv: Sequence[str], own: Sequence[str], field: str) -> None:
    """Refuse arguments of a service for what Fairlead relies on: address and port. Raises Unservable."""
    ours = {
        normal(flag) for flag, value in pairwise(argv) if flag.startswith("--") and value in (spec.host, str(spec.port))
    }
    taken = ours.intersection(flags(own))
    if taken:
        raise Unservable(
            f"{field}args", sorted(taken)[0],
            f"Fairlead sets it: probes and gateway reach the engine at the pod's port {spec.port}; leave it out",
        )  # fmt: skip


def _adapters(policy: AdapterPolicy | None) -> AdapterSettings | None:
    return None if policy is None else AdapterSettings(max_count=policy.slots, max_rank=policy.max_rank)


def _cache(cache: KvCache, field: str) -> CacheSettings:
    return CacheSettings(
        block_tokens=cache.block_tokens,
        memory_fraction=None if cache.memory_percent is None else cache.memory_percent / 100,
        dtype=cache.dtype or None,
        prefix_caching=cache.prefix_caching,
        offload_bytes=_bytes(cache.offload, f"{field}kvCache.offload") if cache.offload else None,
    )


def _bytes(text: str, field: str) -> int:
    try:
        return int(Quantity.parse(text).amount)
    except ValueError as error:
        raise Unservable(field, text, f"{error}; write an amount such as 64Gi") from None


def _publishes(engine: Engine, workload: RoleWorkload, args: Sequence[str]) -> bool:
    """Engines that push their events do it by a flag; those that are asked for them want a file, which is the
    service's affair. Encode engines hold no prefix."""
    return (
        engine.kv_events == "zmq"
        and workload.role != "encode"
        and workload.kv_cache.prefix_caching is not False
        and _EVENT_FLAG not in flags(args)
    )
