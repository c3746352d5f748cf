"""`resolve_service`: a ModelService with its runtime, and the pods of each of its roles. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.api.model_service import Accelerator, ModelService, RoleName
from fairlead.api.serving_runtime import ServingRuntime
from fairlead.engines import Engine, EngineSpec, EngineSpecError
from fairlead.engines.engine import DEFAULT_PORT, EngineCommand
from fairlead.serving.adapters.loader_mount import mount_adapters
from fairlead.serving.names import shadow_name
from fairlead.serving.render.nearness import check_topology
from fairlead.serving.render.template import TemplateParts, pod_template
from fairlead.serving.render.warm_up import is_gated
from fairlead.serving.resolve.accelerators import (
    check_accelerators,
    claim_template,
    devices_per_pod,
    extended_resources,
    way_name,
    ways,
)
from fairlead.serving.resolve.arguments import merged
from fairlead.serving.resolve.choice import architecture, choose_runtime, model_format
from fairlead.serving.resolve.engine_specs import engine_parallelism, engine_spec, refusal, refuse_own_flags
from fairlead.serving.resolve.expressions import Scope
from fairlead.serving.resolve.further_models import further_arguments, served_names
from fairlead.serving.resolve.memory import Verdict, reckon
from fairlead.serving.resolve.workload import RoleWorkload, workloads
from fairlead.serving.resolved import (
    Alternative,
    ClusterFacts,
    ModelFacts,
    Resolved,
    ResolvedRole,
    Unservable,
)
from fairlead.serving.store.mount import ModelMount, Undeliverable, loads_itself, mount_model, mount_models

Json = dict[str, Any]

_NOT_YET = "0" * 8
"""Stands for the revision in the shadow name until the revision is known: it is a hash over everything else."""


def resolve_service(
    service: ModelService, runtimes: Sequence[ServingRuntime], facts: ClusterFacts | None = None
) -> Resolved:
    """Everything that decides how the pods of a service are. Raises Unservable, naming field, value and remedy.

    `runtimes` are the ServingRuntimes that exist; shipped ones that are missing among them count, too.
    """
    facts = facts or ClusterFacts()
    runtime, engine = choose_runtime(service, runtimes, facts.model)
    _check_workload(service)
    # What was found out about the model changes no revision: else a service would be rolled out because it was read.
    unknown = replace(facts, model=ModelFacts())
    plain = _Resolver(service, runtime, engine, unknown, _deliver(service, engine, unknown))
    shadow = shadow_name(service.spec.model.name, _NOT_YET) if plain.takes_second_names() else ""
    roles = plain.roles(shadow)
    revision = _revision(roles.values())
    if facts.model != ModelFacts():
        found = _Resolver(service, runtime, engine, facts, _deliver(service, engine, facts))
        roles = found.roles(shadow)
        plain = found
    final = shadow_name(service.spec.model.name, revision) if shadow else ""
    if shadow:
        roles = {name: _renamed(role, shadow, final) for name, role in roles.items()}
    names, aliases = served_names(service)
    return Resolved(
        runtime=runtime,
        engine=engine,
        revision=revision,
        shadow=final,
        names=names,
        roles=roles,
        warnings=tuple(dict.fromkeys((*plain.mount.warnings, *plain.warnings))),
        aliases=aliases,
    )


@dataclass(frozen=True, slots=True)
class _Resolver:
    service: ModelService
    runtime: ServingRuntime
    engine: Engine
    facts: ClusterFacts
    mount: ModelMount
    warnings: list[str] = field(default_factory=list)

    def roles(self, shadow: str) -> dict[RoleName, ResolvedRole]:
        return {w.role: ResolvedRole(w.role, self._ways(w, shadow)) for w in workloads(self.service.spec)}

    def takes_second_names(self) -> bool:
        """Whether the engine answers to a further name. Raises Unservable where a canary needs that it does."""
        # Models of the Open Inference Protocol have the names of folders.
        if self.engine.api != "open-inference" and (self.service.spec.model.aliases or self._takes_aliases()):
            return True
        rollout = self.service.spec.rollout
        if rollout.strategy == "Canary" and not (rollout.canary and rollout.canary.http_route):
            raise Unservable(
                "rollout.strategy", "Canary",
                f"an engine of runtime {self.runtime.metadata['name']} has one name only, so that no share of the "
                "requests can be sent to a new version by name: take Rolling or BlueGreen, or canary.httpRoute",
            )  # fmt: skip
        return False

    def _takes_aliases(self) -> bool:
        try:
            self.engine.member_commands(EngineSpec(model="m", aliases=("n",), source="/m"))
        except EngineSpecError as error:
            return error.field != "aliases"
        return True

    def _ways(self, workload: RoleWorkload, shadow: str) -> tuple[Alternative, ...]:
        check_accelerators(workload)
        check_topology(workload.topology, workload.field)
        return tuple(self._way(each, shadow) for each in self._fitting(workload))

    def _fitting(self, workload: RoleWorkload) -> list[RoleWorkload]:
        """The ways with the accelerators on which the weights fit. Raises Unservable where there are none."""
        found, misfits = list[RoleWorkload](), list[str]()
        for way in ways(workload):
            verdicts = [(entry, self._reckon(way, entry)) for entry in way.accelerators]
            self.warnings.extend(verdict.warning for _, verdict in verdicts if verdict.warning)
            misfits += [verdict.misfit for _, verdict in verdicts if verdict.misfit]
            fitting = tuple(entry for entry, verdict in verdicts if not verdict.misfit)
            if fitting or not way.accelerators:
                found.append(replace(way, accelerators=fitting))
        if not found:
            raise Unservable(f"{workload.field}accelerators", None, "; ".join(misfits))
        self.warnings.extend(f"{misfit}; it is passed over" for misfit in misfits)
        return found

    def _reckon(self, way: RoleWorkload, entry: Accelerator) -> Verdict:
        return reckon(way, entry, self.engine, self.facts.model, self.service.spec.model.max_context_tokens)

    def _way(self, workload: RoleWorkload, shadow: str) -> Alternative:
        scope = self._scope(workload)
        args = self._arguments(workload, scope)
        command = workload.command or tuple(scope.expand(self.runtime.spec.command, "command"))
        spec = engine_spec(
            self.service, workload, self.engine, source=self.mount.engine_source, command=command, args=args,
            shadow=shadow, events=self.facts.kv_events,
        )  # fmt: skip
        try:
            members = self.engine.member_commands(spec)
        except EngineSpecError as error:
            raise refusal(error, str(self.runtime.metadata["name"]), workload.field) from error
        refuse_own_flags(spec, members[0].argv, workload.args, workload.field)
        claim = claim_template(workload, self.service.name, self.engine.runtime)
        parts = TemplateParts(
            self.service, self.runtime, self.engine, workload, way_name(workload), self.mount, claim,
            extended_resources(workload, self.engine.runtime), scope,
            is_gated(self.service, self.engine, spec),
        )  # fmt: skip
        return Alternative(
            name=way_name(workload),
            size=len(members),
            leader=pod_template(parts, members[0], is_worker=False),
            workers=_workers(parts, members[1:]),
            claim=claim,
            engine_spec=spec,
            topology=workload.topology,
        )

    def _arguments(self, workload: RoleWorkload, scope: Scope) -> tuple[str, ...]:
        own = (*workload.args, *further_arguments(self.service, self.runtime, self.engine))
        spec, name = self.runtime.spec, str(self.runtime.metadata["name"])
        try:
            return merged(spec.required_args, spec.default_args, own, scope, name)
        except Unservable as error:
            if error.field != "args":
                raise
            raise Unservable(f"{workload.field}args", error.value, error.remedy) from None

    def _scope(self, workload: RoleWorkload) -> Scope:
        model, parallelism = self.service.spec.model, engine_parallelism(workload.parallelism, workload.field)
        entry = workload.accelerators[0] if len(workload.accelerators) == 1 else None
        metadata = self.service.metadata
        limit = model.max_context_tokens
        values = {
            "model": {
                "name": model.name, "source": model.source, "path": self.mount.engine_source,
                "aliases": list(model.aliases), "format": model_format(self.service, self.facts.model),
                "architecture": architecture(self.service, self.facts.model),
                **({} if limit is None else {"maxContextTokens": limit}),
            },
            "service": {
                "name": self.service.name, "namespace": self.service.namespace,
                "labels": metadata.get("labels") or {}, "annotations": metadata.get("annotations") or {},
            },
            "role": {"name": workload.role},
            "parallelism": {
                "tensor": parallelism.tensor, "pipeline": parallelism.pipeline, "data": parallelism.data,
                "expert": parallelism.expert, "hosts": parallelism.hosts, "devices": parallelism.devices,
                "devicesPerHost": parallelism.devices_per_host,
            },
            "accelerator": {
                "name": entry.name if entry else "", "deviceClass": entry.device_class if entry else "",
                "resource": entry.resource if entry else "", "model": entry.model if entry else "",
                "count": devices_per_pod(workload, entry, self.engine.runtime) if entry else 0,
            },
            "engine": {
                "name": self.engine.runtime, "image": self.runtime.spec.image or self.engine.image,
                "port": DEFAULT_PORT,
            },
        }  # fmt: skip
        return Scope(values, f"ServingRuntime {self.runtime.metadata['name']}")


def _check_workload(service: ModelService) -> None:
    """Raises Unservable for what another keeper of pods cannot do."""
    spec = service.spec
    if spec.workload != "Replicas" and spec.rollout.strategy != "Rolling":
        raise Unservable(
            "rollout.strategy", spec.rollout.strategy, f"a {spec.workload} replaces its pods one by one: take Rolling, "
            "or workload Replicas",
        )  # fmt: skip


def _deliver(service: ModelService, engine: Engine, facts: ClusterFacts) -> ModelMount:
    try:
        mount = mount_model(
            service.spec.model,
            engine_takes=loads_itself(engine.runtime),
            facts=facts.store,
            mountable=facts.model.mountable,
            digest=facts.model.digest,
            exact_source=facts.model.exact_source,
            fetch_env=facts.fetch_env,
        )
    except Undeliverable as error:
        raise Unservable(error.field, error.value, error.remedy) from error
    policy = service.spec.adapters
    if policy is None or not policy.fetch:
        return mount
    return mount_models((mount, mount_adapters(facts.store, policy.pull_secrets, facts.fetch_env)))


def _workers(parts: TemplateParts, commands: Sequence[EngineCommand]) -> tuple[Json, ...]:
    """Templates of the workers in order; one only where all are alike, which the adapter decides."""
    if not commands:
        return ()
    if all(command == commands[0] for command in commands):
        return (pod_template(parts, commands[0], is_worker=True),)
    return tuple(pod_template(parts, command, is_worker=True) for command in commands)


def _revision(roles: Any) -> str:
    said = [
        [role.name, [[w.name, w.size, w.leader, list(w.workers), w.claim.spec if w.claim else None] for w in role.ways]]
        for role in roles
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:10]


def _renamed(role: ResolvedRole, old: str, new: str) -> ResolvedRole:
    """The role with the model's shadow name in commands and variables."""
    return replace(role, ways=tuple(_renamed_way(way, old, new) for way in role.ways))


def _renamed_way(way: Alternative, old: str, new: str) -> Alternative:
    aliases = tuple(new if name == old else name for name in way.engine_spec.aliases)
    return replace(
        way,
        leader=_renamed_template(way.leader, old, new),
        workers=tuple(_renamed_template(worker, old, new) for worker in way.workers),
        engine_spec=replace(way.engine_spec, aliases=aliases),
    )


def _renamed_template(template: Json, old: str, new: str) -> Json:
    containers = [
        {**each, "command": [word.replace(old, new) for word in each["command"]]} if "command" in each else each
        for each in template["spec"]["containers"]
    ]
    return {**template, "spec": {**template["spec"], "containers": containers}}
