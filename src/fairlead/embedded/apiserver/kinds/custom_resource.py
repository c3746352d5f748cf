"""Custom resources: how objects of a CustomResourceDefinition's version behave."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required
from fairlead.embedded.apiserver.kinds.metadata import validate_object_meta
from fairlead.embedded.apiserver.kinds.names import dns1035_label, dns_subdomain
from fairlead.embedded.apiserver.registry import Object, RequestContext, Strategy
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.schema.defaulting import apply_defaults, compile_defaulter
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.embedded.apiserver.schema.validate import list_errors, validate

Conversion = Callable[[Object], Object]


class CustomStrategy(Strategy):
    """Validates against the version's value schema; with a status subresource, keeps spec and status apart.

    `schema` is the version's schema for pruning, `values` the one for validation.
    """

    def __init__(self, kind: str, schema: Schema, values: Schema, *, namespaced: bool, has_status: bool) -> None:
        self._kind = kind
        self._schema = schema
        self._values = values
        self._namespaced = namespaced
        self._has_status = has_status

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        if self._has_status:
            obj.pop("status", None)

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        if not self._has_status:
            return
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)

    def prepare_status_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_status_update(new, old, context)
        # Unlike those of built-in kinds, status updates of custom resources leave labels and annotations alone.
        kept = {key: new["metadata"][key] for key in ("resourceVersion", "managedFields") if key in new["metadata"]}
        stored = {key: value for key, value in old["metadata"].items() if key != "managedFields"}
        new["metadata"] = stored | kept

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors = validate_object_meta(obj, namespaced=self._namespaced, name_rule=dns_subdomain)
        return [*errors, *self._kind_errors(obj), *self._embedded_errors(obj), *validate(obj, self._values)]

    def validate_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return [*self._kind_errors(new), *self._embedded_errors(new), *validate(new, self._values, old)]

    def validate_status_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        status_schema = self._values.properties.get("status")
        if status_schema is None or "status" not in new:
            return list_errors(new, self._values, "")
        return validate(new["status"], status_schema, old.get("status"), prefix="status")

    def generation_changed(self, new: Object, old: Object) -> bool:
        ignored = ("metadata", "status") if self._has_status else ("metadata",)
        keys = (new.keys() | old.keys()) - set(ignored)
        return any(new.get(key) != old.get(key) for key in keys)

    def _kind_errors(self, obj: Object) -> list[FieldError]:
        kind = obj.get("kind", "")
        return [] if kind == self._kind else [invalid("kind", kind, f"must be {self._kind}")]

    def _embedded_errors(self, obj: Object) -> list[FieldError]:
        return _embedded_errors(obj, self._schema, "", is_root=True)


def _embedded_errors(value: Any, schema: Schema, path: str, *, is_root: bool = False) -> list[FieldError]:
    """What is wrong with the identity and metadata of embedded resources."""
    errors: list[FieldError] = []
    if isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            errors += _embedded_errors(item, schema.items, f"{path}[{index}]")
    elif isinstance(value, dict):
        if schema.embedded_resource and not is_root:
            errors += _identity_errors(value, path)
        for name in sorted(value):
            child = schema.properties.get(name) or schema.additional
            if child is not None and child.go is None:
                errors += _embedded_errors(value[name], child, f"{path}.{name}" if path else name)
    return errors


def _identity_errors(value: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    api_version, kind = value.get("apiVersion"), value.get("kind")
    if not api_version:
        errors.append(required(f"{path}.apiVersion"))
    elif isinstance(api_version, str) and api_version.count("/") > 1:
        errors.append(invalid(f"{path}.apiVersion", api_version, f"unexpected GroupVersion string: {api_version}"))
    if not kind:
        errors.append(required(f"{path}.kind"))
    elif isinstance(kind, str):
        problems = dns1035_label(kind.lower())
        if problems:
            detail = "may have mixed case, but should otherwise match: " + ",".join(problems)
            errors.append(invalid(f"{path}.kind", kind, detail))
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        for error in validate_object_meta({"metadata": {"name": "x", **metadata}}, namespaced=False, name_rule=_any):
            if not error.field.endswith(".namespace"):
                errors.append(FieldError(error.reason, f"{path}.{error.field}", error.message))
    return errors


def _any(name: str) -> tuple[str, ...]:
    return ()


def pruning_to(schema: Schema) -> Conversion:
    """The conversion between versions whose objects differ in `apiVersion` only: fields unknown to the target go."""

    def convert(obj: Object) -> Object:
        converted = {**copy.deepcopy({k: v for k, v in obj.items() if k != "metadata"}), "metadata": obj["metadata"]}
        decode_object(converted, schema)
        return converted

    return convert


def reading_from(storage: Schema, target: Schema | None, *, has_changed: bool = False) -> Conversion | None:
    """What happens to a stored object when it is read: defaults of the storage version, then pruning to the version
    that is read. None where there is nothing to do. `has_changed` tells that objects may have been stored under another
    schema, whose fields are to be pruned as well."""
    has_defaults = compile_defaulter(storage) is not None
    if target is None and has_changed:
        target = storage
    if not has_defaults and target is None:
        return None
    prune = None if target is None else pruning_to(target)

    def convert(obj: Object) -> Object:
        if has_defaults:
            apply_defaults(obj, storage)
        return obj if prune is None else prune(obj)

    return convert
