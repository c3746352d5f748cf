"""Rules that several kinds of resource.k8s.io share: names, bounded lists, taints and tolerations, opaque parameters.

Limits are those of the API (`resource/v1/types.go`); a list over its limit is reported alone, its items are not looked
at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.names import c_identifier, dns_label, dns_subdomain, label_value, qualified_name

Item = Callable[[Errors, Any, str], None]

DOMAIN_LIMIT = 63
IDENTIFIER_LIMIT = 32
POOL_NAME_LIMIT = 253
TOLERATIONS_LIMIT = 16
BINDING_CONDITIONS_LIMIT = 4
OPAQUE_LIMIT_BYTES = 10 * 1024

_TAINT_EFFECTS = ("NoExecute", "NoSchedule", "None")
_OPERATORS = ("Equal", "Exists")
_NOT_AN_OBJECT = "must be a valid JSON object"
_DASHED = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_UUID = re.compile(rf"{_DASHED}|\{{{_DASHED}\}}|urn:uuid:{_DASHED}|[0-9a-fA-F]{{32}}", re.IGNORECASE)
_UUID_LENGTH = 36


def check_list(
    errors: Errors,
    items: Sequence[Any] | None,
    path: str,
    check: Item,
    *,
    limit: int | None = None,
    key: Callable[[Any], Any] | None = None,
) -> None:
    """Each item by `check`, unless there are more than `limit`; with `key`, items whose keys repeat are duplicates."""
    if not items:
        return
    if limit is not None and len(items) > limit:
        errors.append(too_many(path, len(items), limit))
        return
    for index, item in enumerate(items):
        check(errors, item, f"{path}[{index}]")
    if key is None:
        return
    seen = set()
    for index, item in enumerate(items):
        identity = key(item)
        comparable = json.dumps(identity, sort_keys=True)
        if comparable in seen:
            errors.append(duplicate(f"{path}[{index}]", identity))
        seen.add(comparable)


def check_map(
    errors: Errors,
    entries: Mapping[str, Any] | None,
    path: str,
    check_key: Item,
    check_value: Item,
    *,
    limit: int | None = None,
    shown_key: int = DOMAIN_LIMIT,
) -> None:
    """Keys and values of a map. Keys longer than `shown_key` are shortened in field paths."""
    if not entries:
        return
    if limit is not None and len(entries) > limit:
        errors.append(too_many(path, len(entries), limit))
        return
    for name, value in sorted(entries.items()):
        check_key(errors, name, path)
        check_value(errors, value, f"{path}[{_shortened(name, max(shown_key, 16))}]")


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    remaining = limit - 3
    return f"{text[: (remaining + 1) // 2]}...{text[len(text) - remaining // 2 :]}"


def check_label(errors: Errors, name: str, path: str) -> None:
    """A DNS label: names of devices, requests and counters."""
    add_each(errors, path, name, dns_label(name))


def check_required_label(errors: Errors, name: str, path: str) -> None:
    if name:
        check_label(errors, name, path)
    else:
        errors.append(required(path))


def check_driver(errors: Errors, name: str, path: str) -> None:
    """A driver's name: a DNS subdomain of 63 characters at most, in any case."""
    if not name:
        errors.append(required(path))
    else:
        if len(name.encode()) > DOMAIN_LIMIT:
            errors.append(too_long(path, DOMAIN_LIMIT))
        add_each(errors, path, name, dns_subdomain(name.lower()))


def check_class_name(errors: Errors, name: str, path: str) -> None:
    if name:
        add_each(errors, path, name, dns_subdomain(name))
    else:
        errors.append(required(path))


def check_pool_name(errors: Errors, name: str, path: str) -> None:
    """A pool's name: DNS subdomains separated by slashes."""
    if not name:
        errors.append(required(path))
        return
    if len(name) > POOL_NAME_LIMIT:
        errors.append(too_long(path, POOL_NAME_LIMIT))
    for part in name.split("/"):
        add_each(errors, path, part, dns_subdomain(part))


def check_attribute_name(errors: Errors, name: str, path: str) -> None:
    """A qualified name: an identifier, or a domain and an identifier separated by a slash."""
    parts = name.split("/")
    if len(parts) == 1:
        _check_identifier(errors, name, path)
    elif len(parts) == 2:
        domain, identifier = parts
        if domain:
            check_driver(errors, domain, path)
        else:
            errors.append(invalid(path, "", "the domain must not be empty"))
        if identifier:
            _check_identifier(errors, identifier, path)
        else:
            errors.append(invalid(path, "", "the name must not be empty"))
    # A name with more slashes is let through, as kube-apiserver does.


def check_full_attribute_name(errors: Errors, name: str, path: str) -> None:
    """A qualified name that has its domain."""
    check_attribute_name(errors, name, path)
    if "/" not in name:
        detail = "a fully qualified name must be a domain and a name separated by a slash"
        errors.append(invalid(path, name, detail))


