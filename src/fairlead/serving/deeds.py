"""The one place where actions become calls: pods made, drained, taken back, moved between pools, restarted, deleted.

Every deed may be done twice: names are deterministic and each pod is meant by its uid, so that a controller that was
killed between two calls, or one that acts on an old view, makes nothing double and deletes nothing new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.api.model_service import ModelService
from fairlead.clock import Clock, format_time
from fairlead.kube.errors import ApiError
from fairlead.kube.objects import Pod
from fairlead.serving.actions import Action, Create, Delete, Drain, MoveTrack, RestartMember, Undrain
from fairlead.serving.names import (
    DRAIN_REASON_ANNOTATION,
    DRAINING_ANNOTATION,
    REPLICA_LABEL,
    TRACK_LABEL,
    replica_name,
)
from fairlead.serving.recovery import avoiding
from fairlead.serving.render import replica_pods
from fairlead.serving.replicas import Replicas
from fairlead.serving.resolved import Resolved

_LOG = logging.getLogger("fairlead.serving")

REFUSED = (400, 403, 422)
"""Answers that say that the API server will not have a pod as it is: told in the status instead of retried at once."""

Tell = Callable[[str, str], None]
"""Takes the reason and the message of an Event."""


@dataclass(frozen=True, slots=True)
class Site:
    """What deeds are done to: one service, its pods, and how those of each revision are made."""

    service: ModelService
    pods: Sequence[Pod]
    revisions: Mapping[str, Resolved]
    avoid: Sequence[str] = ()
    """Nodes that new pods had better not go to."""
    tell: Tell = field(default=lambda reason, message: None)

    def of(self, replica: str) -> list[Pod]:
        return [p for p in self.pods if p.metadata.labels.get(REPLICA_LABEL, p.metadata.name) == replica]


class Deeds:
    """Carries out steps."""

    def __init__(self, replicas: Replicas, clock: Clock) -> None:
        self._replicas = replicas
        self._clock = clock

    async def carry_out(self, site: Site, actions: Sequence[Action]) -> str:
        """All of them, those side by side that need not wait for others. Returns why a pod is not accepted, or nothing.
        Raises other ApiErrors.

        What is made comes last: it takes the room that those give that leave, and a controller that ends in between
        leaves no more replicas than there may be."""
        made = [a for a in actions if isinstance(a, Create)]
        others = [a for a in actions if not isinstance(a, Create)]
        return await self._side_by_side(site, others) or await self._side_by_side(site, made)

    async def _side_by_side(self, site: Site, actions: Sequence[Action]) -> str:
        """Raises when the rest has been done."""
        done = await asyncio.gather(*(self._one(site, action) for action in actions), return_exceptions=True)
        errors = [e for e in done if isinstance(e, BaseException)]
        refused = [e for e in errors if isinstance(e, ApiError) and e.http_code in REFUSED]
        for error in errors:
            if error not in refused:
                raise error
        return str(refused[0]) if refused else ""

    async def _one(self, site: Site, action: Action) -> None:
        if isinstance(action, Create):
            await self._create(site, action)
        elif isinstance(action, Drain):
            await self._drain(site, action)
        elif isinstance(action, Undrain):
            await self._undrain(site, action)
        elif isinstance(action, Delete):
            await self._delete(site, action)
        elif isinstance(action, RestartMember):
            await self._restart(site, action)
        else:
            await self._move(site, action)

    async def _create(self, site: Site, action: Create) -> None:
        resolved = site.revisions.get(action.revision)
        if resolved is None:
            _LOG.warning("%s: revision %s is not known any more", site.service.name, action.revision)
            return
        name = replica_name(site.service.name, action.role, action.revision, action.ordinal)
        there = {p.metadata.name for p in site.of(name)}
        bodies = replica_pods(
            site.service, resolved, action.role, name, action.ordinal, action.alternative, action.track
        )
        missing = [body for body in bodies if body["metadata"]["name"] not in there]
        for body in missing:
            affinity = avoiding(body["spec"].get("affinity"), site.avoid)
            body["spec"] = {**body["spec"], **({"affinity": affinity} if affinity else {})}
        await asyncio.gather(*(self._replicas.create(body) for body in missing))
        if missing:
            site.tell("ReplicaCreated", f"Created {name}: {action.reason}")

    async def _drain(self, site: Site, action: Drain) -> None:
        said = {
            DRAINING_ANNOTATION: format_time(self._clock.wall_s()),
            DRAIN_REASON_ANNOTATION: action.reason,
        }
        await self._annotate(site, action.replica, said)
        site.tell("ReplicaDraining", f"Draining {action.replica}: {action.reason}")

    async def _undrain(self, site: Site, action: Undrain) -> None:
        await self._annotate(site, action.replica, {DRAINING_ANNOTATION: None, DRAIN_REASON_ANNOTATION: None})
        site.tell("ReplicaKept", f"Kept {action.replica}: {action.reason}")

    async def _annotate(self, site: Site, replica: str, annotations: Mapping[str, str | None]) -> None:
        pods = [p for p in site.of(replica) if not p.metadata.is_deleting]
        await asyncio.gather(*(self._replicas.annotate(p, annotations) for p in pods))

    async def _delete(self, site: Site, action: Delete) -> None:
        pods = site.of(action.replica)
        grace_s = 0 if action.force else None if action.grace_s is None else round(action.grace_s)
        # One that is going already is asked again only where nobody waits for its node any more.
        going = [p for p in pods if action.force or not p.metadata.is_deleting]
        await asyncio.gather(*(self._replicas.delete(p, grace_s) for p in going))
        if going:
            site.tell("ReplicaDeleted", f"Deleted {action.replica}: {action.reason}")

    async def _restart(self, site: Site, action: RestartMember) -> None:
        pods = [p for p in site.of(action.replica) if p.metadata.name == action.member]
        await asyncio.gather(*(self._replicas.delete(p, None) for p in pods if not p.metadata.is_deleting))
        if pods:
            site.tell("MemberRestarted", f"Deleted {action.member} to be made anew: {action.reason}")

    async def _move(self, site: Site, action: MoveTrack) -> None:
        pods = [p for p in site.of(action.replica) if not p.metadata.is_deleting]
        await asyncio.gather(*(self._replicas.label(p, {TRACK_LABEL: action.track}) for p in pods))
        site.tell("ReplicaMoved", f"{action.replica} is {action.track} now: {action.reason}")
