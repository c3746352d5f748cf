"""Revisions of a service: a ControllerRevision for each template that its replicas have or have had, to make pods of
the stable version while a newer one is on trial, and to go back. Pure.

A revision holds what was written (the fields of the spec that decide the template, and the ServingRuntime's spec) for
people and for undo, and what it came to (the resolved roles) for making pods. Pods are made of the latter: resolving
again could come to something else, after an upgrade of Fairlead or with another state of the model's source, and the
revision would have a name that does not fit it. Which revision a spec asks for, `rollout.intents` tells.

Kind and numbering as Kubernetes' own controllers (apps/v1 ControllerRevision, `pkg/controller/history`): the newest has
the highest number, and a revision that comes back gets a new number in place of a twin.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from fairlead.api.model_service import RoleName
from fairlead.api.serving_runtime import ServingRuntime
from fairlead.engines import Engine
from fairlead.kube.objects import ControllerRevision
from fairlead.serving.names import REVISION_LABEL, SERVICE_LABEL
from fairlead.serving.resolve.shipped import is_shipped
from fairlead.serving.resolved import Resolved, ResolvedRole

Json = dict[str, Any]

CHANGE_CAUSE: Final = "kubernetes.io/change-cause"
"""What a person says about a change; copied from the service, as Deployments do."""

OPERATION: Final = frozenset(
    {"replicas", "scaling", "slo", "objectives", "rollout", "drain", "recovery", "batch", "workload"}
)
"""Fields of the spec that do not decide how pods are; the same of a role: `replicas` and `scaling`."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One stored revision, or one that is to be stored."""

    name: str
    """Of the object."""
    hash: str
    number: int
    spec: Json
    """The fields of the service's spec that decide the template."""
    runtime: Json
    """The ServingRuntime as it was: `metadata.name` and `spec`."""
    resolved: Json
    """What both came to."""
    created_s: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class RevisionStep:
    """What to write so that the revisions are as they are to be."""

    create: Json | None = None
    """A ControllerRevision."""
    renumber: tuple[str, int] | None = None
    """Name of one whose `revision` is to become this number."""
    delete: tuple[str, ...] = ()


def template_fields(spec: Mapping[str, Any]) -> Json:
    """The part of a service's spec that decides how its pods are."""
    kept = {key: value for key, value in spec.items() if key not in OPERATION}
    if "roles" in kept:
        kept["roles"] = [{k: v for k, v in role.items() if k not in OPERATION} for role in kept["roles"]]
    return kept


def runtime_fields(runtime: ServingRuntime) -> Json:
    """What a revision keeps of its runtime; `shipped`: it was as Fairlead had installed it."""
    said: Json = {"metadata": {"name": runtime.metadata["name"]}, "spec": msgspec.to_builtins(runtime.spec)}
    return {**said, "shipped": True} if is_shipped(runtime) else said


def revision_name(service: str, revision: str) -> str:
    return f"{service}-{revision}"


def revision_object(service: Mapping[str, Any], owner: Mapping[str, Any], resolved: Resolved, number: int) -> Json:
    """The ControllerRevision of what a service comes to now. `service` is the object as the API has it, `owner` its
    owner reference."""
    meta = service["metadata"]
    annotations = meta.get("annotations") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": revision_name(meta["name"], resolved.revision),
            "namespace": meta["namespace"],
            "labels": {SERVICE_LABEL: meta["name"], REVISION_LABEL: resolved.revision},
            **({"annotations": {CHANGE_CAUSE: annotations[CHANGE_CAUSE]}} if CHANGE_CAUSE in annotations else {}),
            "ownerReferences": [dict(owner)],
        },
        "revision": number,
        "data": _sorted(
            {
                "spec": template_fields(service["spec"]),
                "runtime": runtime_fields(resolved.runtime),
                "resolved": _pack(resolved),
            }
        ),
    }


