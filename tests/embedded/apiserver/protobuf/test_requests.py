"""Protobuf bodies over HTTPS, beside the same bodies in JSON."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from protobuf_encoder import body, enveloped, tagged

from fairlead.embedded.apiserver.protobuf import MEDIA_TYPE
from fairlead.embedded.apiserver.server import serve

NAMESPACE = "/api/v1/namespaces/default"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"c": ""}},
    "spec": {
        "serviceAccountName": "default",
        "containers": [
            {
                "name": "c",
                "image": "i",
                "ports": [{"containerPort": 80}],
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
                "resources": {"requests": {"cpu": "0.5", "memory": "1Gi"}},
                "readinessProbe": {"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 3},
                "livenessProbe": {"tcpSocket": {"port": 80}},
                "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "true"]}}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        ],
        "volumes": [
            {"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "p", "mode": 0o644}]}},
            {"name": "w", "projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "m"}}]}},
            {"name": "e", "emptyDir": {}},
        ],
        "tolerations": [{"operator": "Exists", "tolerationSeconds": 0, "effect": "NoExecute"}],
        "securityContext": {"runAsUser": 0, "supplementalGroups": [1, 2]},
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    },
}


class Server:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def __call__(self, method: str, path: str, data: Any, **headers: str) -> tuple[int, Any]:
        if isinstance(data, bytes):
            headers = {"Content-Type": MEDIA_TYPE, "Accept": f"{MEDIA_TYPE},application/json"} | headers
            response = await self._http.request(method, path, data=data, headers=headers)
        else:
            response = await self._http.request(method, path, json=data)
        return response.status, await response.json()


@pytest.fixture
async def server(installed: Path, tmp_path: Path) -> AsyncIterator[Server]:
    shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
    async with serve(tmp_path) as serving:
        context = ssl.create_default_context(cadata=serving.credentials.ca.decode())
        async with aiohttp.ClientSession(
            serving.url,
            connector=aiohttp.TCPConnector(ssl=context),
            headers={"Authorization": f"Bearer {serving.credentials.token}", "User-Agent": "tests/1.0"},
        ) as http:
            server = Server(http)
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            await server("POST", f"{NAMESPACE}/serviceaccounts", account)
            yield server


def _settled(obj: dict[str, Any]) -> dict[str, Any]:
    """Without what differs between two creations."""
    metadata = {key: obj["metadata"].get(key) for key in ("name", "labels", "annotations", "managedFields")}
    for entry in metadata["managedFields"]:
        entry.pop("time")
    return {**obj, "metadata": metadata}


async def test_a_pod_in_protobuf_becomes_the_same_pod(server: Server) -> None:
    created = [await server("POST", f"{NAMESPACE}/pods?dryRun=All", data) for data in (POD, body(POD))]
    assert [status for status, _ in created] == [201, 201]
    assert _settled(created[1][1]) == _settled(created[0][1])
    assert created[1][1]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "500m"


async def test_updates_and_subresources(server: Server) -> None:
    status, pod = await server("POST", f"{NAMESPACE}/pods", body(POD))
    assert status == 201
    pod["metadata"]["labels"]["d"] = "e"
    status, pod = await server("PUT", f"{NAMESPACE}/pods/p", body(pod))
    assert (status, pod["metadata"]["labels"]) == (200, {"a": "b", "d": "e"})
    pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    status, pod = await server("PUT", f"{NAMESPACE}/pods/p/status", body(pod))
    assert (status, pod["status"]["phase"]) == (200, "Running")
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"},
    }
    status, answer = await server("POST", f"{NAMESPACE}/pods/p/binding", body(binding))
    assert (status, answer["status"]) == (201, "Success")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
    status, answer = await server("POST", f"{NAMESPACE}/pods/p/eviction", body(eviction))
    assert (status, answer["status"]) == (201, "Success")
    assert (await server("GET", f"{NAMESPACE}/pods/p", None))[0] == 404


async def test_scale_token_and_review(server: Server) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 0},
    }  # fmt: skip
    path = "/apis/apps/v1/namespaces/default/deployments"
    status, created = await server("POST", path, body(deployment))
    assert (status, created["spec"]["replicas"]) == (201, 0)
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 3}}
    status, scaled = await server("PUT", f"{path}/d/scale", body(scale))
    assert (status, scaled["spec"]) == (200, {"replicas": 3})
    request = {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
        "spec": {"expirationSeconds": 600, "audiences": ["x"]},
    }  # fmt: skip
    status, token = await server("POST", f"{NAMESPACE}/serviceaccounts/default/token", body(request))
    assert status == 201
    assert token["status"]["token"].count(".") == 2


async def test_delete_options(server: Server) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
    status, created = await server("POST", f"{NAMESPACE}/configmaps", body(config_map))
    assert status == 201
    # preconditions.uid
    wrong = enveloped(tagged(2, tagged(1, "other")), "v1", "DeleteOptions")
    assert (await server("DELETE", f"{NAMESPACE}/configmaps/c", wrong))[0] == 409
    right = enveloped(tagged(2, tagged(1, created["metadata"]["uid"])), "apps/v1", "DeleteOptions")
    assert (await server("DELETE", f"{NAMESPACE}/configmaps/c", right))[0] == 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"{}",
            "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a "
            "protobuf message, expected prefix [107 56 115 0] ({})",
        ),
        (
            enveloped(b"\x0a\x05", "v1", "ConfigMap"),
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: unexpected EOF',
        ),
        (
            enveloped(b"", "v1", "Secret"),
            'Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): '
            "unknown conversion",
        ),
    ],
)
async def test_what_cannot_be_decoded_is_a_bad_request(server: Server, data: bytes, message: str) -> None:
    status, answer = await server("POST", f"{NAMESPACE}/configmaps", data)
    assert (status, answer["reason"], answer["code"]) == (400, "BadRequest", 400)
    assert answer["message"] == message


async def test_an_eviction_that_cannot_be_decoded(server: Server) -> None:
    status, answer = await server("POST", f"{NAMESPACE}/pods/p/eviction", b"abc")
    assert status == 400
    assert answer["message"].startswith("the object provided is unrecognized (must be of type Eviction): provided data")


async def test_rules_hold_for_protobuf_too(server: Server) -> None:
    status, answer = await server("POST", f"{NAMESPACE}/pods", enveloped(tagged(1, tagged(1, "x")), "v1", "Pod"))
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "spec.containers")
    # An unknown field is no error in protobuf, even in strict validation.
    config_map = enveloped(tagged(1, tagged(1, "x")) + tagged(90, "y"), "v1", "ConfigMap")
    assert (await server("POST", f"{NAMESPACE}/configmaps?fieldValidation=Strict", config_map))[0] == 201


async def test_definitions_but_no_custom_resources(server: Server) -> None:
    fields = {
        "size": {"type": "integer", "minimum": 1.0, "default": 3},
        "mode": {"type": "string", "enum": ["a", "b"]},
        "rest": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "required": ["size"], "properties": fields}},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.demo.example.com"},
        "spec": {
            "group": "demo.example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, created = await server("POST", path, body(definition))
    assert status == 201, created
    assert created["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == schema
    widgets = "/apis/demo.example.com/v1/namespaces/default/widgets"
    status, answer = await server("POST", widgets, enveloped(b"", "demo.example.com/v1", "Widget"))
    assert (status, answer["reason"]) == (415, "UnsupportedMediaType")


async def test_answers_in_protobuf_only_are_not_acceptable(server: Server) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    status, answer = await server("POST", f"{NAMESPACE}/configmaps", body(config_map), Accept=MEDIA_TYPE)
    assert (status, answer["reason"]) == (406, "NotAcceptable")
