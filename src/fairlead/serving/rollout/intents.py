"""What a revision was made for: the template that a person wrote, apart from what Fairlead makes of it. Pure.

An upgrade of Fairlead, or of what it knows of the cluster, may render the same template differently. A fleet is not
replaced for that: as long as the intent is that of a stored revision, its pods are made as that revision says, and what
is new comes with the next change that somebody makes (or with `fairlead rollout restart`).

Intents are compared as they are read by the Fairlead that runs: a field that came with an upgrade has its default on
both sides, whatever the API server fills in. A shipped ServingRuntime that nobody has changed counts by its name: its
content comes with Fairlead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from fairlead.api.model_service import ModelServiceSpec
from fairlead.api.serving_runtime import ServingRuntime, ServingRuntimeSpec
from fairlead.serving.resolve.shipped import is_shipped
from fairlead.serving.resolved import Resolved
from fairlead.serving.rollout.revisions import Revision, restore, runtime_fields, template_fields

Json = dict[str, Any]

OTHERWISE: Final = (
    "its pods are made as they were when this revision was new; Fairlead, or what it knows of the cluster, has changed "
    "since, and would make them otherwise: `fairlead rollout restart` takes that up"
)


@dataclass(frozen=True, slots=True)
class Intent:
    """What decides a template. Values are compared, never stored."""

    template: Json
    runtime: str
    runtime_spec: ServingRuntimeSpec | None
    """None for a shipped one that nobody has changed."""


def intent_of(spec: ModelServiceSpec, runtime: ServingRuntime) -> Intent:
    """Of a service as it is written now, with the runtime that was chosen for it."""
    shipped = is_shipped(runtime)
    return Intent(_plain(spec), str(runtime.metadata["name"]), None if shipped else runtime.spec)


def intent_of_revision(revision: Revision) -> Intent | None:
    """Of a stored revision; None for one that this version of Fairlead cannot read."""
    try:
        spec = msgspec.convert(revision.spec, ModelServiceSpec)
        runtime = msgspec.convert(revision.runtime, ServingRuntime)
    except msgspec.ValidationError:
        return None
    shipped = bool(revision.runtime.get("shipped")) or is_shipped(runtime)
    return Intent(_plain(spec), str(runtime.metadata.get("name", "")), None if shipped else runtime.spec)


def pinned(wanted: Resolved, spec: ModelServiceSpec, stored: Collection[Revision]) -> Resolved:
    """`wanted` as it was just made of a spec, or the stored revision of the same intent where Fairlead made something
    else of it then. Warnings are those of now, and that."""
    if any(r.hash == wanted.revision for r in stored):
        return wanted
    asked = intent_of(spec, wanted.runtime)
    for revision in sorted(stored, key=lambda r: -r.number):
        if intent_of_revision(revision) != asked:
            continue
        try:
            former = restore(revision, wanted.engine)
        except msgspec.ValidationError:
            # No pods can be made of it: the fleet has to be replaced.
            continue
        return replace(former, runtime=wanted.runtime, warnings=(*wanted.warnings, OTHERWISE))
    return wanted


def is_told_otherwise(revision: Revision, service: Mapping[str, Any], spec: ModelServiceSpec, wanted: Resolved) -> bool:
    """Whether a service that comes to a stored revision was written in other words when that was stored: the new words
    are to be remembered, as it is by them that the revision is found again after an upgrade."""
    if revision.spec == template_fields(service["spec"]) and revision.runtime == runtime_fields(wanted.runtime):
        return False
    return intent_of_revision(revision) != intent_of(spec, wanted.runtime)


def _plain(spec: ModelServiceSpec) -> Json:
    built: Mapping[str, Any] = msgspec.to_builtins(spec)
    return template_fields(built)
