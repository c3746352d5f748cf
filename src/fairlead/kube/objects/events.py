"""Events about objects (core/v1)."""

from __future__ import annotations

from fairlead.kube.objects.meta import KubernetesObject, Part
from fairlead.kube.objects.volumes import ObjectReference


class EventSource(Part, frozen=True, gc=False):
    component: str = ""
    host: str = ""


class EventSeries(Part, frozen=True, gc=False):
    count: int | None = None
    last_observed_time: str | None = None


class Event(KubernetesObject, frozen=True, gc=False):
    action: str = ""
    count: int | None = None
    event_time: str | None = None
    first_timestamp: str | None = None
    involved_object: ObjectReference | None = None
    last_timestamp: str | None = None
    message: str = ""
    reason: str = ""
    related: ObjectReference | None = None
    reporting_component: str = ""
    reporting_instance: str = ""
    series: EventSeries | None = None
    source: EventSource | None = None
    type: str = ""
