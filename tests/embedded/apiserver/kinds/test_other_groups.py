"""Kinds of the smaller groups: defaults, refusals with their paths, and what an update may not change."""

from typing import Any

import pytest

from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.registry import Object, RequestContext, Strategy

CONTEXT = RequestContext(namespace="n", now="2026-01-01T00:00:00Z")
STRATEGIES = {(t.group, t.kind): t.strategy for t in reversed(builtin_types())}


def strategy(kind: str) -> Strategy:
    return next(value for (_, name), value in STRATEGIES.items() if name == kind)


def made(kind: str, **parts: Any) -> Object:
    metadata = {"name": "x", "resourceVersion": "1"}
    if getattr(strategy(kind), "namespaced", True):
        metadata["namespace"] = "n"
    obj: Object = {"metadata": metadata, **parts}
    strategy(kind).default(obj)
    return obj


def fields(kind: str, **parts: Any) -> list[str]:
    return [error.field for error in strategy(kind).validate_create(made(kind, **parts), CONTEXT)]


def change_fields(kind: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    old, new = made(kind, **before), made(kind, **after)
    return [error.field for error in strategy(kind).validate_update(new, old, CONTEXT)]


_SERVICE = {"service": {"name": "s", "port": {"number": 80}}}
_ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
_TARGET = {"kind": "Deployment", "name": "d"}


@pytest.mark.parametrize(
    ("kind", "parts", "expected"),
    [
        ("PriorityClass", {"value": 10}, []),
        ("PriorityClass", {"value": 1_000_000_001}, ["value"]),
        ("PriorityClass", {"value": 1, "preemptionPolicy": "X"}, ["preemptionPolicy"]),
        ("PodDisruptionBudget", {"spec": {"minAvailable": "50%"}}, []),
        ("PodDisruptionBudget", {"spec": {"minAvailable": "150%"}}, ["spec.minAvailable"]),
        ("PodDisruptionBudget", {"spec": {"maxUnavailable": -1}}, ["spec.maxUnavailable"]),
        ("PodDisruptionBudget", {"spec": {"minAvailable": 1, "maxUnavailable": 1}}, ["spec"]),
        ("NetworkPolicy", {"spec": {"ingress": [{"from": [{}]}]}}, ["spec.ingress[0].from[0]"]),
        (
            "NetworkPolicy",
            {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]}},
            ["spec.egress[0].to[0].ipBlock.except[0]"],
        ),
        (
            "NetworkPolicy",
            {"spec": {"ingress": [{"ports": [{"port": "http", "endPort": 90}]}]}},
            ["spec.ingress[0].ports[0].endPort"],
        ),
        ("Ingress", {"spec": {"defaultBackend": _SERVICE}}, []),
        ("Ingress", {"spec": {}}, ["spec"]),
        ("Ingress", {"spec": {"defaultBackend": {"service": {"name": "s"}}}}, ["spec.defaultBackend"]),
        (
            "Ingress",
            {"spec": {"rules": [{"http": {"paths": [{"path": "x", "pathType": "Exact", "backend": _SERVICE}]}}]}},
            ["spec.rules[0].http.paths[0].path"],
        ),
        ("IngressClass", {"spec": {"controller": "plain"}}, ["spec.controller"]),
        ("EndpointSlice", {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}, []),
        (
            "EndpointSlice",
            {"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]},
            ["endpoints[0].addresses[0]"],
        ),
        ("EndpointSlice", {"addressType": "IPv6", "endpoints": [{"addresses": []}]}, ["endpoints[0].addresses"]),
        ("StorageClass", {"provisioner": "e.com/p"}, []),
        ("StorageClass", {}, ["provisioner"]),
        ("ClusterRole", {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}, []),
        ("Role", {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}, ["rules[0].nonResourceURLs"]),
        ("RoleBinding", {"roleRef": _ROLE, "subjects": [{"kind": "User", "name": "u"}]}, []),
        ("RoleBinding", {"roleRef": _ROLE, "subjects": [{"kind": "X", "name": "u"}]}, ["subjects[0].kind"]),
        ("ClusterRoleBinding", {"roleRef": {**_ROLE, "kind": "Role"}}, ["roleRef.kind"]),
        ("RuntimeClass", {}, ["handler"]),
        ("RuntimeClass", {"handler": "h", "overhead": {"podFixed": {"cpu": "-1"}}}, ["overhead.limits[cpu]"]),
        ("HorizontalPodAutoscaler", {"spec": {"scaleTargetRef": _TARGET, "maxReplicas": 3}}, []),
        ("HorizontalPodAutoscaler", {"spec": {"scaleTargetRef": {}, "maxReplicas": 3}},
         ["spec.scaleTargetRef.kind", "spec.scaleTargetRef.name"]),
        ("HorizontalPodAutoscaler", {"spec": {"scaleTargetRef": _TARGET, "minReplicas": 3, "maxReplicas": 2}},
         ["spec.maxReplicas"]),
        ("PodGroup", {"spec": {"schedulingPolicy": {"gang": {"minCount": 0}}}},
         ["spec.schedulingPolicy.gang.minCount"]),
    ],
)  # fmt: skip
def test_rules(kind: str, parts: dict[str, Any], expected: list[str]) -> None:
    assert fields(kind, **parts) == expected


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        ("PriorityClass", {"value": 1}, {"value": 2}, ["value"]),
        ("PriorityClass", {"value": 1}, {"value": 1, "preemptionPolicy": "Never"}, ["preemptionPolicy"]),
        ("IngressClass", {"spec": {"controller": "e.com/a"}}, {"spec": {"controller": "e.com/b"}}, ["spec.controller"]),
        ("StorageClass", {"provisioner": "e.com/p"}, {"provisioner": "e.com/p", "parameters": {"a": "b"}},
         ["parameters"]),
        ("RoleBinding", {"roleRef": _ROLE}, {"roleRef": {**_ROLE, "name": "edit"}}, ["roleRef"]),
        ("RuntimeClass", {"handler": "h"}, {"handler": "i"}, ["handler"]),
        ("EndpointSlice", {"addressType": "IPv4"}, {"addressType": "IPv6"}, ["addressType"]),
    ],
)  # fmt: skip
def test_what_updates_may_not_change(
    kind: str, before: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    assert change_fields(kind, before, after) == expected


def test_defaults() -> None:
    assert made("NetworkPolicy", spec={"egress": [{}]})["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made("EndpointSlice", ports=[{"port": 80}])["ports"] == [{"port": 80, "name": "", "protocol": "TCP"}]
    assert made("StorageClass", provisioner="p")["volumeBindingMode"] == "Immediate"
    assert made("CSIDriver")["spec"]["attachRequired"] is True
    scaler = made("HorizontalPodAutoscaler", spec={"behavior": {"scaleUp": {"selectPolicy": "Min"}}})
    assert scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    assert scaler["spec"]["behavior"]["scaleUp"]["selectPolicy"] == "Min"
    assert len(scaler["spec"]["behavior"]["scaleUp"]["policies"]) == 2
    webhook = made("MutatingWebhookConfiguration", webhooks=[{"name": "w"}])["webhooks"][0]
    assert (webhook["timeoutSeconds"], webhook["reinvocationPolicy"]) == (10, "Never")