def _check_identifier(errors: Errors, name: str, path: str) -> None:
    if len(name) > IDENTIFIER_LIMIT:
        errors.append(too_long(path, IDENTIFIER_LIMIT))
    add_each(errors, path, name, c_identifier(name))


def check_share_id(errors: Errors, uid: str, path: str) -> None:
    """A UUID in its normal form."""
    if _UUID.fullmatch(uid):
        if len(uid) != _UUID_LENGTH or uid != uid.lower():
            detail = (
                "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
                "hexadecimal characters"
            )
            errors.append(invalid(path, uid, detail))
        return
    # 32, 36, 38 and 45 are the lengths of the forms that the reading of UUIDs knows at all.
    known = len(uid) in (32, 36, 38, 45)
    problem = "invalid UUID format" if known else f"invalid UUID length: {len(uid)}"
    errors.append(invalid(path, uid, f"error validating uid: {problem}"))


def check_raw_object(errors: Errors, value: Any, path: str, *, limit_bytes: int | None) -> None:
    """Parameters that only a driver understands: a JSON object of bounded size."""
    if value is None:
        errors.append(required(path))
    elif limit_bytes is not None and _encoded_size(value) > limit_bytes:
        errors.append(too_long(path, limit_bytes))
    elif not isinstance(value, dict):
        errors.append(invalid(path, "<value omitted>", _NOT_AN_OBJECT))


def _encoded_size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def check_configuration(errors: Errors, configuration: Mapping[str, Any], path: str, *, stored: bool = False) -> None:
    """A device configuration, which is opaque today. Stored parameters may exceed the limit."""
    opaque = configuration.get("opaque")
    if opaque is None:
        errors.append(required(f"{path}.opaque"))
        return
    check_driver(errors, opaque.get("driver", ""), f"{path}.opaque.driver")
    limit = None if stored else OPAQUE_LIMIT_BYTES
    check_raw_object(errors, opaque.get("parameters"), f"{path}.opaque.parameters", limit_bytes=limit)


def check_taint(errors: Errors, taint: Mapping[str, Any], path: str, *, old: Mapping[str, Any] | None = None) -> None:
    """A device taint; an effect that an update leaves as it was is not looked at again."""
    key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
    add_each(errors, f"{path}.key", key, qualified_name(key))
    add_each(errors, f"{path}.value", value, label_value(value))
    if old is not None and old.get("effect", "") == effect:
        return
    if not effect:
        errors.append(required(f"{path}.effect"))
    elif effect not in _TAINT_EFFECTS:
        errors.append(not_supported(f"{path}.effect", effect, _TAINT_EFFECTS))


def check_tolerations(errors: Errors, tolerations: Sequence[Mapping[str, Any]] | None, path: str) -> None:
    check_list(errors, tolerations, path, _check_toleration, limit=TOLERATIONS_LIMIT)


def _check_toleration(errors: Errors, toleration: Mapping[str, Any], path: str) -> None:
    key, value = toleration.get("key", ""), toleration.get("value", "")
    operator, effect = toleration.get("operator", ""), toleration.get("effect", "")
    if key:
        add_each(errors, f"{path}.key", key, qualified_name(key))
    if operator == "Exists":
        if value:
            errors.append(invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        add_each(errors, f"{path}.value", value, label_value(value))
    elif not operator:
        errors.append(required(f"{path}.operator"))
    else:
        errors.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    if effect and effect not in _TAINT_EFFECTS:
        errors.append(not_supported(f"{path}.effect", effect, _TAINT_EFFECTS))


def default_tolerations(holder: Mapping[str, Any]) -> None:
    """Give tolerations without an operator the default one, in place."""
    for toleration in holder.get("tolerations") or ():
        toleration["operator"] = toleration.get("operator") or "Equal"


def check_binding_conditions(errors: Errors, holder: Mapping[str, Any], path: str) -> None:
    """Binding conditions and failure conditions: bounded, distinct, and only together."""
    wanted, failed = holder.get("bindingConditions") or [], holder.get("bindingFailureConditions") or []
    wanted_path, failed_path = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    for conditions, where in ((wanted, wanted_path), (failed, failed_path)):
        check_list(errors, conditions, where, _check_condition_name, limit=BINDING_CONDITIONS_LIMIT)
        errors += _repeated(conditions, where)
    for index, condition in enumerate(failed):
        if condition in wanted:
            detail = "bindingFailureConditions must not overlap with bindingConditions"
            errors.append(invalid(f"{failed_path}[{index}]", condition, detail))
    if failed and not wanted:
        detail = "bindingConditions are required to use bindingFailureConditions"
        errors.append(invalid(wanted_path, None, detail))
    if wanted and not failed:
        detail = "bindingFailureConditions are required to use bindingConditions"
        errors.append(invalid(failed_path, None, detail))


def _check_condition_name(errors: Errors, name: str, path: str) -> None:
    add_each(errors, path, name, qualified_name(name))


def _repeated(names: Sequence[str], path: str) -> list[FieldError]:
    return [duplicate(f"{path}[{index}]", name) for index, name in enumerate(names) if name in names[:index]]
