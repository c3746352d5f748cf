"""Asks Kubernetes for the first replica of a pool that has none, through the `/scale` subresource of what makes them.

Asked once, and again only while requests still wait; with back-off where the API does not answer. What can never
succeed (no such object, no permission, nothing that scales) is remembered for a moment, so that requests are answered
with the reason at once instead of waiting in vain. Replica counts that somebody else owns are left alone, see
`scale_plan`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from fairlead.api.model_service import MODEL_SERVICES
from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.flow.scale_plan import SCALED_BY, Ask, Leave, Refuse, Seen, Target, decide_first_replica
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import (
    ApiError,
    BadRequest,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
    UnsupportedMediaType,
)
from fairlead.kube.event_correlation import Occurrence
from fairlead.kube.events import EventRecorder, subject_of
from fairlead.kube.kinds import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, REPLICA_SETS, STATEFUL_SETS
from fairlead.kube.objects.autoscaling import Scale
from fairlead.kube.resources import Resource, Unstructured
from fairlead.kube.transport import Unreachable

_LOG = logging.getLogger("fairlead.gateway.flow")

_KNOWN: Final = {
    resource.kind: resource.as_unstructured() for resource in (MODEL_SERVICES, DEPLOYMENTS, STATEFUL_SETS, REPLICA_SETS)
}
_FINAL = (BadRequest, Forbidden, Invalid, MethodNotAllowed, NotFound, Unauthorized, UnsupportedMediaType)
"""Answers that another attempt does not change."""

ASK_TIMEOUT_S: Final = 10.0
REFUSED_FOR_S: Final = 10.0
"""How long a refusal stands before the next request has it tried again."""
ASK_AGAIN_S: Final = 15.0
"""Somebody may take the replica away again while requests wait."""
STILL_WANTED_S: Final = 5.0
"""Gates ask every second while requests wait: without one for this long, nobody does any more."""
FORGET_S: Final = 3600.0

NOTHING_TO_SCALE: Final = "No replica is ready, and the pool names nothing that the gateway could scale."


@dataclass(slots=True)
class _Wish:
    """The wish for a first replica of one target."""

    target: Target
    wanted_s: float
    pools: set[str] = field(default_factory=set)
    """Whose requests wait for it."""
    story: str = ""
    """What was done or is in the way, for people."""
    refusal: str = ""
    again_s: float = 0.0
    """No attempt before this time."""
    task: asyncio.Task[None] | None = None


class FirstReplica:
    """Makes the first replicas of all pools come, by the rules of `decide_first_replica`."""

    def __init__(
        self, client: Client, on_refusal: Callable[[str], None], *, events: EventRecorder | None = None,
        clock: Clock = SYSTEM, backoff: Backoff | None = None,
    ) -> None:  # fmt: skip
        """`on_refusal` is called with the key of each pool whose requests will wait in vain: poke its gate."""
        self._client = client
        self._discovery = Discovery(client)
        self._on_refusal = on_refusal
        self._events = events
        self._clock = clock
        self._backoff = backoff or Backoff(first_s=0.25, max_s=10.0)
        self._wishes: dict[str, _Wish] = {}
        self._is_closed = False

    def wanted(self, pool: str, target: str) -> str:
        """A request for a pool without endpoints came, or waits still. Returns why it would wait in vain, or nothing.

        `target` is Kind/namespace/name; empty where nothing can be scaled.
        """
        if not target:
            return NOTHING_TO_SCALE
        now_s = self._clock.monotonic_s()
        wish = self._wishes.get(target)
        if wish is None:
            try:
                parsed = Target.parse(target)
            except ValueError as error:
                return f"No replica is ready: {error}."
            self._forget_old(now_s)
            wish = self._wishes[target] = _Wish(parsed, now_s)
        wish.wanted_s = now_s
        wish.pools.add(pool)
        if now_s >= wish.again_s:
            if (wish.task is None or wish.task.done()) and not self._is_closed:
                wish.task = asyncio.get_running_loop().create_task(self._fulfil(wish), name=f"first replica {target}")
        elif wish.refusal:
            return wish.refusal
        return ""

    def story(self, target: str) -> str:
        """What was done for a target, or is in the way, as a sentence; empty when nothing was."""
        wish = self._wishes.get(target)
        return wish.story if wish is not None else ""

    async def close(self) -> None:
        """Give up what is under way."""
        self._is_closed = True
        tasks = [wish.task for wish in self._wishes.values() if wish.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_old(self, now_s: float) -> None:
        self._wishes = {
            target: wish
            for target, wish in self._wishes.items()
            if now_s - wish.wanted_s < FORGET_S or (wish.task is not None and not wish.task.done())
        }

    async def _fulfil(self, wish: _Wish) -> None:
        """Ask until there is an answer, or nobody waits any more."""
        failures = 0
        while True:
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    step = await self._ask(wish.target)
            except _FINAL as error:
                return self._refused(wish, f"{wish.target} cannot be scaled: {error.message}")
            except (ApiError, Unreachable, CredentialsError, TimeoutError, msgspec.MsgspecError) as error:
                failures += 1
                wish.story = f"The Kubernetes API could not be asked for a replica of {wish.target}: {_reason(error)}."
                if failures == 1:
                    _LOG.warning("%s", wish.story)
            except Exception:
                _LOG.exception("first replica of %s", wish.target)
                wish.again_s = self._clock.monotonic_s() + ASK_AGAIN_S
                wish.story = f"The gateway failed to ask for a replica of {wish.target}; its log says why."
                return
            else:
                wish.refusal, wish.story = "", step.story
                wish.again_s = self._clock.monotonic_s() + ASK_AGAIN_S
                if isinstance(step, Refuse):
                    self._refused(wish, step.story)
                return
            await self._clock.sleep(self._backoff.delay_s(failures))
            if self._clock.monotonic_s() - wish.wanted_s > STILL_WANTED_S:
                return

    def _refused(self, wish: _Wish, story: str) -> None:
        wish.refusal = f"No replica is ready, and none can be started: {story}"
        wish.story = story
        wish.again_s = self._clock.monotonic_s() + REFUSED_FOR_S
        _LOG.warning("no first replica: %s", story)
        pools, wish.pools = wish.pools, set()
        for pool in pools:
            self._on_refusal(pool)

    async def _ask(self, target: Target) -> Ask | Leave | Refuse:
        resource = await self._resource(target.kind)
        whole = await self._client.get(resource, target.name, target.namespace)
        scale = await self._client.scale(resource, target.name, target.namespace)
        replicas = scale.spec.replicas or 0
        metadata = whole.get("metadata") or {}
        autoscaler = await self._autoscaler_of(target) if not replicas else ""
        step = decide_first_replica(
            target,
            Seen(
                replicas, bool(metadata.get("deletionTimestamp")),
                str((metadata.get("annotations") or {}).get(SCALED_BY, "")), autoscaler,
            ),
        )  # fmt: skip
        if isinstance(step, Ask):
            await self._set_one(resource, target, scale)
            _LOG.info("%s", step.story)
            if self._events is not None:
                subject = subject_of(resource, whole)
                self._events.record(Occurrence(subject, "Normal", "ScaledFromZero", step.story, "Scale"))
        return step

    async def _set_one(self, resource: Resource[Unstructured], target: Target, scale: Scale) -> None:
        """The version makes sure that a count which somebody else sets at the same time is not overwritten."""
        change = {"metadata": {"resourceVersion": scale.metadata.resource_version}, "spec": {"replicas": 1}}
        await self._client.request(
            "PATCH", resource.path(target.namespace, target.name, "scale"),
            params={"fieldManager": self._client.field_manager}, body=change,
            content_type="application/merge-patch+json",
        )  # fmt: skip

    async def _resource(self, kind: str) -> Resource[Unstructured]:
        known = _KNOWN.get(kind)
        if known is not None:
            return known
        try:
            return await self._discovery.find(kind)
        except NotFound:
            # It may have been installed since the server was asked.
            self._discovery.invalidate()
            return await self._discovery.find(kind)

    async def _autoscaler_of(self, target: Target) -> str:
        try:
            found = await self._client.list(HORIZONTAL_POD_AUTOSCALERS, target.namespace)
        except (Forbidden, NotFound) as error:
            _LOG.debug("autoscalers of %s cannot be listed: %s", target.namespace, error.message)
            return ""
        kind = target.kind.partition(".")[0]
        for autoscaler in found.items:
            reference = autoscaler.spec.scale_target_ref
            if reference is not None and (reference.kind, reference.name) == (kind, target.name):
                return f"HorizontalPodAutoscaler {autoscaler.metadata.name}"
        return ""


class PoolWaker:
    """`FirstReplica` as the gate of one pool sees it."""

    __slots__ = ("_pool", "_replicas", "_target")

    def __init__(self, replicas: FirstReplica, pool: str, target: Callable[[], str]) -> None:
        """`target` gives the pool's scale target as it is now."""
        self._replicas = replicas
        self._pool = pool
        self._target = target

    def wanted(self) -> str:
        return self._replicas.wanted(self._pool, self._target())

    def story(self) -> str:
        return self._replicas.story(self._target())


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
