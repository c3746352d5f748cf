"""Which Events are worth writing: repeats are counted, similar ones combined, floods cut (the rules of client-go).

Pure but for the clock: `Correlator.correlate` decides, `EventRecorder` writes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, TypeVar

from fairlead.clock import Clock
from fairlead.kube.rate_limit import RateLimit

K = TypeVar("K")
V = TypeVar("V")

_REMEMBERED: Final = 4096
_SIMILAR_LIMIT: Final = 10
_SIMILAR_INTERVAL_S: Final = 600.0
_BURST: Final = 25
_REFILL_PER_S: Final = 1 / 300
_COMBINED: Final = "(combined from similar events): "


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    field_path: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.api_version, self.kind, self.namespace, self.name, self.uid, self.field_path)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened to a subject. `type` is Normal or Warning."""

    subject: Subject
    type: str
    reason: str
    message: str
    action: str = ""


@dataclass(slots=True)
class Sighting:
    """What is known of occurrences that count as the same."""

    message: str
    first_s: float
    last_s: float
    count: int = 0
    event_name: str = ""
    """The name of the Event that was written for them, empty before the first write."""


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last_s: float = 0.0


class Correlator:
    """Remembers recent occurrences and decides what becomes of a new one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sightings: OrderedDict[tuple[object, ...], Sighting] = OrderedDict()
        self._similar: OrderedDict[tuple[object, ...], _Similar] = OrderedDict()
        self._limits: OrderedDict[tuple[str, ...], RateLimit] = OrderedDict()

    def correlate(self, occurrence: Occurrence) -> Sighting | None:
        """The sighting that the occurrence adds to, its count raised; None where it is one of a flood."""
        limit = self._limits.get(occurrence.subject.identity)
        if limit is None:
            limit = RateLimit(_REFILL_PER_S, _BURST, clock=self._clock)
        _remember(self._limits, occurrence.subject.identity, limit)
        if not limit.try_take():
            return None
        kind = (*occurrence.subject.identity, occurrence.type, occurrence.reason)
        is_combined = self._is_combined(kind, occurrence.message)
        key = (*kind, None if is_combined else occurrence.message)
        now_s = self._clock.wall_s()
        sighting = self._sightings.get(key) or Sighting("", now_s, now_s)
        sighting.message = _COMBINED + occurrence.message if is_combined else occurrence.message
        sighting.last_s = now_s
        sighting.count += 1
        _remember(self._sightings, key, sighting)
        return sighting

    def _is_combined(self, kind: tuple[object, ...], message: str) -> bool:
        """Whether so many messages differ only in their text that this one is told together with the others."""
        now_s = self._clock.monotonic_s()
        similar = self._similar.get(kind)
        if similar is None or now_s - similar.last_s > _SIMILAR_INTERVAL_S:
            similar = _Similar()
        similar.last_s = now_s
        if len(similar.messages) <= _SIMILAR_LIMIT:
            similar.messages.add(message)
        _remember(self._similar, kind, similar)
        return len(similar.messages) > _SIMILAR_LIMIT


def _remember(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > _REMEMBERED:
        table.popitem(last=False)
