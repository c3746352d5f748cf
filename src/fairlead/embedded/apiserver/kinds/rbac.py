"""The group rbac.authorization.k8s.io, v1: roles and their bindings, stored for clients that manage them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.errors import Errors, Layout, add_each, internal_form
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, path_segment
from fairlead.embedded.apiserver.kinds.selectors import validate_label_selector
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType

_GROUP = "rbac.authorization.k8s.io"
_API_VERSION = f"{_GROUP}/v1"
_ROLE_REFERENCE: Layout = (("APIGroup", "apiGroup", ""), ("Kind", "kind", ""), ("Name", "name", ""))


class RoleStrategy(ObjectStrategy):
    """Role and ClusterRole."""

    name_rule = staticmethod(path_segment)

    def __init__(self, *, namespaced: bool) -> None:
        self.namespaced = namespaced

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        for index, rule in enumerate(obj.get("rules") or ()):
            _check_rule(errors, rule, f"rules[{index}]", namespaced=self.namespaced)
        for index, selector in enumerate((obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()):
            validate_label_selector(errors, selector, f"aggregationRule.clusterRoleSelectors[{index}]")
        return errors


def _check_rule(errors: Errors, rule: Mapping[str, Any], path: str, *, namespaced: bool) -> None:
    urls, groups, resources = (rule.get(key) or () for key in ("nonResourceURLs", "apiGroups", "resources"))
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if urls:
        if namespaced:
            detail = "namespaced rules cannot apply to non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", urls, detail))
        if groups or resources or rule.get("resourceNames"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", urls, detail))
        return
    if not groups:
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not resources:
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))


class RoleBindingStrategy(ObjectStrategy):
    """RoleBinding and ClusterRoleBinding: the role is for good."""

    name_rule = staticmethod(path_segment)

    def __init__(self, *, namespaced: bool) -> None:
        self.namespaced = namespaced

    def default(self, obj: Object) -> None:
        reference = obj.get("roleRef")
        if reference is not None:
            reference["apiGroup"] = reference.get("apiGroup") or _GROUP
        for subject in obj.get("subjects") or ():
            if subject.get("kind") in ("User", "Group"):
                subject["apiGroup"] = subject.get("apiGroup") or _GROUP

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        reference = obj.get("roleRef") or {}
        group, kind, name = (reference.get(key, "") for key in ("apiGroup", "kind", "name"))
        if group != _GROUP:
            errors.append(not_supported("roleRef.apiGroup", group, (_GROUP,)))
        kinds = ("Role", "ClusterRole") if self.namespaced else ("ClusterRole",)
        if kind not in kinds:
            errors.append(not_supported("roleRef.kind", kind, kinds))
        if name:
            add_each(errors, "roleRef.name", name, path_segment(name))
        else:
            errors.append(required("roleRef.name"))
        for index, subject in enumerate(obj.get("subjects") or ()):
            _check_subject(errors, subject, f"subjects[{index}]", namespaced=self.namespaced)
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        reference = new.get("roleRef")
        if reference != old.get("roleRef"):
            errors.append(invalid("roleRef", internal_form(reference, _ROLE_REFERENCE), "cannot change roleRef"))
        return errors


def _check_subject(errors: Errors, subject: Mapping[str, Any], path: str, *, namespaced: bool) -> None:
    kind, name, group = (subject.get(key, "") for key in ("kind", "name", "apiGroup"))
    if not name:
        errors.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            add_each(errors, f"{path}.name", name, dns_subdomain(name))
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if not name:
            errors.append(invalid(f"{path}.name", name, f"{kind.lower()} name cannot be empty"))
        if group != _GROUP:
            errors.append(not_supported(f"{path}.apiGroup", group, (_GROUP,)))
    else:
        errors.append(not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))


def types() -> list[ResourceType]:
    """The kinds of rbac.authorization.k8s.io/v1."""
    return [
        _row("clusterrolebindings", "ClusterRoleBinding", RoleBindingStrategy(namespaced=False)),
        _row("clusterroles", "ClusterRole", RoleStrategy(namespaced=False)),
        _row("rolebindings", "RoleBinding", RoleBindingStrategy(namespaced=True)),
        _row("roles", "Role", RoleStrategy(namespaced=True)),
    ]


def _row(resource: str, kind: str, strategy: ObjectStrategy) -> ResourceType:
    return resource_type(
        _API_VERSION,
        resource,
        kind,
        namespaced=strategy.namespaced,
        strategy=strategy,
        allow_create_on_update=True,
    )
