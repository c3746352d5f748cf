"""The template of a role's pods on one kind of accelerator: what is the same in every replica. Pure.

Order: what Fairlead makes, the runtime's template over it, the service's overlay over that. The labels by which
Fairlead finds its pods stay as they are whatever overlays say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.api.model_service import ModelService, Topology
from fairlead.api.serving_runtime import ServingRuntime
from fairlead.engines import Engine
from fairlead.engines.engine import DEFAULT_PORT, EngineCommand
from fairlead.serving.names import ROLE_LABEL, SERVICE_LABEL
from fairlead.serving.render.container import ENGINE, environment, probes, resources
from fairlead.serving.render.labels import pod_annotations, pod_labels
from fairlead.serving.render.nearness import near_other_roles
from fairlead.serving.render.overlay import overlaid
from fairlead.serving.render.warm_up import WARMED_UP
from fairlead.serving.resolve.accelerators import REQUEST
from fairlead.serving.resolve.expressions import Scope
from fairlead.serving.resolve.workload import RoleWorkload
from fairlead.serving.resolved import ClaimTemplate
from fairlead.serving.store.mount import ModelMount

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TemplateParts:
    """What the templates of one way to run a role are made of."""

    service: ModelService
    runtime: ServingRuntime
    engine: Engine
    workload: RoleWorkload
    accelerator: str
    """Name of the accelerator; empty where there is none, or where the claim chooses."""
    mount: ModelMount
    claim: ClaimTemplate | None
    limits: Mapping[str, str]
    scope: Scope
    is_gated: bool = False
    """Whether it gets traffic only after it was warmed up (`render.warm_up`)."""


def pod_template(parts: TemplateParts, command: EngineCommand, *, is_worker: bool) -> Json:
    """Metadata and spec of the leader (and of single pods), or of workers. Raises Unservable."""
    runtime, workload = parts.runtime.spec, parts.workload
    template = _plain(parts, command, is_worker)
    of_runtime, name = runtime.template, "template"
    if is_worker and runtime.worker_template:
        of_runtime, name = runtime.worker_template, "workerTemplate"
    if of_runtime:
        field = f"{name} of {parts.scope.owner}"
        template = overlaid(template, parts.scope.expand(of_runtime, name), field)
    own, name = workload.pod_template, "podTemplate"
    if is_worker and workload.worker_template:
        own, name = workload.worker_template, "workerTemplate"
    if own:
        field = f"{workload.field}{name}"
        template = overlaid(template, Scope(parts.scope.values, "").expand(own, field), field)
    return _kept(template, parts)


def _plain(parts: TemplateParts, command: EngineCommand, is_worker: bool) -> Json:
    service, workload, mount = parts.service, parts.workload, parts.mount
    spec = service.spec
    engine = parts.engine.runtime
    claim = REQUEST if parts.claim is not None else ""
    container = {
        "name": ENGINE,
        "image": parts.runtime.spec.image or parts.engine.image,
        "command": list(command.argv),
        # Its last words tell recovery, and people, why it ended.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": environment(command, mount.env, _runtime_env(parts), workload.env, workload.field),
        **({"envFrom": list(mount.env_from)} if mount.env_from else {}),
        **resources(_resources(parts), parts.limits, claim),
        **({"volumeMounts": list(mount.mounts)} if mount.mounts else {}),
        # Workers answer nobody: they are alive while their process is, and as ready as their leader.
        **({} if is_worker else {"ports": [{"name": "http", "containerPort": DEFAULT_PORT}]}),
        **({} if is_worker else probes(parts.engine, (parts.runtime.spec.probes, spec.probes))),
    }
    pod: Json = {
        "containers": [container],
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        **({"readinessGates": [{"conditionType": WARMED_UP}]} if parts.is_gated and not is_worker else {}),
        **_optional(parts),
    }
    return {
        "metadata": {
            "labels": pod_labels(service, workload.role, engine, parts.accelerator),
            "annotations": pod_annotations(mount.annotations),
        },
        "spec": pod,
    }


def _optional(parts: TemplateParts) -> Json:
    """Fields of the pod that are there where there is something to say."""
    service, workload, mount = parts.service, parts.workload, parts.mount
    affinity = near_other_roles(service, workload.role, workload.topology or Topology())
    fields: Json = {
        "initContainers": list(mount.init_containers),
        "volumes": list(mount.volumes),
        "imagePullSecrets": [{"name": name} for name in mount.image_pull_secrets],
        "nodeSelector": dict(workload.node_selector),
        "priorityClassName": service.spec.priority_class_name,
        "affinity": affinity,
    }
    if parts.claim is not None:
        fields["resourceClaims"] = [{"name": REQUEST, "resourceClaimTemplateName": parts.claim.name}]
    return {key: value for key, value in fields.items() if value}


def _resources(parts: TemplateParts) -> Mapping[str, Mapping[str, int | str]]:
    """The service's, or where it says nothing of them, the runtime's."""
    said = parts.workload.resources
    if not said.requests and not said.limits:
        said = parts.runtime.spec.resources
    return {"requests": said.requests, "limits": said.limits}


def _runtime_env(parts: TemplateParts) -> list[Json]:
    made = []
    for i, var in enumerate(parts.runtime.spec.env):
        entry: Json = {"name": var.name}
        if var.value_from:
            entry["valueFrom"] = parts.scope.expand(msgspec.to_builtins(var.value_from), f"env[{i}].valueFrom")
        else:
            value = parts.scope.expand(var.value, f"env[{i}].value")
            entry["value"] = _text(value)
        made.append(entry)
    return made


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _kept(template: Json, parts: TemplateParts) -> Json:
    ours = pod_labels(parts.service, parts.workload.role, parts.engine.runtime, parts.accelerator)
    kept = {key: ours[key] for key in (SERVICE_LABEL, ROLE_LABEL)}
    metadata = template.get("metadata") or {}
    return {**template, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **kept}}}
