"""What a CustomResourceDefinition may say, with the API server's messages (`k8s.io/apiextensions-apiserver`).

A schema, subresources or columns that are the same in every version are reported at the top of `spec`
(`spec.validation.openAPIV3Schema`), others at their version, since that is how the API server holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_many,
)
from fairlead.embedded.apiserver.kinds.metadata import validate_immutable
from fairlead.embedded.apiserver.kinds.names import dns1035_label, dns_subdomain
from fairlead.embedded.apiserver.registry import Object
from fairlead.embedded.apiserver.schema.crd_schema import schema_errors

SELECTABLE_FIELDS_LIMIT = 8
APPROVAL = "api-approved.kubernetes.io"
_APPROVAL_POLICY = "https://github.com/kubernetes/enhancements/pull/1111"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_FIELD_STEP = re.compile(r"\.([^.\[\]]+)")


def all_schemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A JSON schema and every schema inside it."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key in ("properties", "patternProperties", "definitions"):
        for child in (schema.get(key) or {}).values():
            yield from all_schemas(child)
    for key in ("allOf", "anyOf", "oneOf"):
        for child in schema.get(key) or ():
            yield from all_schemas(child)
    for key in ("items", "additionalProperties", "not"):
        yield from all_schemas(schema.get(key))


def policy_errors(obj: Object, old: Object | None = None) -> list[FieldError]:
    """Errors that come last: protected groups need approval, and unknown fields are preserved by schemas only."""
    errors = _approval_errors(obj, old)
    if (obj.get("spec") or {}).get("preserveUnknownFields") and not (
        old is not None and old["spec"].get("preserveUnknownFields")
    ):
        instead = "set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        errors.append(invalid("spec.preserveUnknownFields", True, f"cannot set to true, {instead}"))
    return errors


def _approval_errors(obj: Object, old: Object | None) -> list[FieldError]:
    group = (obj.get("spec") or {}).get("group") or ""
    if not (group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")):
        return []
    approval = _approval(obj)
    state = _approval_state(approval)
    if old is not None and _approval_state(_approval(old)) == state:
        return []
    where = f"metadata.annotations[{APPROVAL}]"
    needed = f'protected groups must have approval annotation "{APPROVAL}"'
    if state == "missing":
        return [required(where, f"{needed}, see {_APPROVAL_POLICY}")]
    if state == "invalid":
        detail = f'{needed} with either a URL or a reason starting with "unapproved", see {_APPROVAL_POLICY}'
        return [invalid(where, approval, detail)]
    return []


def _approval(obj: Object) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(APPROVAL) or "")


def _approval_state(approval: str) -> str:
    if not approval:
        return "missing"
    if approval.startswith("unapproved"):
        return "bypassed"
    return "approved" if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]", approval) else "invalid"


def name_errors(name: str, obj: Object) -> tuple[str, ...]:
    spec = obj.get("spec") or {}
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    errors = list(dns_subdomain(name))
    if name != wanted:
        errors.append('must be spec.names.plural+"."+spec.group')
    return tuple(errors)


def spec_errors(obj: Object, old: Object | None = None) -> list[FieldError]:
    """Errors of `spec`; `old` is the object before an update."""
    spec = obj.get("spec") or {}
    versions: list[Object] = spec.get("versions") or []
    errors = _group_errors(spec.get("group") or "")
    scope = spec.get("scope") or ""
    if not scope:
        errors.append(required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        errors.append(not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    hoisted = _hoisted(versions)
    for index, version in enumerate(versions):
        if not ((version.get("schema") or {}).get("openAPIV3Schema")):
            errors.append(required(f"spec.versions[{index}].schema.openAPIV3Schema"))
    for index, version in enumerate(versions):
        errors += _version_errors(version, f"spec.versions[{index}]", hoisted, old)
    errors += _version_set_errors(versions)
    errors += _names_errors(spec.get("names") or {})
    if versions:
        errors += _hoisted_errors(versions, hoisted, old)
    errors += _conversion_errors(spec.get("conversion") or {})
    return errors


def _hoisted(versions: Sequence[Object]) -> frozenset[str]:
    """Which parts are the same in every version."""
    parts = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
    if not versions:
        return frozenset()
    first = versions[0]
    return frozenset(part for part in parts if all(each.get(part) == first.get(part) for each in versions))


def _group_errors(group: str) -> list[FieldError]:
    if not group:
        return [required("spec.group")]
    problems = dns_subdomain(group)
    if problems:
        return [invalid("spec.group", group, ",".join(problems))]
    return [] if "." in group else [invalid("spec.group", group, "should be a domain with at least one dot")]


def _version_errors(version: Object, path: str, hoisted: frozenset[str], old: Object | None) -> list[FieldError]:
    errors: list[FieldError] = []
    problems = dns1035_label(version.get("name") or "")
    if problems:
        errors.append(invalid(f"{path}.name", version.get("name") or "", ",".join(problems)))
    warning = version.get("deprecationWarning")
    if warning is not None:
        errors += [
            invalid(f"{path}.deprecationWarning", warning, problem)
            for problem in _deprecation_problems(warning, bool(version.get("deprecated")))
        ]
    if "schema" not in hoisted:
        errors += _schema_errors(version, f"{path}.schema", old)
    if "subresources" not in hoisted:
        errors += _subresource_errors(version.get("subresources"), f"{path}.subresources")
    if "additionalPrinterColumns" not in hoisted:
        errors += _columns_errors(version, f"{path}.additionalPrinterColumns")
    if "selectableFields" not in hoisted:
        errors += _selectable_errors(version, f"{path}.selectableFields")
    return errors


def _hoisted_errors(versions: Sequence[Object], hoisted: frozenset[str], old: Object | None) -> list[FieldError]:
    first = versions[0]
    errors: list[FieldError] = []
    if "schema" in hoisted:
        has_status = any(_has_status(version) for version in versions)
        errors += _schema_errors(first, "spec.validation", old, has_status=has_status)
    if "subresources" in hoisted:
        errors += _subresource_errors(first.get("subresources"), "spec.subresources")
    if "additionalPrinterColumns" in hoisted:
        errors += _columns_errors(first, "spec.additionalPrinterColumns")
    if "selectableFields" in hoisted:
        errors += _selectable_errors(first, "spec.selectableFields")
    return errors


def _has_status(version: Object) -> bool:
    return (version.get("subresources") or {}).get("status") is not None


def _schema_errors(
    version: Object, path: str, old: Object | None, *, has_status: bool | None = None
) -> list[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not schema:
        return []
    status = _has_status(version) if has_status is None else has_status
    return schema_errors(schema, f"{path}.openAPIV3Schema", has_status=status, old=_old_schema(old, version["name"]))


def _old_schema(old: Object | None, version_name: str) -> Any:
    for version in ((old or {}).get("spec") or {}).get("versions") or ():
        if version["name"] == version_name:
            return (version.get("schema") or {}).get("openAPIV3Schema")
    return None


def _deprecation_problems(warning: str, deprecated: bool) -> list[str]:
    if not deprecated:
        return ["can only be set for deprecated versions"]
    problems = []
    if len(warning.encode()) > 256:
        problems.append("must be <= 256 characters long")
    if not warning:
        problems.append("must not be an empty string")
    for index, char in enumerate(warning):
        if not char.isprintable():
            text = "must only contain printable UTF-8 characters; non-printable character found at index"
            problems.append(f"{text} {index}")
            break
    return problems


def _version_set_errors(versions: Sequence[Object]) -> list[FieldError]:
    errors: list[FieldError] = []
    names = [version.get("name") for version in versions]
    if len(set(names)) != len(names):
        errors.append(invalid("spec.versions", list(versions), "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(invalid("spec.versions", list(versions) or None, detail))
    return errors


def _names_errors(names: Object) -> list[FieldError]:
    errors = [
        required(f"spec.names.{part}") for part in ("plural", "singular", "kind", "listKind") if not names.get(part)
    ]
    return errors + _name_format_errors(names, "spec.names")


def _name_format_errors(names: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for part in ("plural", "singular"):
        value = names.get(part) or ""
        problems = dns1035_label(value) if value else ()
        if problems:
            errors.append(invalid(f"{path}.{part}", value, ",".join(problems)))
    for part in ("kind", "listKind"):
        value = names.get(part) or ""
        problems = dns1035_label(value.lower()) if value else ()
        if problems:
            detail = "may have mixed case, but should otherwise match: " + ",".join(problems)
            errors.append(invalid(f"{path}.{part}", value, detail))
    errors += _label_list_errors(names.get("shortNames"), f"{path}.shortNames")
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        errors.append(invalid(f"{path}.listKind", names["listKind"], "kind and listKind may not be the same"))
    return errors + _label_list_errors(names.get("categories"), f"{path}.categories")


def _label_list_errors(values: Sequence[str] | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, value in enumerate(values or ()):
        problems = dns1035_label(value)
        if problems:
            errors.append(invalid(f"{path}[{index}]", value, ",".join(problems)))
    return errors


def _subresource_errors(subresources: Object | None, path: str) -> list[FieldError]:
    scale = (subresources or {}).get("scale")
    if scale is None:
        return []
    errors: list[FieldError] = []
    for name, roots, detail in (
        ("specReplicasPath", (".spec.",), "should be a json path under .spec"),
        ("statusReplicasPath", (".status.",), "should be a json path under .status"),
        ("labelSelectorPath", (".spec.", ".status."), "should be a json path under either .spec or .status"),
    ):
        value, field = scale.get(name) or "", f"{path}.scale.{name}"
        if not value:
            if name != "labelSelectorPath":
                errors.append(required(field))
            continue
        problems = _json_path_errors(value, field)
        if not problems and not value.startswith(roots):
            problems = [invalid(field, value, detail)]
        errors += problems
    return errors


def _json_path_errors(value: str, path: str) -> list[FieldError]:
    return [] if value.startswith(".") else [invalid(path, value, "must be a simple json path starting with .")]


def _columns_errors(version: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        here = f"{path}[{index}]"
        if not column.get("name"):
            errors.append(required(f"{here}.name"))
        type_ = column.get("type") or ""
        if not type_:
            errors.append(required(f"{here}.type", "must be one of " + ",".join(_COLUMN_TYPES)))
        elif type_ not in _COLUMN_TYPES:
            errors.append(invalid(f"{here}.type", type_, "must be one of " + ",".join(_COLUMN_TYPES)))
        format_ = column.get("format") or ""
        if format_ and format_ not in _COLUMN_FORMATS:
            errors.append(invalid(f"{here}.format", format_, "must be one of " + ",".join(_COLUMN_FORMATS)))
        json_path = column.get("jsonPath") or ""
        if not json_path:
            errors.append(required(f"{here}.JSONPath"))
        else:
            errors += _json_path_errors(json_path, f"{here}.JSONPath")
    return errors


def _selectable_errors(version: Object, path: str) -> list[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, selectable in enumerate(version.get("selectableFields") or ()):
        here, json_path = f"{path}[{index}].jsonPath", selectable.get("jsonPath") or ""
        if not json_path:
            errors.append(required(here))
            continue
        found, problem = find_field(schema, json_path)
        if problem:
            errors.append(invalid(here, json_path, f"is an invalid path: {problem}"))
            continue
        if json_path.startswith(".metadata"):
            errors.append(invalid(here, json_path, "must not point to fields in metadata"))
        if found.get("type") not in ("string", "boolean", "integer"):
            detail = "must point to a field of type string, boolean or integer. "
            detail += "Enum string fields and strings with formats are allowed."
            errors.append(invalid(here, json_path, detail))
        if json_path in seen:
            errors.append(duplicate(here, json_path))
        seen.add(json_path)
    if len(seen) > SELECTABLE_FIELDS_LIMIT:
        errors.append(too_many(path, len(seen), SELECTABLE_FIELDS_LIMIT))
    return errors


def find_field(schema: Mapping[str, Any], json_path: str) -> tuple[Mapping[str, Any], str]:
    """The schema at a path of plain fields, or why there is none."""
    if "[" in json_path:
        return {}, "array notation is not allowed"
    names = _FIELD_STEP.findall(json_path)
    if not names or "".join(f".{name}" for name in names) != json_path:
        return {}, f"expected [ or . but got: {json_path.lstrip('.') or json_path}"
    for name in names:
        child = (schema.get("properties") or {}).get(name)
        if not isinstance(child, Mapping):
            return {}, "does not refer to a valid field"
        schema = child
    return schema, ""


def _conversion_errors(conversion: Object) -> list[FieldError]:
    path = "spec.conversion"
    strategy = conversion.get("strategy") or ""
    webhook = conversion.get("webhook")
    if not strategy:
        return []
    if strategy not in ("None", "Webhook"):
        return [not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        if webhook is not None:
            detail = "should not be set when strategy is not set to Webhook"
            return [forbidden(f"{path}.webhookClientConfig", detail)]
        return []
    errors: list[FieldError] = []
    client = (webhook or {}).get("clientConfig")
    if client is None:
        errors.append(required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook"))
    elif (client.get("url") is None) == (client.get("service") is None):
        errors.append(required(f"{path}.webhookClientConfig", "exactly one of url or service is required"))
    versions = (webhook or {}).get("conversionReviewVersions") or []
    if not versions:
        errors.append(required(f"{path}.conversionReviewVersions"))
    elif not {"v1", "v1beta1"} & set(versions):
        errors.append(invalid(f"{path}.conversionReviewVersions", versions, "must include at least one of v1, v1beta1"))
    return errors


def spec_change_errors(new: Object, old: Object) -> list[FieldError]:
    """What an update may not change."""
    spec, before = new["spec"], old["spec"]
    conditions = (old.get("status") or {}).get("conditions") or ()
    errors: list[FieldError] = []
    if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
        errors += validate_immutable(spec.get("scope"), before.get("scope"), "spec.scope")
        errors += validate_immutable(spec["names"].get("kind"), before["names"].get("kind"), "spec.names.kind")
    errors += validate_immutable(spec.get("group"), before.get("group"), "spec.group")
    errors += validate_immutable(spec["names"].get("plural"), before["names"].get("plural"), "spec.names.plural")
    return errors


def accepted_names_errors(obj: Object) -> list[FieldError]:
    return _name_format_errors((obj.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")


def status_errors(obj: Object) -> list[FieldError]:
    errors = accepted_names_errors(obj)
    path = "status.storedVersions"
    stored = (obj.get("status") or {}).get("storedVersions") or []
    if not stored:
        return [*errors, invalid(path, None, "must have at least one stored version")]
    names = [version["name"] for version in obj["spec"].get("versions") or ()]
    for version in obj["spec"].get("versions") or ():
        if version.get("storage") and version["name"] not in stored:
            errors.append(invalid(path, stored, f"must have the storage version {version['name']}"))
    for index, name in enumerate(stored):
        if name not in names:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            errors.append(invalid(f"{path}[{index}]", name, detail))
    return errors
