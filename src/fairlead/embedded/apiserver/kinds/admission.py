"""The group admissionregistration.k8s.io, v1: webhook configurations and policies, stored but not enforced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, duplicate, required
from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType, Strategy

_API_VERSION = "admissionregistration.k8s.io/v1"


class WebhookStrategy(ClusterStrategy):
    """MutatingWebhookConfiguration and ValidatingWebhookConfiguration."""

    def __init__(self, *, mutating: bool) -> None:
        self._mutating = mutating

    def default(self, obj: Object) -> None:
        for webhook in obj.get("webhooks") or ():
            if self._mutating:
                webhook.setdefault("reinvocationPolicy", "Never")
            for key, value in (("failurePolicy", "Fail"), ("timeoutSeconds", 10)):
                webhook.setdefault(key, value)
            _default_matching(webhook)
            service = (webhook.get("clientConfig") or {}).get("service")
            if service is not None:
                service.setdefault("port", 443)
            for rule in webhook.get("rules") or ():
                rule.setdefault("scope", "*")

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        names: set[str] = set()
        for index, webhook in enumerate(obj.get("webhooks") or ()):
            path, name = f"webhooks[{index}]", webhook.get("name", "")
            if not name:
                errors.append(required(f"{path}.name"))
            elif name in names:
                errors.append(duplicate(f"{path}.name", name))
            names.add(name)
            if not webhook.get("admissionReviewVersions"):
                detail = "must specify one of v1, v1beta1"
                errors.append(required(f"{path}.admissionReviewVersions", detail))
            if not webhook.get("sideEffects"):
                errors.append(required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun"))
        return errors


def _default_matching(holder: dict[str, Any]) -> None:
    holder.setdefault("matchPolicy", "Equivalent")
    holder.setdefault("namespaceSelector", {})
    holder.setdefault("objectSelector", {})


def _default_match_resources(spec: dict[str, Any], key: str) -> None:
    matched = spec.get(key)
    if matched is None:
        return
    _default_matching(matched)
    for rules in ("resourceRules", "excludeResourceRules"):
        for rule in matched.get(rules) or ():
            rule.setdefault("scope", "*")


class PolicyStrategy(StatusStrategy):
    """ValidatingAdmissionPolicy."""

    namespaced = False

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if spec is not None:
            spec.setdefault("failurePolicy", "Fail")
            _default_match_resources(spec, "matchConstraints")


class PolicyBindingStrategy(ClusterStrategy):
    """Bindings of admission policies."""

    def default(self, obj: Object) -> None:
        _default_match_resources(obj.get("spec") or {}, "matchResources")

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        return () if (obj.get("spec") or {}).get("policyName") else (required("spec.policyName"),)


class MutatingPolicyStrategy(ClusterStrategy):
    """MutatingAdmissionPolicy."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if spec is not None:
            spec.setdefault("failurePolicy", "Fail")
            spec.setdefault("reinvocationPolicy", "Never")
            _default_match_resources(spec, "matchConstraints")


def types() -> list[ResourceType]:
    """The kinds of admissionregistration.k8s.io/v1."""
    return [
        _row("mutatingadmissionpolicies", "MutatingAdmissionPolicy", MutatingPolicyStrategy()),
        _row("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", PolicyBindingStrategy()),
        _row(
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            WebhookStrategy(mutating=True),
            keeps_empty=("webhooks",),
        ),
        _row(
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            PolicyStrategy(),
            has_status=True,
            reset_fields=STATUS,
        ),
        _row("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", PolicyBindingStrategy()),
        _row(
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            WebhookStrategy(mutating=False),
            keeps_empty=("webhooks",),
        ),
    ]


def _row(resource: str, kind: str, strategy: Strategy, **options: Any) -> ResourceType:
    return resource_type(
        _API_VERSION,
        resource,
        kind,
        namespaced=False,
        strategy=strategy,
        categories=("api-extensions",),
        has_generation=True,
        allow_unconditional_update=False,
        **options,
    )
