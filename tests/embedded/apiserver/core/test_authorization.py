"""RBAC: rules, bindings, impersonation, and the tokens of service accounts."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.embedded.apiserver.authorization import Attributes, rule_allows

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.mark.parametrize(
    ("rule", "wanted", "allowed"),
    [
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, Attributes("get", "", "pods"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, Attributes("list", "", "pods"), False),
        ({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"]}, Attributes("get", "", "pods"), False),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, Attributes("get", "", "pods", "log"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, Attributes("get", "", "pods", "log"), False),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["*/log"]}, Attributes("get", "", "pods", "log"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["*/log"]}, Attributes("get", "", "pods"), False),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]},
            Attributes("get", "", "pods", name="b"),
            False,
        ),
        ({"verbs": ["get"], "nonResourceURLs": ["/metrics*"]}, Attributes("get", path="/metrics/x"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}, Attributes("get", path="/metrics/x"), False),
    ],
)
def test_a_rule_covers_exactly_what_it_says(rule: Any, wanted: Attributes, allowed: bool) -> None:
    assert rule_allows(rule, wanted) is allowed


async def test_an_impersonated_user_may_what_a_binding_says(client: Any) -> None:
    secrets = "/api/v1/namespaces/default/secrets"
    as_ann = {"Impersonate-User": "ann"}
    status, answer = await client("GET", secrets, headers=as_ann)
    assert (status, answer["message"]) == (
        403,
        'secrets is forbidden: User "ann" cannot list resource "secrets" in API group "" in the namespace "default"',
    )
    role = {"metadata": {"name": "reader"}, "rules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["secrets"]}]}
    assert (await client("POST", f"{RBAC}/namespaces/default/roles", role))[0] == 201
    binding = {
        "metadata": {"name": "reader"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"},
    }
    assert (await client("POST", f"{RBAC}/namespaces/default/rolebindings", binding))[0] == 201
    assert (await client("GET", secrets, headers=as_ann))[0] == 200
    assert (await client("GET", "/api/v1/namespaces/kube-system/secrets", headers=as_ann))[0] == 403
    assert (await client("GET", secrets, headers={"Impersonate-User": "bob"}))[0] == 403


async def test_a_service_account_is_known_by_its_token(client: Any) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await client("POST", accounts, {"metadata": {"name": "robot"}})
    status, issued = await client("POST", f"{accounts}/robot/token", {"spec": {"expirationSeconds": 600}})
    assert status == 201
    bearer = {"Authorization": f"Bearer {issued['status']['token']}"}
    reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    status, review = await client("POST", reviews, {}, headers=bearer)
    assert (status, review["status"]["userInfo"]["username"]) == (201, "system:serviceaccount:default:robot")
    assert (await client("GET", "/api/v1/pods", headers=bearer))[0] == 403
    tampered = {"Authorization": bearer["Authorization"][:-2] + "xx"}
    assert (await client("GET", "/api/v1/pods", headers=tampered))[0] == 401
