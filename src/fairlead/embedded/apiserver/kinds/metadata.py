"""Validation of ObjectMeta: names, labels, annotations, owners, finalizers, and what an update may not change.

Follows the rules and messages of `k8s.io/apimachinery` (`pkg/api/validation`). Functions return every error, in the
order that the API lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import (
    FieldError,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from fairlead.embedded.apiserver.kinds.names import (
    Rule,
    dns_label,
    dns_subdomain,
    label_value,
    qualified_name,
)

ANNOTATIONS_LIMIT_BYTES = 256 * 1024
IMMUTABLE = "field is immutable"
_FINALIZER_ORPHAN = "orphan"
_FINALIZER_FOREGROUND = "foregroundDeletion"
STANDARD_FINALIZERS = ("kubernetes", _FINALIZER_ORPHAN, _FINALIZER_FOREGROUND)


def validate_labels(labels: Mapping[str, str] | None, path: str) -> list[FieldError]:
    """Errors of a map of labels; all are reported at the map itself."""
    if not labels:
        return []
    errors: list[FieldError] = []
    for key, value in labels.items():
        for message in qualified_name(key):
            errors.append(invalid(path, key, message))
        for message in label_value(value):
            errors.append(invalid(path, value, message))
    return errors


def validate_annotations(annotations: Mapping[str, str] | None, path: str) -> list[FieldError]:
    """Errors of annotations: keys are qualified names in any case, all together no larger than 256 KiB."""
    if not annotations:
        return []
    errors: list[FieldError] = []
    total = 0
    for key, value in annotations.items():
        total += len(key) + len(value)
        for message in qualified_name(key.lower()):
            errors.append(invalid(path, key, message))
    # Characters are counted first because that is quick; bytes only when the count comes near the limit.
    if total * 4 > ANNOTATIONS_LIMIT_BYTES:
        total = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
        if total > ANNOTATIONS_LIMIT_BYTES:
            errors.append(too_long(path, ANNOTATIONS_LIMIT_BYTES))
    return errors


_OWNER_FIELDS = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")


def _in_order(owner: Mapping[str, Any]) -> dict[str, Any]:
    """An owner reference with its fields in the order in which the API prints them."""
    return {key: owner[key] for key in _OWNER_FIELDS if key in owner}


def validate_owner_references(owners: Sequence[Mapping[str, Any]] | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    controller = ""
    for owner in owners or ():
        # The API names the list, not the item.
        errors += _validate_owner_reference(owner, path)
        if owner.get("controller"):
            name = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller:
                errors.append(
                    invalid(
                        path,
                        [_in_order(item) for item in owners or ()],
                        'Only one reference can have Controller set to true. Found "true" in references for '
                        f"{controller} and {name}",
                    )
                )
            else:
                controller = name
    return errors


def _validate_owner_reference(owner: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    api_version = owner.get("apiVersion", "")
    if api_version.count("/") > 1 or not api_version.rpartition("/")[2]:
        errors.append(invalid(f"{path}.apiVersion", api_version, "version must not be empty"))
    for key in ("kind", "name", "uid"):
        if not owner.get(key):
            errors.append(invalid(f"{path}.{key}", "", "must not be empty"))
    if api_version == "v1" and owner.get("kind") == "Event":
        errors.append(invalid(path, _in_order(owner), "/v1, Kind=Event is disallowed from being an owner"))
    return errors


def validate_finalizers(finalizers: Sequence[str] | None, path: str) -> list[FieldError]:
    if not finalizers:
        return []
    errors = [invalid(path, name, message) for name in finalizers for message in qualified_name(name)]
    if _FINALIZER_ORPHAN in finalizers and _FINALIZER_FOREGROUND in finalizers:
        errors.append(
            invalid(
                path,
                finalizers,
                f"finalizer {_FINALIZER_ORPHAN} and {_FINALIZER_FOREGROUND} cannot be both set",
            )
        )
    return errors


def validate_finalizer_kinds(obj: Mapping[str, Any], path: str = "metadata") -> list[FieldError]:
    """Finalizers without a domain are those that Kubernetes itself knows."""
    return [
        invalid(
            f"{path}.finalizers[{index}]", name, "name is neither a standard finalizer name nor is it fully qualified"
        )
        for index, name in enumerate((obj.get("metadata") or {}).get("finalizers") or ())
        if "/" not in name and name not in STANDARD_FINALIZERS
    ]


def validate_field_manager(manager: str, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(manager.encode()) > 128:
        errors.append(too_long(path, 128))
    for position, character in enumerate(manager):
        if not character.isprintable():
            point = f"U+{ord(character):04X}"
            errors.append(invalid(path, manager, f"invalid character {point} (at position {position})"))
    return errors


def validate_managed_fields(entries: Sequence[Mapping[str, Any]] | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, entry in enumerate(entries or ()):
        at = f"{path}[{index}]"
        operation = entry.get("operation", "")
        if not operation:
            errors.append(required(f"{at}.operation", "must not be empty"))
        elif operation not in ("Apply", "Update"):
            errors.append(not_supported(f"{at}.operation", operation, ("Apply", "Update")))
        if entry.get("fieldsType") not in (None, "", "FieldsV1"):
            errors.append(invalid(f"{at}.fieldsType", entry["fieldsType"], "must be `FieldsV1`"))
        errors += validate_field_manager(entry.get("manager", ""), f"{at}.manager")
        if len(entry.get("subresource", "")) > 256:
            errors.append(too_long(f"{at}.subresource", 256))
    return errors


def _mask_trailing_dash(prefix: str) -> str:
    # A generateName may end in a dash: the random part follows it.
    return prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix


def validate_object_meta(
    obj: Mapping[str, Any], *, namespaced: bool, name_rule: Rule = dns_subdomain, path: str = "metadata"
) -> list[FieldError]:
    """Errors of an object's metadata on create. `name_rule` is the kind's rule for names."""
    metadata = obj.get("metadata") or {}
    errors: list[FieldError] = []
    prefix = metadata.get("generateName")
    if prefix:
        for message in name_rule(_mask_trailing_dash(prefix)):
            errors.append(invalid(f"{path}.generateName", prefix, message))
    name = metadata.get("name")
    if not name:
        errors.append(required(f"{path}.name", "name or generateName is required"))
    else:
        for message in name_rule(name):
            errors.append(invalid(f"{path}.name", name, message))
    namespace = metadata.get("namespace")
    if not namespaced:
        if namespace:
            errors.append(forbidden(f"{path}.namespace", "not allowed on this type"))
    elif not namespace:
        errors.append(required(f"{path}.namespace"))
    else:
        for message in dns_label(namespace):
            errors.append(invalid(f"{path}.namespace", namespace, message))
    if metadata.get("generation", 0) < 0:
        errors.append(invalid(f"{path}.generation", metadata["generation"], "must be greater than or equal to 0"))
    errors += validate_labels(metadata.get("labels"), f"{path}.labels")
    errors += validate_annotations(metadata.get("annotations"), f"{path}.annotations")
    errors += validate_owner_references(metadata.get("ownerReferences"), f"{path}.ownerReferences")
    errors += validate_finalizers(metadata.get("finalizers"), f"{path}.finalizers")
    errors += validate_managed_fields(metadata.get("managedFields"), f"{path}.managedFields")
    return errors


def validate_object_meta_update(
    new: Mapping[str, Any], old: Mapping[str, Any], path: str = "metadata"
) -> list[FieldError]:
    """Errors of an update's metadata: what it may not change, and the labels, annotations and owners it brings."""
    metadata, before = new.get("metadata") or {}, old.get("metadata") or {}
    errors: list[FieldError] = []
    if before.get("deletionTimestamp"):
        added = sorted(set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if added:
            listed = ", ".join(f'"{name}"' for name in added)
            errors.append(
                forbidden(
                    f"{path}.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{listed}}}",
                )
            )
    if not metadata.get("resourceVersion"):
        errors.append(invalid(f"{path}.resourceVersion", "", "must be specified for an update"))
    if metadata.get("generation", 0) < before.get("generation", 0):
        errors.append(invalid(f"{path}.generation", metadata.get("generation", 0), "must not be decremented"))
    for key in ("name", "namespace", "uid"):
        if metadata.get(key, "") != before.get(key, ""):
            errors.append(invalid(f"{path}.{key}", metadata.get(key, ""), IMMUTABLE))
    for key in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if metadata.get(key) != before.get(key):
            errors.append(invalid(f"{path}.{key}", metadata.get(key), IMMUTABLE))
    errors += validate_labels(metadata.get("labels"), f"{path}.labels")
    errors += validate_annotations(metadata.get("annotations"), f"{path}.annotations")
    errors += validate_owner_references(metadata.get("ownerReferences"), f"{path}.ownerReferences")
    errors += validate_managed_fields(metadata.get("managedFields"), f"{path}.managedFields")
    return errors


def validate_immutable(new: Any, old: Any, path: str) -> list[FieldError]:
    """The error of a field that may not change once set."""
    return [] if new == old else [invalid(path, new, IMMUTABLE)]
