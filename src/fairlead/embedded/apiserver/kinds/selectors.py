"""Label selectors and node selectors inside objects: their validation, and whether a selector matches labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.invalid import forbidden, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.metadata import validate_labels
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, label_value, qualified_name
from fairlead.kube.selectors import from_label_selector

_NEEDS_VALUES = "must be specified when `operator` is 'In' or 'NotIn'"
_TAKES_NO_VALUES = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
_UNKNOWN_OPERATOR = "not a valid selector operator"


def validate_label_selector(
    errors: Errors, selector: Mapping[str, Any] | None, path: str, *, allow_invalid_values: bool = False
) -> None:
    """A `meta/v1` LabelSelector; an absent one is valid."""
    if not selector:
        return
    errors += validate_labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, requirement in enumerate(selector.get("matchExpressions") or ()):
        _validate_requirement(
            errors,
            requirement,
            f"{path}.matchExpressions[{index}]",
            numeric=False,
            allow_invalid_values=allow_invalid_values,
        )


def _validate_requirement(
    errors: Errors, requirement: Mapping[str, Any], path: str, *, numeric: bool, allow_invalid_values: bool
) -> None:
    operator, values = requirement.get("operator", ""), requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", _NEEDS_VALUES))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            errors.append(forbidden(f"{path}.values", _TAKES_NO_VALUES))
    elif numeric and operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(required(f"{path}.values", detail))
    else:
        errors.append(invalid(f"{path}.operator", operator, _UNKNOWN_OPERATOR))
    key = requirement.get("key", "")
    add_each(errors, f"{path}.key", key, qualified_name(key))
    if not allow_invalid_values:
        for index, value in enumerate(values):
            add_each(errors, f"{path}.values[{index}]", value, label_value(value))


def validate_node_selector(errors: Errors, selector: Mapping[str, Any], path: str) -> None:
    """A core NodeSelector: at least one term, terms of expressions over labels and fields."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        errors.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
    for index, term in enumerate(terms):
        validate_node_selector_term(errors, term, f"{path}.nodeSelectorTerms[{index}]")


def validate_node_selector_term(
    errors: Errors, term: Mapping[str, Any], path: str, *, allow_invalid_values: bool = False
) -> None:
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        _validate_requirement(
            errors,
            requirement,
            f"{path}.matchExpressions[{index}]",
            numeric=True,
            allow_invalid_values=allow_invalid_values,
        )
    for index, requirement in enumerate(term.get("matchFields") or ()):
        _validate_field_requirement(errors, requirement, f"{path}.matchFields[{index}]")


def _validate_field_requirement(errors: Errors, requirement: Mapping[str, Any], path: str) -> None:
    operator, values = requirement.get("operator", ""), requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            errors.append(required(f"{path}.values", detail))
    else:
        errors.append(invalid(f"{path}.operator", operator, _UNKNOWN_OPERATOR))
    key = requirement.get("key", "")
    if key != "metadata.name":
        errors.append(invalid(f"{path}.key", key, "not a valid field selector key"))
        return
    for index, value in enumerate(values):
        add_each(errors, f"{path}.values[{index}]", value, dns_subdomain(value))


def is_empty(selector: Mapping[str, Any] | None) -> bool:
    """Whether a LabelSelector selects everything."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether labels satisfy a LabelSelector; a malformed selector matches nothing, an absent one neither."""
    try:
        return from_label_selector(selector).matches(labels)
    except ValueError:
        return False
