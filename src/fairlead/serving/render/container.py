"""The engine's container: command, environment, ports, probes, lifecycle, devices. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from fairlead.api.model_service import EnvVar, Probes
from fairlead.engines import Engine
from fairlead.engines.engine import DEFAULT_PORT, EngineCommand
from fairlead.serving.resolved import Unservable

Json = dict[str, Any]

ENGINE: Final = "engine"
"""Name of the container, in every pod."""
POD_IP: Final[Json] = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
OURS: Final = frozenset({"POD_IP", "POD_UID", "LWS_LEADER_ADDRESS", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX"})
"""Variables that commands refer to."""


def environment(
    command: EngineCommand, delivered: Iterable[Json], runtime: Iterable[Json], own: Iterable[EnvVar], field: str
) -> list[Json]:
    """The engine's variables: the pod's address first, as others may refer to it; then the adapter's, the delivery's,
    the runtime's and the service's, of which a later one replaces one of its name. Raises Unservable."""
    adapters = [{"name": name, "value": value} for name, value in command.env.items()]
    theirs = [variable(each, field) for each in own]
    merged: dict[str, Json] = {"POD_IP": POD_IP}
    for each in (*adapters, *delivered, *runtime, *theirs):
        if each["name"] in merged and each["name"] != "POD_IP":
            del merged[each["name"]]
        merged.setdefault(each["name"], each)
    return list(merged.values())


def variable(var: EnvVar, field: str) -> Json:
    """A variable as a pod has it. Raises Unservable."""
    if var.name in OURS:
        raise Unservable(f"{field}env[{var.name}]", var.value, "Fairlead sets it in every pod: take another name")
    if not var.value_from:
        return {"name": var.name, "value": var.value}
    if var.value:
        raise Unservable(f"{field}env[{var.name}]", var.value, "it has valueFrom, too: write one of them")
    return {"name": var.name, "valueFrom": msgspec.to_builtins(var.value_from)}


def probes(engine: Engine, layers: Sequence[Probes | None]) -> Json:
    """Probes of a container that answers requests; a later layer's replace those of the adapter."""
    ready = engine.readiness
    get = {"path": ready.path, "port": DEFAULT_PORT}
    alive = {"path": engine.liveness_path or ready.path, "port": DEFAULT_PORT}
    attempts = max(1, -(-ready.startup_timeout_s // ready.startup_period_s))
    found: Json = {
        "startupProbe": {
            "httpGet": get,
            "periodSeconds": ready.startup_period_s,
            "failureThreshold": attempts,
        },
        "readinessProbe": {
            "httpGet": get,
            "periodSeconds": ready.period_s,
            "timeoutSeconds": 5,
            "failureThreshold": ready.failure_threshold,
        },
        # An engine under full load may answer its health page late: restarting it would only make things worse.
        "livenessProbe": {
            "httpGet": alive,
            "periodSeconds": ready.period_s,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
    }
    for layer in layers:
        if layer is not None:
            said = {"startupProbe": layer.startup, "readinessProbe": layer.readiness, "livenessProbe": layer.liveness}
            found |= {name: msgspec.to_builtins(probe) for name, probe in said.items() if probe}
    return found


def settling(spec: Json, settle_s: int) -> Json:
    """The pod's spec with an engine that takes requests for so long after it was told to go, until every gateway has
    heard of it; its grace period is longer by that. One that has a `preStop` of its own stays as it is. No part of the
    revision: a service whose `drain` changes is not rolled out."""
    engine = next((c for c in spec["containers"] if c.get("name") == ENGINE), None)
    if not settle_s or engine is None or (engine.get("lifecycle") or {}).get("preStop"):
        return spec
    hook = {**(engine.get("lifecycle") or {}), "preStop": {"sleep": {"seconds": settle_s}}}
    grace_s = int(spec.get("terminationGracePeriodSeconds", 30))
    return {
        **spec,
        "containers": [{**c, "lifecycle": hook} if c is engine else c for c in spec["containers"]],
        "terminationGracePeriodSeconds": grace_s + settle_s,
    }


def resources(said: Mapping[str, Mapping[str, int | str]], limits: Mapping[str, str], claim: str) -> Json:
    """Requests and limits as they were said, with extended resources and the devices of a claim."""
    made: Json = {
        side: {name: str(amount) for name, amount in amounts.items()} for side, amounts in said.items() if amounts
    }
    if limits:
        made["limits"] = {**made.get("limits", {}), **limits}
    if claim:
        made["claims"] = [{"name": claim}]
    return {"resources": made} if made else {}
