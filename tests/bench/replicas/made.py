"""Pods and loads made by hand for the tests of what scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.bench.replicas.load_seen import LoadSeen
from fairlead.bench.replicas.steps import Steps
from fairlead.bench.replicas.timeline import Timeline, timeline
from fairlead.bench.scaling_summary import Moments, PodLife
from fairlead.clock import format_time
from fairlead.kube.objects import Pod


def pod(
    name: str = "a", *, node: str = "", running_s: float | None = None, ready_s: float | None = None,
    created_s: float = 0.0, scheduled_s: float | None = None, deleted_s: float | None = None, grace_s: int = 30,
    phase: str = "", spec: dict[str, Any] | None = None, uid: str = "", claims: Sequence[str] = (), ip: str = "",
    **metadata: Any,
) -> Pod:  # fmt: skip
    """As the API has it; times in seconds since the epoch, told in whole ones."""
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": format_time(at_s)}
        for kind, at_s in (("PodScheduled", scheduled_s), ("Ready", ready_s))
        if at_s is not None
    ]
    status: dict[str, Any] = {"phase": phase, "conditions": conditions, "podIP": ip}
    if running_s is not None:
        state = {"running": {"startedAt": format_time(running_s)}}
        status["containerStatuses"] = [{"name": "main", "state": state}]
    if claims:
        status["resourceClaimStatuses"] = [{"name": claim, "resourceClaimName": claim} for claim in claims]
    meta = {"name": name, "namespace": "n", "uid": uid or name, "creationTimestamp": format_time(created_s), **metadata}
    if deleted_s is not None:
        # The API says by when it must be gone.
        meta |= {"deletionTimestamp": format_time(deleted_s + grace_s), "deletionGracePeriodSeconds": grace_s}
    of = {"containers": [{"name": "main"}], "nodeName": node, **(spec or {})}
    return msgspec.convert({"metadata": meta, "spec": of, "status": status}, Pod)


def life(
    name: str, scheduled: float | None, ready: float | None, leaving: float | None = None, gone: float | None = None,
    *, created: float | None = None, accelerators: float | None = None, replica: str = "", size: int = 1,
    unsure_s: float = 0.0,
) -> PodLife:  # fmt: skip
    """Seen from its creation on, if that is given; else told to have been there."""
    moments = Moments(created, scheduled, scheduled, ready, leaving, gone)
    seen, told = (moments, Moments()) if created is not None else (Moments(leaving=leaving, gone=gone), moments)
    serving = () if ready is None else ((ready, gone if leaving is None else leaving),)
    return PodLife(name, replica or name, seen, told, serving, accelerators, size, unsure_s)


def line(wanted: Sequence[tuple[float, float | None]], lives: Sequence[PodLife], **more: Any) -> Timeline:
    """A workload's."""
    return timeline("Deployment n/w", Steps(*map(tuple, zip(*wanted, strict=True))), lives, **more)


def even(rates: Sequence[tuple[float, float, float, float]], slice_s: float = 0.125) -> LoadSeen:
    """Of stretches (from, to, requests per second, share of good ones), evenly."""
    end_s = max(until_s for _, until_s, *_ in rates)
    slices = round(end_s / slice_s)
    rows = [[0.0] * slices for _ in range(7)]
    for begin_s, until_s, rate, good in rates:
        for at in range(round(begin_s / slice_s), round(until_s / slice_s)):
            count = rate * slice_s
            rows[0][at] = rows[1][at] = rows[5][at] = count
            rows[2][at] = count * good
            rows[4][at], rows[6][at] = count * 10, count * 0.1
    return LoadSeen(slice_s, tuple(tuple(row) for row in rows))
