"""ConfigMaps, secrets, namespaces, nodes, volumes, claims, leases and the like."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from fairlead.embedded.apiserver.registry import Object
from fairlead.kube.errors import Forbidden


def setting(**parts: Any) -> Callable[[Object], None]:
    return lambda obj: obj.update(parts)


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_fixed_config_maps(kinds: Any) -> None:
    old = kinds.accepted("ConfigMap", {"data": {"a": "b"}, "immutable": True})
    fixed = "Forbidden: field is immutable when `immutable` is set"
    assert kinds.change("ConfigMap", old, setting(data={"a": "c"}))[1] == [f"data: {fixed}"]
    assert kinds.change("ConfigMap", old, setting(immutable=False))[1] == [f"immutable: {fixed}"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"data": {"a b": ""}}, ["data[a b]"]),
        ({"data": {"a": ""}, "binaryData": {"a": ""}}, ["data[a]"]),
        ({"data": {"a": "x" * (1 << 20)}}, []),
        ({"data": {"a": "é" * (1 << 20)}}, ["[]"]),
    ],
)
def test_refused_config_maps(kinds: Any, body: Object, fields: list[str]) -> None:
    assert [problem.partition(": ")[0] for problem in kinds.problems("ConfigMap", body)] == fields


def test_secrets_take_plain_text(kinds: Any) -> None:
    obj = kinds.accepted("Secret", {"stringData": {"a": "b"}})
    assert (obj["data"], obj["type"]) == ({"a": coded("b")}, "Opaque")
    assert "stringData" not in obj


@pytest.mark.parametrize(
    ("type_", "data", "fields"),
    [
        ("kubernetes.io/tls", {"tls.crt": ""}, ["data[tls.key]"]),
        ("kubernetes.io/basic-auth", {}, ["data[username]", "data[password]"]),
        ("kubernetes.io/basic-auth", {"username": coded("u")}, []),
        ("kubernetes.io/ssh-auth", {}, ["data[ssh-privatekey]"]),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": coded("{")}, ["data[.dockerconfigjson]"]),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": coded("{}")}, []),
        ("kubernetes.io/service-account-token", {}, ["metadata.annotations[kubernetes.io/service-account.name]"]),
    ],
)
def test_what_secrets_of_a_type_hold(kinds: Any, type_: str, data: Object, fields: list[str]) -> None:
    assert [p.partition(":")[0] for p in kinds.problems("Secret", {"type": type_, "data": data})] == fields


def test_the_type_of_a_secret_stays(kinds: Any) -> None:
    _, problems = kinds.change("Secret", kinds.accepted("Secret", {}), setting(type="a.io/b"))
    assert problems == ['type: Invalid value: "a.io/b": field is immutable']


def test_namespaces_wait_for_their_contents(kinds: Any) -> None:
    type_ = kinds.type("Namespace")
    obj = kinds.accepted("Namespace", {"metadata": {"name": "n"}})
    assert obj["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
    assert (obj["spec"], obj["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
    assert type_.strategy.begin_deletion(obj, kinds.context())
    assert obj["status"]["phase"] == "Terminating"
    assert obj["metadata"]["deletionTimestamp"]
    assert not type_.strategy.is_deletable(obj)
    assert type_.strategy.is_deletable({**obj, "spec": {}})


def test_the_default_namespace_stays(kinds: Any) -> None:
    obj = kinds.accepted("Namespace", {"metadata": {"name": "default"}})
    with pytest.raises(Forbidden, match='namespaces "default" is forbidden: this namespace may not be deleted'):
        kinds.type("Namespace").strategy.check_deletion(obj, None, None)


CLAIM = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}


def test_claims_are_protected_and_fixed(kinds: Any) -> None:
    old = kinds.accepted("PersistentVolumeClaim", CLAIM)
    assert old["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert (old["spec"]["volumeMode"], old["status"]) == ("Filesystem", {"phase": "Pending"})
    _, problems = kinds.change(
        "PersistentVolumeClaim", old, lambda obj: obj["spec"].update(accessModes=["ReadOnlyMany"])
    )
    assert problems
    assert all(problem.startswith("spec: Forbidden: spec is immutable after creation") for problem in problems)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"resources": {}}, "spec.resources[storage]"),
        ({"accessModes": []}, "spec.accessModes"),
        ({"accessModes": ["X"]}, "spec.accessModes"),
        ({"volumeMode": "X"}, "spec.volumeMode"),
    ],
)
def test_refused_claims(kinds: Any, spec: Object, field: str) -> None:
    problems = kinds.problems("PersistentVolumeClaim", {"spec": {**CLAIM["spec"], **spec}})
    assert field in [problem.partition(":")[0] for problem in problems]


@pytest.mark.parametrize(
    ("kind", "body", "fields"),
    [
        ("Lease", {"spec": {"leaseDurationSeconds": 15, "holderIdentity": "a"}}, []),
        ("Lease", {"spec": {"leaseDurationSeconds": 0}}, ["spec.leaseDurationSeconds"]),
        ("Lease", {"spec": {"leaseTransitions": -1}}, ["spec.leaseTransitions"]),
        ("Node", {"spec": {"taints": [{"key": "a", "effect": "X"}]}}, ["metadata.taints[0].effect"]),
        ("Node", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}] * 2}}, ["metadata.taints[1]"]),
        ("ResourceQuota", {"spec": {"hard": {"pods": "10"}}}, []),
        ("ResourceQuota", {"spec": {"hard": {"pods": "1.5"}}}, ["spec.hard[pods]"]),
        ("Endpoints", {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}, []),
        ("Endpoints", {"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]}, ["subsets[0].addresses[0].ip"]),
        ("ControllerRevision", {"revision": 1, "data": {}}, []),
    ],
)
def test_other_kinds(kinds: Any, kind: str, body: Object, fields: list[str]) -> None:
    assert [problem.partition(":")[0] for problem in kinds.problems(kind, body)] == fields


def test_every_kind_keeps_the_old_object_as_it_is(kinds: Any) -> None:
    for kind, body in (("ConfigMap", {"data": {"a": "b"}}), ("Secret", {}), ("PersistentVolumeClaim", CLAIM)):
        old = kinds.accepted(kind, body)
        before = repr(old)
        kinds.change(kind, old, lambda obj: obj["metadata"].update(labels={"a": "b"}))
        assert repr(old) == before


def test_a_controller_revision_keeps_its_data_and_may_change_otherwise(kinds: Any) -> None:
    old = kinds.accepted("ControllerRevision", {"revision": 1, "data": {"a": {"b": 1}}})
    new, problems = kinds.change("ControllerRevision", old, lambda obj: obj.update(revision=2))
    assert problems == [] and new["revision"] == 2
    _, problems = kinds.change("ControllerRevision", old, lambda obj: obj.update(data={"a": {"b": 2}}))
    assert [p.partition(":")[0] for p in problems] == ["data"]
