"""Ingress and IngressClass: rules for traffic from outside, stored for ingress controllers."""

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
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import (
    dns_label,
    dns_subdomain,
    ip,
    path_segment,
    port_name,
    port_number,
    wildcard_subdomain,
)
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

CONTROLLER_LIMIT = 250

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_FORBIDDEN_PARTS = ("//", "/./", "/../", "%2f", "%2F")
_FORBIDDEN_ENDS = ("/..", "/.")


class IngressStrategy(StatusStrategy):
    """Ingress."""

    def initial_status(self, obj: Object) -> Object | None:
        return {"loadBalancer": {}}

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*super().validate_create(obj, context)]
        annotated = (obj["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
        name = (obj.get("spec") or {}).get("ingressClassName")
        if annotated is not None and name is not None and annotated != name:
            detail = "must match `ingressClassName` when both are specified"
            errors.append(invalid(f"annotations.{_CLASS_ANNOTATION}", annotated, detail))
        return errors

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        backend, rules = spec.get("defaultBackend"), spec.get("rules")
        if not rules and backend is None:
            errors.append(invalid("spec", rules, "either `defaultBackend` or `rules` must be specified"))
        if backend is not None:
            _check_backend(errors, backend, "spec.defaultBackend")
        for index, rule in enumerate(rules or ()):
            _check_rule(errors, rule, f"spec.rules[{index}]")
        for index, tls in enumerate(spec.get("tls") or ()):
            path = f"spec.tls[{index}]"
            for number, host in enumerate(tls.get("hosts") or ()):
                add_each(errors, f"{path}.hosts[{number}]", host, _host_problems(host))
            if tls.get("secretName"):
                add_each(errors, f"{path}.secretName", tls["secretName"], dns_subdomain(tls["secretName"]))
        name = spec.get("ingressClassName")
        if name is not None:
            add_each(errors, "spec.ingressClassName", name, dns_subdomain(name))
        return errors


def _host_problems(host: str) -> Sequence[str]:
    return wildcard_subdomain(host) if "*" in host else dns_subdomain(host)


def _check_rule(errors: Errors, rule: Mapping[str, Any], path: str) -> None:
    host, http = rule.get("host"), rule.get("http")
    if host:
        if not ip(host):
            errors.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        add_each(errors, f"{path}.host", host, _host_problems(host))
    if http is None:
        return
    if not http.get("paths"):
        errors.append(required(f"{path}.http.paths"))
    for index, item in enumerate(http.get("paths") or ()):
        _check_path(errors, item, f"{path}.http.paths[{index}]")


def _check_path(errors: Errors, item: Mapping[str, Any], path: str) -> None:
    type_, text = item.get("pathType"), item.get("path") or ""
    if type_ is None:
        errors.append(required(f"{path}.pathType", "pathType must be specified"))
    elif type_ not in _PATH_TYPES:
        errors.append(not_supported(f"{path}.pathType", type_, _PATH_TYPES))
    elif not text.startswith("/") and (text or type_ != "ImplementationSpecific"):
        errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
    if type_ in ("Exact", "Prefix") and text:
        for part in _FORBIDDEN_PARTS:
            if part in text:
                errors.append(invalid(f"{path}.path", text, f"must not contain '{part}'"))
        for end in _FORBIDDEN_ENDS:
            if text.endswith(end):
                errors.append(invalid(f"{path}.path", text, f"cannot end with '{end}'"))
    if type_ is not None:
        _check_backend(errors, item.get("backend") or {}, f"{path}.backend")


def _check_backend(errors: Errors, backend: Mapping[str, Any], path: str) -> None:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        errors.append(invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        check_local_reference(errors, resource, f"{path}.resource")
    elif service is not None:
        _check_service(errors, service, path)
    else:
        errors.append(invalid(path, "", "resource or service backend is required"))


def _check_service(errors: Errors, service: Mapping[str, Any], path: str) -> None:
    name, port = service.get("name", ""), service.get("port") or {}
    if name:
        add_each(errors, f"{path}.service.name", name, dns_label(name))
    else:
        errors.append(required(f"{path}.service.name"))
    called, number = port.get("name"), port.get("number")
    if called and number:
        errors.append(invalid(path, "", "cannot set both port name & port number"))
    elif called:
        add_each(errors, f"{path}.service.port.name", called, port_name(called))
    elif number:
        add_each(errors, f"{path}.service.port.number", number, port_number(number))
    else:
        errors.append(required(path, "port name or number is required"))


def check_local_reference(errors: Errors, reference: Mapping[str, Any], path: str) -> None:
    """A reference to an object by API group, kind and name."""
    group = reference.get("apiGroup")
    if group is not None:
        add_each(errors, f"{path}.apiGroup", group, dns_subdomain(group))
    for key in ("kind", "name"):
        value = reference.get(key, "")
        if not value:
            errors.append(required(f"{path}.{key}"))
        else:
            add_each(errors, f"{path}.{key}", value, path_segment(value))


class IngressClassStrategy(ClusterStrategy):
    """IngressClass: its controller is for good."""

    def default(self, obj: Object) -> None:
        parameters = (obj.get("spec") or {}).get("parameters")
        if parameters is not None:
            parameters["scope"] = parameters.get("scope") or "Cluster"

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        controller = spec.get("controller", "")
        if len(controller) > CONTROLLER_LIMIT:
            errors.append(too_long("spec.controller", CONTROLLER_LIMIT))
        _check_domain_path(errors, controller, "spec.controller")
        if spec.get("parameters") is not None:
            _check_parameters(errors, spec["parameters"], "spec.parameters")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        controller, before = ((obj.get("spec") or {}).get("controller", "") for obj in (new, old))
        check_immutable(errors, controller, before, "spec.controller")
        return errors


def _check_domain_path(errors: Errors, value: str, path: str) -> None:
    domain, _, rest = value.partition("/")
    if not value:
        errors.append(required(path))
    elif not domain or not rest:
        errors.append(invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    else:
        add_each(errors, path, domain, dns_subdomain(domain))


def _check_parameters(errors: Errors, parameters: Mapping[str, Any], path: str) -> None:
    check_local_reference(errors, parameters, path)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope not in ("Cluster", "Namespace"):
        errors.append(not_supported(f"{path}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace" and namespace is None:
        errors.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
    elif scope == "Cluster" and namespace is not None:
        errors.append(forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    elif namespace is not None:
        add_each(errors, f"{path}.namespace", namespace, dns_label(namespace))
