"""Taking an object through what the server does with it, without the server: decode, defaults, admission, checks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.schema.defaulting import apply_defaults

UID = "11111111-1111-1111-1111-111111111111"


@dataclass
class Kinds:
    """Fresh strategies over a few stored objects."""

    types: dict[tuple[str, str], ResourceType]
    # (group, resource, namespace, name) -> object
    stored: dict[tuple[str, str, str, str], Object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def type(self, kind: str, group: str | None = None) -> ResourceType:
        return next(t for (g, k), t in self.types.items() if k == kind and group in (None, g))

    def store(self, kind: str, obj: Object) -> Object:
        type_, metadata = self.type(kind), obj["metadata"]
        self.stored[type_.group, type_.resource, metadata.get("namespace", ""), metadata["name"]] = obj
        return obj

    def context(self, *, dry_run: bool = False) -> RequestContext:
        def lookup(group: str, resource: str, namespace: str, name: str) -> Object | None:
            return self.stored.get((group, resource, namespace, name))

        return RequestContext("n", "2026-01-01T00:00:00Z", dry_run=dry_run, lookup=lookup)

    def made(self, kind: str, body: Object) -> Object:
        """A decoded object with its defaults."""
        type_ = self.type(kind)
        obj: Object = {"apiVersion": type_.api_version, "kind": kind, **copy.deepcopy(body)}
        obj.setdefault("metadata", {}).setdefault("name", "x")
        if type_.namespaced:
            obj["metadata"]["namespace"] = "n"
        decode_object(obj, type_.schema)
        apply_defaults(obj, type_.schema)
        type_.strategy.default(obj)
        return obj

    def create(self, kind: str, body: Object, *, dry_run: bool = False) -> tuple[Object, Sequence[FieldError]]:
        """A new object as it would be stored, and what is wrong with it."""
        strategy, context = self.type(kind).strategy, self.context(dry_run=dry_run)
        obj = self.made(kind, body)
        strategy.admit(obj, None, context)
        obj["metadata"] |= {"creationTimestamp": context.now, "uid": UID}
        strategy.prepare_create(obj, context)
        errors = strategy.validate_create(obj, context)
        if not errors:
            self.warnings = list(strategy.warnings(obj, None))
            obj["metadata"]["resourceVersion"] = "1"
        return obj, errors

    def accepted(self, kind: str, body: Object) -> Object:
        obj, errors = self.create(kind, body)
        assert not errors
        return self.store(kind, obj)

    def problems(self, kind: str, body: Object) -> list[str]:
        """The fields that are wrong in a new object, with the messages."""
        return shown(self.create(kind, body)[1])

    def change(self, kind: str, old: Object, edit: Callable[[Object], object]) -> tuple[Object, list[str]]:
        """An updated object, and what is wrong with the update."""
        strategy, context = self.type(kind).strategy, self.context()
        new = copy.deepcopy(old)
        edit(new)
        strategy.default(new)
        strategy.admit(new, old, context)
        strategy.prepare_update(new, old, context)
        return new, shown(strategy.validate_update(new, old, context))


def shown(errors: Sequence[FieldError]) -> list[str]:
    return [f"{error.field}: {error.message}" for error in errors]


@pytest.fixture
def kinds() -> Kinds:
    kinds = Kinds({(t.group, t.kind): t for t in reversed(builtin_types())})
    kinds.store("ServiceAccount", {"metadata": {"namespace": "n", "name": "default"}})
    return kinds
