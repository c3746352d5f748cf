"""What the controller knows of services' models: read once for each source beside the looks at services, which never
wait for a source.

A service without pods is looked at again when its source has answered or has been given up, so that what cannot work is
said before a pod is made. What a source cannot be asked for (claims, paths of other machines) stays unknown.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from fairlead.api.model_service import ModelService, ModelStatus
from fairlead.clock import SYSTEM, Clock
from fairlead.kube.resources import ObjectKey
from fairlead.serving.resolved import ModelFacts, Resolved, Unservable
from fairlead.serving.store.facts import NoFacts, read_facts
from fairlead.serving.store.mount import ANY, loads_itself, scheme_of

TIMEOUT_S = 10.0
"""How long a service without pods waits for its source."""
_KEPT_S = 3600.0
_RETRY_S = 60.0
_AT_A_TIME = 4
_ASKED = frozenset({"hf", "s3", "gs", "http", "https", "oci"})
_SECRETS = ("TOKEN", "KEY", "AUTH", "CREDENTIAL")

Reader = Callable[[str, str], Awaitable[ModelFacts | NoFacts]]
"""Source and format of the weights -> what is known."""


@dataclass(frozen=True, slots=True)
class Found:
    """`facts` None: nothing is known. `is_reading`: an answer is still to come."""

    facts: ModelFacts | None = None
    nothing: NoFacts | None = None
    is_reading: bool = False

    def refusal(self, service: ModelService, wanted: Resolved | Unservable) -> Unservable | None:
        """The service's source is not there, and there is no login, and no volume, that only its pods have."""
        model = service.spec.model
        if self.nothing is None or not self.nothing.is_final or model.pull_secret:
            return None
        if scheme_of(model.source) == "file" and _is_mounted(model.source.removeprefix("file://"), wanted):
            return None
        if any(word in variable.name.upper() for variable in service.spec.env for word in _SECRETS):
            return None
        return Unservable("model.source", model.source, self.nothing.reason)

    def status(self, before: ModelStatus | None) -> ModelStatus | None:
        """What the service's status says of the model."""
        if self.facts is None:
            return before if self.nothing is None else ModelStatus(message=self.nothing.reason)
        architectures = (self.facts.config or {}).get("architectures") or [""]
        return ModelStatus(self.facts.digest, self.facts.weights_bytes or 0, str(architectures[0]))


@dataclass(slots=True)
class _Entry:
    answer: ModelFacts | NoFacts
    read_s: float


def needs_weights(wanted: Resolved | Unservable) -> bool:
    """Whether it matters what the source has: simulated engines run without."""
    return not isinstance(wanted, Resolved) or ANY not in loads_itself(wanted.engine.runtime)


class ModelsRead:
    """Sources that were asked, by URL and format. `enqueue` is told which services are to be looked at again."""

    def __init__(
        self,
        enqueue: Callable[[ObjectKey], None],
        clock: Clock = SYSTEM,
        read: Reader | None = None,
        *,
        own_paths: bool = False,
    ) -> None:
        """`own_paths`: what is not on this machine is nowhere (`ClusterFacts`)."""
        self._enqueue, self._clock, self._own_paths = enqueue, clock, own_paths
        self._read = read or _read
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._waiting: dict[tuple[str, str], set[ObjectKey]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(_AT_A_TIME)

    def look(self, key: ObjectKey, service: ModelService) -> Found:
        """What is known of a service's model now; begins to ask where nobody has."""
        if not self._can_be_asked(service):
            return Found()
        model = service.spec.model
        asked = (model.source, model.format)
        entry = self._entries.get(asked)
        if entry is not None and self._clock.monotonic_s() - entry.read_s > _age_s(entry):
            self._begin(asked, key)
        elif entry is None:
            self._begin(asked, key)
            return Found(is_reading=True)
        return Found(entry.answer) if isinstance(entry.answer, ModelFacts) else Found(None, entry.answer)

    def _can_be_asked(self, service: ModelService) -> bool:
        model = service.spec.model
        if ANY in loads_itself(service.spec.runtime):
            return False
        path = model.source.removeprefix("file://")
        if scheme_of(model.source) == "file":
            return path.startswith("/") and (self._own_paths or os.path.exists(path))
        return scheme_of(model.source) in _ASKED

    def _begin(self, asked: tuple[str, str], key: ObjectKey) -> None:
        if asked in self._waiting:
            self._waiting[asked].add(key)
            return
        self._waiting[asked] = {key}
        task = asyncio.get_running_loop().create_task(self._ask(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, asked: tuple[str, str]) -> None:
        try:
            async with self._turn:
                answer = await self._read(*asked)
        except Exception as error:  # A source must not be able to stop a service.
            answer = NoFacts(f"{asked[0]}: {type(error).__name__}: {error}")
        if isinstance(answer, ModelFacts):
            # Which commit it is today is not pinned: replicas that come later would differ from those of a restart.
            answer = replace(answer, exact_source="")
        self._entries[asked] = _Entry(answer, self._clock.monotonic_s())
        for key in self._waiting.pop(asked):
            self._enqueue(key)


def _age_s(entry: _Entry) -> float:
    return _KEPT_S if isinstance(entry.answer, ModelFacts) else _RETRY_S


def _is_mounted(path: str, wanted: Resolved | Unservable) -> bool:
    """Whether some engine of the service has a volume where its model is."""
    if not isinstance(wanted, Resolved):
        return False
    ways = [way for role in wanted.roles.values() for way in role.ways]
    containers = [c for way in ways for t in (way.leader, *way.workers) for c in t["spec"].get("containers", ())]
    mounts = [str(m.get("mountPath", "")) for c in containers for m in c.get("volumeMounts", ())]
    return any(mount and os.path.commonpath((mount, path)) == os.path.normpath(mount) for mount in mounts)


async def _read(url: str, format: str) -> ModelFacts | NoFacts:
    return await read_facts(url, format=format, timeout_s=TIMEOUT_S)
