"""Resource names and quantities: which names exist, which count in whole numbers, and requests against limits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, duplicate, forbidden, invalid, required
from fairlead.embedded.apiserver.kinds.errors import NOT_NEGATIVE, NOT_POSITIVE, Errors
from fairlead.embedded.apiserver.kinds.names import Messages, dns_label, qualified_name
from fairlead.kube.quantity import Quantity, parse_quantity

_HUGE_PAGES = "hugepages-"
_COUNTED = frozenset(
    (
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    )
)
_CONTAINER = frozenset(("cpu", "memory", "ephemeral-storage"))
_QUOTA = frozenset(
    ("cpu", "memory", "ephemeral-storage", "requests.storage", *_COUNTED)
    + tuple(f"{kind}.{name}" for kind in ("requests", "limits") for name in _CONTAINER)
)
_STANDARD = _QUOTA | {"storage"}
_POD_LEVEL = ("cpu", "memory")


def is_huge_page(name: str) -> bool:
    return name.startswith(_HUGE_PAGES)


def is_native(name: str) -> bool:
    """Whether Kubernetes itself defines the resource: no domain, or one under kubernetes.io."""
    return "/" not in name or "kubernetes.io/" in name


@lru_cache(1024)
def is_extended(name: str) -> bool:
    """Whether the resource belongs to a device plugin or driver (`example.com/gpu`)."""
    return not is_native(name) and not name.startswith("requests.") and not qualified_name("requests." + name)


def is_overcommit_allowed(name: str) -> bool:
    return is_native(name) and not is_huge_page(name)


def is_quota_resource(name: str) -> bool:
    return name in _QUOTA or is_huge_page(name) or name.startswith("requests." + _HUGE_PAGES)


@lru_cache(1024)
def resource_name(name: str) -> Messages:
    """Any resource's name."""
    messages = qualified_name(name)
    if messages or "/" in name or name in _STANDARD or name.startswith((_HUGE_PAGES, "requests." + _HUGE_PAGES)):
        return messages
    return ("must be a standard resource type or fully qualified",)


@lru_cache(1024)
def container_resource_name(name: str) -> Messages:
    """Names allowed in a container's requests and limits."""
    messages = resource_name(name)
    if "/" not in name:
        if name not in _CONTAINER and not is_huge_page(name):
            return (*messages, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        return (*messages, "doesn't follow extended resource name standard")
    return messages


def quota_resource_name(name: str) -> Messages:
    messages = resource_name(name)
    if "/" not in name and not is_quota_resource(name):
        return (*messages, "must be a standard resource for quota")
    return messages


@lru_cache(1024)
def pod_resource_name(name: str) -> Messages:
    """Names allowed in a pod's own requests and limits."""
    return resource_name(name)


@lru_cache(8192)
def quantity_messages(name: str, text: str) -> Messages:
    """What is wrong with an amount of a resource: below zero, or a fraction of something counted."""
    amount = parse_quantity(text)
    messages: Messages = (NOT_NEGATIVE,) if amount < _ZERO else ()
    if (name in _COUNTED or is_extended(name)) and amount.milli_value % 1000:
        messages += ("must be an integer",)
    return messages


_ZERO = Quantity(0)


@lru_cache(8192)
def positive_messages(text: str) -> Messages:
    return () if parse_quantity(text) > _ZERO else (NOT_POSITIVE,)


@lru_cache(1024)
def _huge_page_message(name: str, text: str) -> Messages:
    try:
        size = parse_quantity(name.removeprefix(_HUGE_PAGES))
    except ValueError:
        size = _ZERO
    if size > _ZERO and size.milli_value % 1000 == 0 and parse_quantity(text).value % size.value == 0:
        return ()
    return (f"{text} is not positive integer multiple of {name}",)


@lru_cache(8192)
def _amount_messages(rule: Callable[[str], Messages], name: str, text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of shown value and message for one entry of requests or limits."""
    found = [(name, message) for message in rule(name)]
    found += [(text, message) for message in quantity_messages(name, text)]
    if is_huge_page(name):
        found += [(text, message) for message in _huge_page_message(name, text)]
    return tuple(found)


def validate_requirements(
    errors: Errors,
    resources: Mapping[str, Any] | None,
    claim_names: Collection[str],
    path: str,
    rule: Callable[[str], Messages] = container_resource_name,
) -> None:
    """Requests and limits of a container (or of a pod, with its own `rule` of names)."""
    if not resources:
        return
    limits: Mapping[str, str] = resources.get("limits") or {}
    requests: Mapping[str, str] = resources.get("requests") or {}
    for name, text in limits.items():
        for value, message in _amount_messages(rule, name, text):
            errors.append(invalid(f"{path}.limits[{name}]", value, message))
    for name, text in requests.items():
        for value, message in _amount_messages(rule, name, text):
            errors.append(invalid(f"{path}.requests[{name}]", value, message))
        if limits.get(name) != text:
            _validate_against_limit(errors, name, text, limits.get(name), path)
    named = {*limits, *requests}
    if any(is_huge_page(name) for name in named) and not named & {"cpu", "memory"}:
        errors.append(forbidden(path, "HugePages require cpu or memory"))
    if resources.get("claims"):
        _validate_claims(errors, resources["claims"], claim_names, f"{path}.claims")


def _validate_against_limit(errors: Errors, name: str, text: str, limit: str | None, path: str) -> None:
    if limit is None:
        if not is_overcommit_allowed(name):
            errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        return
    amount, bound = parse_quantity(text), parse_quantity(limit)
    if amount != bound and not is_overcommit_allowed(name):
        errors.append(invalid(f"{path}.requests", text, f"must be equal to {name} limit of {limit}"))
    elif amount > bound:
        errors.append(invalid(f"{path}.requests", text, f"must be less than or equal to {name} limit of {limit}"))


def _validate_claims(
    errors: Errors, claims: Sequence[Mapping[str, str]], claim_names: Collection[str], path: str
) -> None:
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        name, at = claim.get("name", ""), f"{path}[{index}]"
        if not name:
            errors.append(required(at))
            continue
        if name in seen:
            errors.append(duplicate(at, name))
        else:
            _validate_claim_request(errors, claim, seen, at)
        if name not in claim_names:
            listed = f": {', '.join(sorted(claim_names))}" if claim_names else " which is empty"
            errors.append(
                FieldError(
                    "FieldValueNotFound",
                    at,
                    f'Not found: "{name}": must be one of the names in pod.spec.resourceClaims{listed}',
                )
            )


def _validate_claim_request(errors: Errors, claim: Mapping[str, str], seen: set[str], at: str) -> None:
    name, request = claim["name"], claim.get("request", "")
    key = name
    if request:
        for message in dns_label(request):
            errors.append(invalid(f"{at}.request", request, message))
        key = f"{name}/{request}"
    if key in seen:
        errors.append(duplicate(at, key))
    elif not request:
        for other in seen:
            if other.partition("/")[0] == name:
                errors.append(duplicate(at, name))
    seen.add(key)
