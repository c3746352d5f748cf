"""What an engine has said of itself, put into the replica that it leads. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fairlead.serving.observed import EngineView, Replica


def with_views(replicas: Sequence[Replica], views: Mapping[str, EngineView]) -> tuple[Replica, ...]:
    """The replicas with what their leaders' engines told. `views` by uid of the pod; without one nothing is known."""
    return tuple(_with_view(replica, views) for replica in replicas)


def _with_view(replica: Replica, views: Mapping[str, EngineView]) -> Replica:
    leader = next((m for m in replica.alive if m.index == 0), None)
    view = views.get(leader.uid) if leader is not None else None
    if view is None:
        return replica
    return replace(
        replica,
        in_flight=view.in_flight,
        in_flight_s=view.seen_s,
        idle_s=view.idle_s,
        warmth=view.kv_usage if view.kv_usage is not None else replica.warmth,
    )
