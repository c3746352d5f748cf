"""Filters by what an endpoint's pod says of itself: labels and role."""

from __future__ import annotations

from typing import Any, Literal

from fairlead.gateway.pick.plugin import NoParameters, Parameters, PluginType
from fairlead.gateway.pick.profile import Filter
from fairlead.gateway.pick.query import Context

DECODE_ROLES = frozenset({"decode", "prefill-decode", "both", "encode-prefill-decode"})
PREFILL_ROLES = frozenset({"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"})
ENCODE_ROLES = frozenset({"encode", "encode-prefill", "encode-prefill-decode"})
"""Roles that can do each part of a request."""

ROLE_LABEL = "llm-d.ai/role"


def role_filter(roles: frozenset[str], *, unlabelled: bool) -> Filter:
    """Those whose role is among `roles`; `unlabelled` says whether a pod that names no role is one of them.

    As with llm-d, such a pod decodes, and computes the prompts of its own requests, but not those of others.
    """

    def keep(context: Context) -> list[int] | None:
        candidates = context.candidates
        if unlabelled:
            kept = [i for i, c in enumerate(candidates) if c.role in roles]
        else:
            kept = [
                i for i, c in enumerate(candidates) if c.role in roles and (c.role != "both" or ROLE_LABEL in c.labels)
            ]
        return kept if len(kept) < len(candidates) else None

    return keep


class ByLabelParameters(Parameters, frozen=True):
    """Of `by-label`."""

    label: str
    valid_values: tuple[str, ...] = ()
    allows_no_label: bool = False

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("label must not be empty")
        if not self.valid_values and not self.allows_no_label:
            raise ValueError("validValues must not be empty unless allowsNoLabel is true")


def by_label(parameters: ByLabelParameters) -> Filter:
    """Those whose label has one of the values, or that have no such label where that is allowed."""
    label, values, unlabelled = parameters.label, frozenset(parameters.valid_values), parameters.allows_no_label

    def keep(context: Context) -> list[int]:
        kept = []
        for position, candidate in enumerate(context.candidates):
            value = candidate.labels.get(label)
            if value in values or (value is None and unlabelled):
                kept.append(position)
        return kept

    return keep


class Requirement(Parameters, frozen=True):
    """One of a Kubernetes label selector's `matchExpressions`."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.operator in ("In", "NotIn") and not self.values:
            raise ValueError(f"values must not be empty for operator {self.operator}")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise ValueError(f"values must be empty for operator {self.operator}")

    def met_by(self, value: str | None) -> bool:
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        return (value is not None) == (self.operator == "Exists")


class SelectorParameters(Parameters, frozen=True):
    """Of `label-selector-filter` and `by-label-selector`."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()


def label_selector(parameters: SelectorParameters) -> Filter:
    """Those that a Kubernetes label selector matches."""
    exact, requirements = tuple(parameters.match_labels.items()), parameters.match_expressions

    def keep(context: Context) -> list[int]:
        kept = []
        for position, candidate in enumerate(context.candidates):
            labels = candidate.labels
            if all([labels.get(k) == v for k, v in exact]) and all([r.met_by(labels.get(r.key)) for r in requirements]):
                kept.append(position)
        return kept

    return keep


def _always(_: Parameters) -> bool:
    return True


def _role(name: str, roles: frozenset[str], *, unlabelled: bool) -> PluginType[NoParameters]:
    return PluginType(name, NoParameters, filter=lambda _: role_filter(roles, unlabelled=unlabelled), strict=_always)


PLUGINS: tuple[PluginType[Any], ...] = (
    _role("decode-filter", DECODE_ROLES, unlabelled=True),
    _role("prefill-filter", PREFILL_ROLES, unlabelled=False),
    _role("encode-filter", ENCODE_ROLES, unlabelled=False),
    PluginType("label-selector-filter", SelectorParameters, filter=label_selector, strict=_always),
    PluginType(
        "by-label-selector", SelectorParameters, filter=label_selector, strict=_always,
        replaced_by="label-selector-filter",
    ),
    PluginType("by-label", ByLabelParameters, filter=by_label, strict=_always, replaced_by="label-selector-filter"),
)  # fmt: skip
