"""Requests that an engine is to answer before it gets traffic, and the readiness gate that keeps traffic away. Pure.

Leaders of engines whose first requests are slow have the gate: a pod is ready, and so an endpoint, only when its
containers are and the condition `fairlead.dev/warmed-up` is true. `serving.warm_up` sends the calls of `warm_up_calls`
to a pod for which `wants_warm_up` is true and patches its status with `warmed_up`, also where a call failed: an engine
that answers its health page is better cold than not at all. The condition names the start of the container that it is
for; a container that starts again gets its traffic at once, and is warmed up beside it.

Pods that a Deployment or a LeaderWorkerSet keeps have no gate: they are to become ready without Fairlead.
Protocol: readiness gates of `core/v1` pods.
"""

from __future__ import annotations

from typing import Any, Final

from fairlead.api.model_service import ModelService, RoleName
from fairlead.engines import Engine, EngineSpec, HttpCall
from fairlead.kube.objects import Pod
from fairlead.serving.render.container import ENGINE
from fairlead.serving.resolved import Resolved

Json = dict[str, Any]

WARMED_UP: Final = "fairlead.dev/warmed-up"
TOKENS: Final = 2
"""Of an answer: the first comes from the prompt's pass, the second from one of decoding."""


def is_gated(service: ModelService, engine: Engine, spec: EngineSpec) -> bool:
    """Whether pods of this engine wait for their warm-up."""
    warm_up = service.spec.warm_up
    if warm_up.mode == "Off" or service.spec.workload != "Replicas":
        return False
    return bool(_calls(service, engine, spec))


def warm_up_calls(
    service: ModelService, resolved: Resolved, role: RoleName, alternative: str = ""
) -> tuple[HttpCall, ...]:
    """In their order; empty for engines that warm themselves up. `service` says of which prompts, also where it has
    changed since the pods were made."""
    return _calls(service, resolved.engine, resolved.roles[role].way(alternative).engine_spec)


def _calls(service: ModelService, engine: Engine, spec: EngineSpec) -> tuple[HttpCall, ...]:
    prompts = service.spec.warm_up.prompts
    if not prompts:
        return engine.warm_up(spec)
    if spec.role != "unified" or engine.api != "openai":
        # Alone, an engine of one role would do what it is not there for.
        return ()
    return tuple(
        HttpCall("POST", "/v1/completions", {"model": spec.model, "prompt": prompt, "max_tokens": TOKENS})
        for prompt in prompts
    )


def wants_warm_up(pod: Pod) -> bool:
    """Whether a pod has the gate, its engine is up, and it was not warmed up since the engine's start."""
    if all(gate.condition_type != WARMED_UP for gate in pod.spec.readiness_gates) or pod.metadata.is_deleting:
        return False
    conditions = {c.type: c for c in pod.status.conditions}
    ready = conditions.get("ContainersReady")
    if ready is None or ready.status != "True":
        return False
    done = conditions.get(WARMED_UP)
    return done is None or done.status != "True" or done.message.partition(": ")[0] != started_at(pod)


def started_at(pod: Pod) -> str:
    """When the engine's container was started last, as the kubelet says it; empty while it does not run."""
    for status in pod.status.container_statuses:
        if status.name == ENGINE and status.state is not None and status.state.running is not None:
            return status.state.running.started_at or ""
    return ""


def warmed_up(started: str, now: str, problem: str = "") -> Json:
    """A strategic merge patch of the pod's status; `now` is RFC 3339, `started` the start of the engine that it is for,
    `problem` why a call failed."""
    condition = {
        "type": WARMED_UP,
        "status": "True",
        "reason": "WarmUpFailed" if problem else "WarmedUp",
        "message": f"{started}: {problem}" if problem else started,
        "lastTransitionTime": now,
    }
    return {"status": {"conditions": [condition]}}
