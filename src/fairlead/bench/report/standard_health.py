"""How the servers' processes and pods were during a stage, as a Benchmark Report has it: restarts of engines, ready
replicas over time, and how long pods took to start. Only of what was watched."""

from __future__ import annotations

from statistics import fmean

import msgspec

from fairlead.bench.report.standard_schema import Statistics
from fairlead.bench.report.standard_series import stamp, when
from fairlead.bench.scaling_summary import PodLife, WorkloadScaling
from fairlead.bench.summary import RunSummary, StageSummary


def component_health(run: RunSummary, stage: StageSummary) -> list[object] | None:
    """Restarts are those that an engine's own page tells of."""
    for seen in run.server_side.stages if run.server_side is not None else ():
        if seen.stage == stage.index and seen.by_engine:
            return [
                {
                    "component_label": label,
                    "total_restarts": of.restarts,
                    "failed_replicas": 1 if of.restarts else 0,
                }
                for label, of in seen.by_engine.items()
            ]
    return None


def replica_status(run: RunSummary, stage: StageSummary) -> dict[str, object] | None:
    """Ready replicas of everything that was watched, from change to change; the controllers as they were at the end."""
    scaling, began = run.scaling, when(run.began)
    if scaling is None or not scaling.workloads:
        return None
    ready = [_over(stage, workload.times_s, workload.ready) for workload in scaling.workloads]
    found: dict[str, object] = {}
    if all(ready):
        seconds = stage.end_s - stage.begin_s
        mean = sum(sum(value * length for value, length in of) for of in ready) / seconds if seconds > 0 else 0.0
        most, least = (sum(f(value for value, _ in of) for of in ready) for f in (max, min))
        found["aggregate_ready_replicas"] = _said(Statistics(units="count", mean=mean, min=least, max=most))
    controllers = [one for workload in scaling.workloads if (one := _controller(stage, workload)) is not None]
    if controllers and began is not None:
        found |= {"timestamp": stamp(began, stage.end_s), "controllers": controllers}
    return found or None


def pod_startup_times(run: RunSummary) -> dict[str, object] | None:
    """Of the pods that were created during the run and became ready."""
    began = when(run.began)
    pods = [pod for workload in (run.scaling.workloads if run.scaling is not None else ()) for pod in workload.pods]
    took = [(pod, seconds) for pod in pods if (seconds := _startup_s(pod)) is not None]
    if not took or began is None:
        return None
    values = [seconds for _, seconds in took]
    return {
        "pods": [
            {
                "name": pod.name,
                "creation_timestamp": stamp(began, pod.at("created") or 0.0),
                "ready_timestamp": stamp(began, pod.at("ready") or 0.0),
                "startup_seconds": seconds,
            }
            for pod, seconds in took
        ],
        "aggregate": _said(Statistics(units="s", mean=fmean(values), min=min(values), max=max(values))),
    }


def _startup_s(pod: PodLife) -> float | None:
    created, ready = pod.at("created"), pod.at("ready")
    return None if created is None or ready is None or created < 0 else max(0.0, ready - created)


def _over(stage: StageSummary, times_s: tuple[float, ...], values: tuple[int | None, ...]) -> list[tuple[int, float]]:
    """Values of a step function within the stage, with how long each was there; what is not known is left out."""
    ends = (*times_s[1:], stage.end_s)
    parts = [
        (value, min(end_s, stage.end_s) - max(begin_s, stage.begin_s))
        for begin_s, end_s, value in zip(times_s, ends, values, strict=True)
        if value is not None
    ]
    return [(value, length) for value, length in parts if length > 0]


def _controller(stage: StageSummary, workload: WorkloadScaling) -> dict[str, object] | None:
    """Its numbers at the end of the stage, where all of them are known."""
    at = [k for k, time_s in enumerate(workload.times_s) if time_s <= stage.end_s]
    if not at or (desired := workload.desired[at[-1]]) is None or (ready := workload.ready[at[-1]]) is None:
        return None
    kind, _, name = workload.name.partition("/")
    return {
        "kind": kind,
        "name": name or workload.name,
        "desired_replicas": desired,
        "available_replicas": ready,
        "ready_replicas": ready,
    }


def _said(value: object) -> object:
    return msgspec.to_builtins(value)
