"""The engines of a service as adapters see them: which pods can be asked, and what each has loaded.

What an engine has is remembered here, begun with what its pod says and corrected by what the engine lists. Nothing of
an earlier start of the engine counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.api.inference_pool import ADAPTER_STARTS_ANNOTATION, ADAPTERS_ANNOTATION
from fairlead.engines import ENGINES, RUNTIME_LABEL, Engine
from fairlead.kube.objects import Pod
from fairlead.serving.adapters.engine_calls import CallFailed, EngineAt, EngineCalls
from fairlead.serving.adapters.placement import EngineSlots
from fairlead.serving.adapters.versions import is_shadow
from fairlead.serving.names import DRAINING_ANNOTATION, MEMBER_LABEL, REVISION_LABEL, ROLE_LABEL, TRACK_LABEL

_LOG = logging.getLogger("fairlead.serving.adapters")

LOOK_INTERVAL_S: Final = 30.0
"""Between two looks at what an engine lists."""
_ROLES: Final = ("unified", "prefill", "decode")
"""That compute with adapters."""


@dataclass(slots=True)
class Failure:
    """A load that failed, or waits: how often, why, and when it is tried again (monotonic)."""

    times: int
    reason: str
    again_s: float
    is_wait: bool = False
    """Nothing went wrong so far: it is on its way."""


@dataclass(slots=True)
class SeenEngine:
    """One engine, from its start to its end. Times are monotonic."""

    pod: Pod
    at: EngineAt
    starts: int
    loaded: dict[str, float] = field(default_factory=dict)
    """Adapter -> since when."""
    loading: set[str] = field(default_factory=set)
    retiring: set[str] = field(default_factory=set)
    """Loaded, and to be unloaded once their requests have ended: nothing new is sent to them."""
    unloading: set[str] = field(default_factory=set)
    """Those of them that the engine was told to unload."""
    failed: dict[str, Failure] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    """What its pod's loader was told to fetch: slot -> source, or what `loader.Wanted` says."""
    sources_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    slots: int | None = None
    """As the engine says; None where it does not."""
    looked_s: float | None = None
    changes: int = 0
    """How often something was loaded or unloaded."""

    @property
    def name(self) -> str:
        return self.pod.metadata.name

    @property
    def role(self) -> str:
        return self.pod.metadata.labels.get(ROLE_LABEL, "unified")

    @property
    def track(self) -> str:
        return self.pod.metadata.labels.get(TRACK_LABEL, "stable")

    @property
    def group(self) -> str:
        """Engines that serve the same requests."""
        return f"{self.track}/{self.role}/{self.pod.metadata.labels.get(REVISION_LABEL, '')}"

    @property
    def is_usable(self) -> bool:
        """Whether it serves and will go on to."""
        meta = self.pod.metadata
        return (
            not meta.is_deleting
            and meta.annotations.get(DRAINING_ANNOTATION, "false") == "false"
            and is_ready(self.pod)
            and self.looked_s is not None
        )

    @property
    def serving(self) -> frozenset[str]:
        """Adapters that it may be sent requests for."""
        return frozenset(self.loaded) - self.retiring

    def as_slots(self, policy_slots: int, now_s: float) -> EngineSlots:
        """As placement sees it."""
        slots = policy_slots if self.slots is None else min(policy_slots, self.slots)
        there = {name: now_s - since_s for name, since_s in self.loaded.items()}
        return EngineSlots(self.name, self.group, slots, {**dict.fromkeys(self.loading, 0.0), **there}, self.is_usable)


class SeenEngines:
    """Of all services; forgets engines that are gone."""

    def __init__(self, calls: EngineCalls) -> None:
        self._calls = calls
        self._engines: dict[str, SeenEngine] = {}  # pod uid ->

    def of(self, pods: Iterable[Pod], port: int, now_s: float) -> list[SeenEngine]:
        """The engines of these pods that could be asked, by name."""
        found = []
        for pod in sorted(pods, key=lambda p: p.metadata.name):
            engine = self._seen(pod, port, now_s)
            if engine is not None:
                found.append(engine)
        return found

    def forget_all_but(self, uids: frozenset[str], mine: Iterable[str]) -> None:
        """Of these engines, drop those whose pods are gone."""
        for uid in mine:
            if uid not in uids:
                self._engines.pop(uid, None)

    async def look(self, engine: SeenEngine, now_s: float) -> None:
        """Ask the engine what it has, where that was not done lately."""
        if engine.looked_s is not None and now_s - engine.looked_s < LOOK_INTERVAL_S:
            return
        changes = engine.changes
        try:
            listed = await self._calls.listed(engine.at)
            signals = await self._calls.signals(engine.at)
        except CallFailed as error:
            # It is ready by its probes: what was known of it holds, and it is asked again.
            _LOG.info("%s", error)
            return
        engine.looked_s = now_s
        if signals is not None and signals.max_adapters:
            engine.slots = signals.max_adapters
        if listed is None or changes != engine.changes or engine.loading or engine.unloading:
            # What it lists may be of before.
            return
        for name in [n for n in engine.loaded if n not in listed]:
            _LOG.info("%s has lost %s", engine.name, name)
            engine.loaded.pop(name)
            engine.retiring.discard(name)
        for name, is_adapter in listed.items():
            # Models have names of versions too.
            if is_adapter and is_shadow(name) and name not in engine.loaded:
                engine.loaded[name] = now_s

    def _seen(self, pod: Pod, port: int, now_s: float) -> SeenEngine | None:
        at = engine_at(pod, port)
        if at is None or not takes_adapters(pod):
            return None
        starts = starts_of(pod)
        known = self._engines.get(pod.metadata.uid)
        if known is None or known.starts != starts or known.at.url != at.url:
            known = SeenEngine(pod, at, starts, dict.fromkeys(said_by(pod), now_s))
            self._engines[pod.metadata.uid] = known
        known.pod = pod
        return known


def takes_adapters(pod: Pod) -> bool:
    """Whether it is one that computes with adapters: a leader, of a role that does."""
    labels = pod.metadata.labels
    return labels.get(MEMBER_LABEL, "0") == "0" and labels.get(ROLE_LABEL, "unified") in _ROLES


def engine_at(pod: Pod, port: int) -> EngineAt | None:
    """Where its engine answers; None while it has no address, or runs what is not known."""
    engine = engine_of(pod)
    if engine is None or not pod.status.pod_ip:
        return None
    host = f"[{pod.status.pod_ip}]" if ":" in pod.status.pod_ip else pod.status.pod_ip
    return EngineAt(pod.metadata.name, engine, f"http://{host}:{port}")


def engine_of(pod: Pod) -> Engine | None:
    return ENGINES.get(pod.metadata.labels.get(RUNTIME_LABEL, ""))


def starts_of(pod: Pod) -> int:
    """How often its containers were restarted."""
    return sum(status.restart_count for status in pod.status.container_statuses)


def said_by(pod: Pod) -> list[str]:
    """Adapters that the pod says it has, of this start."""
    annotations: Mapping[str, str] = pod.metadata.annotations
    if annotations.get(ADAPTER_STARTS_ANNOTATION, "0") != str(starts_of(pod)):
        return []
    return [name for name in annotations.get(ADAPTERS_ANNOTATION, "").split(",") if name]


def is_ready(pod: Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
