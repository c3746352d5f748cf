"""Events: what a controller tells people about an object, shown by `kubectl describe`.

    async with EventRecorder(client, "fairlead-serving") as events:
        events.normal(PODS, pod, "Placed", "Placed on node-3 with 4 devices of nvlink domain 2")

Recording never blocks and never fails its caller: events are written in the background, repeats are counted on the
Event that exists, and what cannot be written is dropped and counted in `fairlead_events_dropped_total`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from types import TracebackType
from typing import Any, Final, TypeVar

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.kube import metrics
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, ApiError, NotFound
from fairlead.kube.event_correlation import Correlator, Occurrence, Sighting, Subject
from fairlead.kube.kinds import EVENTS
from fairlead.kube.objects import Event, EventSource, ObjectMeta, ObjectReference
from fairlead.kube.resources import Resource, metadata_of
from fairlead.kube.transport import Unreachable

_LOG = logging.getLogger("fairlead.kube.events")
T = TypeVar("T")
_BACKLOG: Final = 1000
_ATTEMPTS: Final = 4
_FLUSH_S: Final = 2.0
# The API server refuses longer ones.
_MAX_MESSAGE: Final = 1024


class EventRecorder:
    """Records events in the name of a component. An async context manager; leaving it writes what is pending."""

    def __init__(self, client: Client, component: str, *, instance: str | None = None, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._component = component
        self._instance = socket.gethostname() if instance is None else instance
        self._clock = clock
        self._correlator = Correlator(clock)
        self._pending: asyncio.Queue[Occurrence] = asyncio.Queue(_BACKLOG)
        self._writer: asyncio.Task[None] | None = None
        self._sequence = 0

    def normal(self, resource: Resource[T], obj: T, reason: str, message: str, *, action: str = "") -> None:
        """Tell of something that went as it should. `reason` is a CamelCase word, `message` a sentence."""
        self.record(Occurrence(subject_of(resource, obj), "Normal", reason, message, action))

    def warning(self, resource: Resource[T], obj: T, reason: str, message: str, *, action: str = "") -> None:
        """Tell of something that a person may have to look at."""
        self.record(Occurrence(subject_of(resource, obj), "Warning", reason, message, action))

    def record(self, occurrence: Occurrence) -> None:
        try:
            self._pending.put_nowait(occurrence)
        except asyncio.QueueFull:
            metrics.EVENTS_DROPPED.labels("backlog").inc()

    async def __aenter__(self) -> EventRecorder:
        self._writer = asyncio.create_task(self._write_all(), name=f"events of {self._component}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None
        try:
            async with asyncio.timeout(_FLUSH_S):
                await self._pending.join()
        except TimeoutError:
            _LOG.info("%d events were not written", self._pending.qsize())
        finally:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write_all(self) -> None:
        while True:
            occurrence = await self._pending.get()
            try:
                await self._write(occurrence)
            except Exception:
                metrics.EVENTS_DROPPED.labels("error").inc()
                _LOG.exception("event %s about %s", occurrence.reason, occurrence.subject.name)
            finally:
                self._pending.task_done()

    async def _write(self, occurrence: Occurrence) -> None:
        sighting = self._correlator.correlate(occurrence)
        if sighting is None:
            metrics.EVENTS_DROPPED.labels("flood").inc()
            return
        for attempt in range(_ATTEMPTS):
            try:
                return await self._store(occurrence, sighting)
            except (Unreachable, CredentialsError) as error:
                failure: Exception = error
                await self._clock.sleep(0.5 * 2.0**attempt)
            except ApiError as error:
                # A namespace that goes away takes no events, and a second attempt does not change an answer.
                failure = error
                break
        metrics.EVENTS_DROPPED.labels("error").inc()
        _LOG.info("event %s about %s: %s", occurrence.reason, occurrence.subject.name, failure)

    async def _store(self, occurrence: Occurrence, sighting: Sighting) -> None:
        namespace = occurrence.subject.namespace or "default"
        if sighting.event_name:
            try:
                await self._client.patch(EVENTS, sighting.event_name, self._repeat(sighting), namespace)
                return
            except NotFound:
                # Events live an hour; this one is told anew, with its history.
                sighting.event_name = ""
        self._sequence += 1
        stamp = int(self._clock.wall_s() * 1e9) + self._sequence
        name = f"{occurrence.subject.name[:200]}.{stamp:x}"
        # It exists already when the answer to an earlier attempt was lost on the way.
        with contextlib.suppress(AlreadyExists):
            await self._client.create(EVENTS, self._event(name, namespace, occurrence, sighting), namespace)
        sighting.event_name = name

    def _repeat(self, sighting: Sighting) -> dict[str, Any]:
        return {
            "count": sighting.count,
            "lastTimestamp": format_time(sighting.last_s),
            "message": sighting.message[:_MAX_MESSAGE],
        }

    def _event(self, name: str, namespace: str, occurrence: Occurrence, sighting: Sighting) -> Event:
        subject = occurrence.subject
        return Event(
            metadata=ObjectMeta(name=name, namespace=namespace),
            involved_object=ObjectReference(
                api_version=subject.api_version,
                kind=subject.kind,
                namespace=subject.namespace,
                name=subject.name,
                uid=subject.uid,
                resource_version=subject.resource_version,
                field_path=subject.field_path,
            ),
            type=occurrence.type,
            reason=occurrence.reason,
            message=sighting.message[:_MAX_MESSAGE],
            action=occurrence.action,
            count=sighting.count,
            first_timestamp=format_time(sighting.first_s),
            last_timestamp=format_time(sighting.last_s),
            source=EventSource(component=self._component, host=self._instance),
            reporting_component=self._component,
            reporting_instance=self._instance,
        )


def subject_of(resource: Resource[T], obj: T, *, field_path: str = "") -> Subject:
    """What identifies `obj` in an Event; `field_path` names a part, as `spec.containers{engine}`."""
    metadata = metadata_of(obj)
    return Subject(
        api_version=resource.api_version,
        kind=resource.kind,
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        field_path=field_path,
    )