def _sorted(data: Json) -> Json:
    """API servers compare the data of a ControllerRevision by its bytes, and write objects that are patched with their
    keys in order: in any other order nobody could change its labels or owners, a garbage collector neither."""
    found: Json = msgspec.json.decode(msgspec.json.encode(data, order="sorted"))
    return found


def read_revision(stored: ControllerRevision) -> Revision | None:
    """A revision as it is stored; None for an object that is none of ours."""
    meta, data = stored.metadata, stored.data
    revision = meta.labels.get(REVISION_LABEL, "")
    if not revision or not isinstance(data.get("spec"), Mapping):
        return None
    return Revision(
        meta.name,
        revision,
        stored.revision,
        dict(data["spec"]),
        dict(data.get("runtime") or {}),
        dict(data.get("resolved") or {}),
        meta.created_s if meta.creation_timestamp else None,
        meta.annotations.get(CHANGE_CAUSE, ""),
    )


def read_revisions(stored: Iterable[ControllerRevision]) -> list[Revision]:
    """All that are ours, the newest first."""
    found = [r for r in map(read_revision, stored) if r is not None]
    return sorted(found, key=lambda r: (-r.number, r.name))


def find(revisions: Iterable[Revision], hash: str) -> Revision | None:
    """By hash, in full or by a beginning that only one has."""
    fitting = [r for r in revisions if hash and r.hash.startswith(hash)]
    exact = [r for r in fitting if r.hash == hash]
    if exact:
        return exact[0]
    return fitting[0] if len(fitting) == 1 else None


def plan_revisions(
    service: Mapping[str, Any],
    owner: Mapping[str, Any],
    resolved: Resolved,
    stored: Collection[Revision],
    in_use: Collection[str],
    limit: int,
    *,
    is_told_otherwise: bool = False,
) -> RevisionStep:
    """Keeps the revision of what is wanted now as the newest, and of those that nobody uses as many as `limit` (
    `rollout.revisionHistoryLimit`). `in_use`: hashes of the stable revision and of all replicas that are there.
    `is_told_otherwise`: the stored revision is to be written with the words of now (`rollout.intents`)."""
    newest = max((r.number for r in stored), default=0)
    mine = find(stored, resolved.revision)
    create, renumber = None, None
    if mine is None or mine.hash != resolved.revision:
        create = revision_object(service, owner, resolved, newest + 1)
    elif mine.number < newest or is_told_otherwise:
        renumber = (mine.name, newest if mine.number == newest else newest + 1)
    unused = [r for r in stored if r.hash not in in_use and r.hash != resolved.revision]
    unused.sort(key=lambda r: (-r.number, r.name))
    return RevisionStep(create, renumber, tuple(r.name for r in unused[limit:]))


def restore(revision: Revision, engine: Engine) -> Resolved:
    """What the revision came to when it was new: the same pods, whatever has changed since. `engine` is that of the
    runtime's `spec.engine`. Raises msgspec.ValidationError for what this version of Fairlead cannot read."""
    packed = _Packed.of(revision.resolved)
    return Resolved(
        runtime=msgspec.convert(revision.runtime, ServingRuntime),
        engine=engine,
        revision=revision.hash,
        shadow=packed.shadow,
        names=packed.names,
        roles=packed.roles,
        warnings=packed.warnings,
        aliases=packed.aliases,
    )


class _Packed(msgspec.Struct, frozen=True):
    """What a Resolved says beside its runtime, as it is stored."""

    shadow: str
    names: tuple[str, ...]
    roles: dict[RoleName, ResolvedRole]
    warnings: tuple[str, ...] = ()
    aliases: dict[str, str] = {}

    @classmethod
    def of(cls, packed: Mapping[str, Any]) -> _Packed:
        return msgspec.convert(packed, cls)


def _pack(resolved: Resolved) -> Json:
    packed = _Packed(resolved.shadow, resolved.names, dict(resolved.roles), resolved.warnings, dict(resolved.aliases))
    built: Json = msgspec.to_builtins(packed)
    return built
