"""Requests that an engine is to answer before it gets traffic, and the readiness gate that keeps traffic away. Pure.

With `ClusterFacts.warm_up` the leaders of engines that want it have the gate: a pod is ready only when its containers
are and the condition `fairlead.dev/warmed-up` is true. Whoever follows the pods sends the calls of `warm_up_calls` to
one for which `wants_warm_up` is true, and patches its status with `warmed_up`, also where a call failed: an engine that
answers its health page is better cold than not at all. The condition names the start of the container that it is for; a
container that starts again gets its traffic at once, and is warmed up beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fairlead.api.model_service import RoleName
from fairlead.engines import HttpCall
from fairlead.serving.render.container import ENGINE
from fairlead.serving.resolved import Resolved

Json = dict[str, Any]

WARMED_UP: Final = "fairlead.dev/warmed-up"


def warm_up_calls(resolved: Resolved, role: RoleName, alternative: str = "") -> tuple[HttpCall, ...]:
    """In their order; empty for engines that warm themselves up."""
    return resolved.engine.warm_up(resolved.roles[role].way(alternative).engine_spec)


def wants_warm_up(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has the gate, its engine is up, and it was not warmed up since the engine's start."""
    gates = pod["spec"].get("readinessGates") or ()
    if all(gate.get("conditionType") != WARMED_UP for gate in gates):
        return False
    conditions = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    if conditions.get("ContainersReady", {}).get("status") != "True":
        return False
    done = conditions.get(WARMED_UP, {})
    return not (done.get("status") == "True" and done.get("message") == started_at(pod))


def started_at(pod: Mapping[str, Any]) -> str:
    """When the engine's container was started last, as the kubelet says it; empty while it does not run."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == ENGINE:
            return str(((status.get("state") or {}).get("running") or {}).get("startedAt") or "")
    return ""


def warmed_up(pod: Mapping[str, Any], now: str, problem: str = "") -> Json:
    """A strategic merge patch of the pod's status; `now` is RFC 3339, `problem` why a call failed."""
    condition = {
        "type": WARMED_UP,
        "status": "True",
        "reason": "WarmUpFailed" if problem else "WarmedUp",
        "message": started_at(pod),
        "lastTransitionTime": now,
    }
    return {"status": {"conditions": [condition]}}
