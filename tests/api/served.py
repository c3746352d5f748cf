"""Our kinds as the embedded server serves them: what becomes of an object there, and what is said of a wrong one."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from fairlead.api import all_crds
from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.kinds.crd import types_of_crd
from fairlead.embedded.apiserver.registry import RequestContext, ResourceType

API_VERSION = "fairlead.dev/v1alpha1"
Json = dict[str, Any]


def definition(kind: str) -> Json:
    """A definition of our own, to be changed at will."""
    return copy.deepcopy(_definitions()[kind])


@cache
def _definitions() -> dict[str, Json]:
    return {c["spec"]["names"]["kind"]: c for c in all_crds() if c["spec"]["group"] == "fairlead.dev"}


@cache
def served(kind: str) -> ResourceType:
    """The kind as the server has it."""
    (type_,) = types_of_crd(definition(kind))
    return type_


def schema_of(kind: str) -> Json:
    return definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]  # type: ignore[no-any-return]


def obj(kind: str, spec: Json, name: str = "a") -> Json:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": copy.deepcopy(spec)}


def stored(raw: Json) -> tuple[Json, list[str]]:
    """An object as it would be stored, and what is wrong with it: unknown fields, then what validation says."""
    type_ = served(raw["kind"])
    made = copy.deepcopy(raw)
    unknown = decode(made, type_)
    made["metadata"].setdefault("namespace", "default")
    if not type_.namespaced:
        del made["metadata"]["namespace"]
    context = RequestContext(namespace=made["metadata"].get("namespace", ""), now="2026-01-01T00:00:00Z")
    type_.strategy.default(made)
    type_.strategy.prepare_create(made, context)
    made["metadata"] |= {"uid": "u", "creationTimestamp": context.now}
    found = type_.strategy.validate_create(made, context)
    return made, [*(str(u) for u in unknown or ()), *(f"{error.field}: {error.message}" for error in found)]


def updated(old: Json, new: Json) -> list[str]:
    """What is wrong with a change of a stored object."""
    type_ = served(old["kind"])
    context = RequestContext(namespace=old["metadata"].get("namespace", ""), now="2026-01-01T00:00:01Z")
    made = copy.deepcopy(new)
    type_.strategy.default(made)
    type_.strategy.prepare_update(made, old, context)
    return [f"{error.field}: {error.message}" for error in type_.strategy.validate_update(made, old, context)]
