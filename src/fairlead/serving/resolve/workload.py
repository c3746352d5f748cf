"""What a role says, and where it says nothing, what the service says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairlead.api.model_service import (
    Accelerator,
    EnvVar,
    KvCache,
    ModelServiceSpec,
    Parallelism,
    Resources,
    Role,
    RoleName,
    Topology,
    Workload,
)


@dataclass(frozen=True, slots=True)
class RoleWorkload:
    """One role with everything that it takes from the service. `field` is where it stands in the spec, for messages:
    empty for services without roles, else `roles[NAME].`."""

    role: RoleName
    field: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[EnvVar, ...]
    resources: Resources
    node_selector: Mapping[str, str]
    parallelism: Parallelism
    accelerators: tuple[Accelerator, ...]
    topology: Topology
    kv_cache: KvCache
    pod_template: Mapping[str, Any]
    worker_template: Mapping[str, Any]

    def on(self, accelerator: Accelerator) -> RoleWorkload:
        """The workload as it is on one of its accelerators."""
        return replace(
            self,
            args=(*self.args, *accelerator.args),
            env=_laid_over(self.env, accelerator.env),
            node_selector={**self.node_selector, **accelerator.node_selector},
            parallelism=accelerator.parallelism or self.parallelism,
            accelerators=(accelerator,),
        )


def workloads(spec: ModelServiceSpec) -> tuple[RoleWorkload, ...]:
    """One for each role; a service without roles has the role `unified`."""
    if not spec.roles:
        return (_workload("unified", "", spec, spec),)
    return tuple(_workload(role.name, f"roles[{role.name}].", role, spec) for role in spec.roles)


def per_unit(spec: ModelServiceSpec) -> Mapping[RoleName, int]:
    """Replicas of each role for each of the service's `replicas`."""
    return {role.name: role.replicas for role in spec.roles} if spec.roles else {"unified": 1}


def _workload(name: RoleName, field: str, role: Role | ModelServiceSpec, spec: Workload) -> RoleWorkload:
    resources = role.resources if role.resources != Resources() else spec.resources
    return RoleWorkload(
        role=name,
        field=field,
        command=tuple(role.command or spec.command),
        args=tuple(role.args or spec.args),
        env=_laid_over(spec.env, role.env) if role is not spec else tuple(spec.env),
        resources=resources,
        node_selector=role.node_selector or spec.node_selector,
        parallelism=role.parallelism or spec.parallelism or Parallelism(),
        accelerators=tuple(role.accelerators or spec.accelerators),
        topology=role.topology or spec.topology or Topology(),
        kv_cache=role.kv_cache or spec.kv_cache or KvCache(),
        pod_template=role.pod_template or spec.pod_template,
        worker_template=role.worker_template or spec.worker_template,
    )


def _laid_over(env: Sequence[EnvVar], more: Sequence[EnvVar]) -> tuple[EnvVar, ...]:
    """Variables by name: those of `more` take the place of the others."""
    named = {e.name for e in more}
    return (*(e for e in env if e.name not in named), *more)
