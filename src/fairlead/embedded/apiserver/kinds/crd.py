"""The group apiextensions.k8s.io, v1: CustomResourceDefinition, and the resource types that a definition serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.catalog import version_priority
from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.kinds import crd_rules
from fairlead.embedded.apiserver.kinds.custom_resource import CustomStrategy, pruning_to, reading_from
from fairlead.embedded.apiserver.kinds.definition import STATUS, at, resource_type
from fairlead.embedded.apiserver.kinds.metadata import validate_object_meta
from fairlead.embedded.apiserver.printing.custom import custom_columns
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType, ScaleMapping, Strategy
from fairlead.embedded.apiserver.schema import formats
from fairlead.embedded.apiserver.schema.structural import compile_crd_schema, compile_value_schema

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_PRESERVING: Mapping[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class CrdStrategy(Strategy):
    """CustomResourceDefinitions: names are completed, schemas checked, stored versions remembered."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec") or {}
        names = spec.get("names") or {}
        kind = names.get("kind") or ""
        if kind and not names.get("singular"):
            names["singular"] = kind.lower()
        if kind and not names.get("listKind"):
            names["listKind"] = kind + "List"
        conversion = spec.setdefault("conversion", {"strategy": "None"})
        if not conversion.get("strategy"):
            conversion["strategy"] = "None"
        service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        stored = [v["name"] for v in obj["spec"].get("versions") or () if v.get("storage")]
        obj["status"] = {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": stored or None,
        }

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        status = new["status"] = dict(old.get("status") or {})
        stored = list(status.get("storedVersions") or ())
        for version in new["spec"].get("versions") or ():
            if version.get("storage") and version["name"] not in stored:
                stored.append(version["name"])
        status["storedVersions"] = stored

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors = validate_object_meta(obj, namespaced=False, name_rule=lambda name: crd_rules.name_errors(name, obj))
        errors += [*crd_rules.spec_errors(obj), *crd_rules.status_errors(obj)]
        return [*errors, *crd_rules.policy_errors(obj)]

    def validate_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return [
            *crd_rules.spec_errors(new, old),
            *crd_rules.spec_change_errors(new, old),
            *crd_rules.status_errors(new),
            *crd_rules.policy_errors(new, old),
        ]

    def validate_status_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return crd_rules.accepted_names_errors(new)

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        found: dict[str, None] = {}
        for version in obj["spec"].get("versions") or ():
            schema = (version.get("schema") or {}).get("openAPIV3Schema")
            if schema is not None:
                _collect_unknown_formats(schema, found)
        return [f'unrecognized format "{format_}"' for format_ in found]

    def begin_deletion(self, obj: Object, context: RequestContext) -> bool:
        metadata = obj["metadata"]
        if not metadata.get("deletionTimestamp"):
            finalizers = metadata.setdefault("finalizers", [])
            if CLEANUP not in finalizers:
                finalizers.append(CLEANUP)
            _mark_terminating(obj, context.now)
        return False


def _mark_terminating(obj: Object, now: str) -> None:
    status = obj.setdefault("status", {})
    conditions = [each for each in status.get("conditions") or () if each["type"] != "Terminating"]
    conditions.append(
        {
            "type": "Terminating",
            "status": "True",
            "lastTransitionTime": now,
            "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        }
    )
    status["conditions"] = conditions


def _collect_unknown_formats(schema: Any, found: dict[str, None]) -> None:
    for node in crd_rules.all_schemas(schema):
        format_ = node.get("format")
        if isinstance(format_, str) and format_ not in formats.KNOWN:
            found[format_] = None


def types() -> list[ResourceType]:
    """The kinds of apiextensions.k8s.io/v1."""
    return [
        resource_type(
            "apiextensions.k8s.io/v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            namespaced=False,
            strategy=CrdStrategy(),
            short_names=("crd", "crds"),
            categories=("api-extensions",),
            has_status=True,
            has_generation=True,
            allow_unconditional_update=False,
            reset_fields=STATUS,
        )
    ]


def types_of_crd(crd: Object) -> list[ResourceType]:
    """The resource types that a definition serves, one per served version."""
    spec = crd["spec"]
    storage = next((version for version in spec["versions"] if version.get("storage")), spec["versions"][0])
    storage_schema = compile_crd_schema(_open_api(storage))
    has_changed = crd.get("metadata", {}).get("generation", 1) > 1
    return [
        _type_of_version(spec, version, storage["name"], storage_schema, has_changed=has_changed)
        for version in spec["versions"]
        if version.get("served")
    ]


def _open_api(version: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema: Mapping[str, Any] | None = (version.get("schema") or {}).get("openAPIV3Schema")
    return schema


def _type_of_version(
    spec: Object, version: Object, storage_version: str, storage_schema: Any, *, has_changed: bool
) -> ResourceType:
    names = spec["names"]
    is_storage = version["name"] == storage_version
    open_api = _open_api(version)
    schema = storage_schema if is_storage else compile_crd_schema(open_api)
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    has_status = subresources.get("status") is not None
    namespaced = spec["scope"] == "Namespaced"
    values = compile_value_schema(open_api or _PRESERVING)
    strategy = CustomStrategy(names["kind"], schema, values, namespaced=namespaced, has_status=has_status)
    return ResourceType(
        group=spec["group"],
        version=version["name"],
        resource=names["plural"],
        kind=names["kind"],
        namespaced=namespaced,
        schema=schema,
        singular=names.get("singular") or names["kind"].lower(),
        list_kind=names.get("listKind") or names["kind"] + "List",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=VERBS,
        strategy=strategy,
        has_status=has_status,
        has_generation=True,
        scale=None if scale is None else _scale(scale),
        columns=custom_columns(version.get("additionalPrinterColumns")),
        selectable_fields=_selectable(version.get("selectableFields") or ()),
        allow_unconditional_update=False,
        storage_version=storage_version,
        is_custom=True,
        deprecation=_deprecation(spec, version),
        reset_fields=STATUS if has_status else (),
        to_storage=None if is_storage else pruning_to(storage_schema),
        from_storage=reading_from(storage_schema, None if is_storage else schema, has_changed=has_changed),
    )


def _deprecation(spec: Object, version: Object) -> str:
    """What answers in a deprecated version warn of; empty for a version that is not deprecated."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    group, kind = spec["group"], spec["names"]["kind"]
    text = f"{group}/{version['name']} {kind} is deprecated"
    newer = [
        each["name"]
        for each in spec["versions"]
        if each.get("served")
        and not each.get("deprecated")
        and version_priority(each["name"]) < version_priority(version["name"])
    ]
    return f"{text}; use {group}/{min(newer, key=version_priority)} {kind}" if newer else text


def _scale(scale: Mapping[str, Any]) -> ScaleMapping:
    return ScaleMapping(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or None)


def _selectable(fields: Sequence[Mapping[str, Any]]) -> dict[str, Callable[[Object], str]]:
    paths = [field["jsonPath"].removeprefix(".") for field in fields]
    return {path: at(*path.split(".")) for path in paths}
