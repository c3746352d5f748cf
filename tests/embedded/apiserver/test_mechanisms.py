"""What every kind has in common, where clients rely on the exact answer."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from patience import PATIENCE_S

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
APPLY = {"Content-Type": "application/apply-patch+yaml"}
MERGE = {"Content-Type": "application/merge-patch+json"}
PARTIAL = {"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{bad", "error decoding patch: error converting YAML to JSON: yaml: "),
        (b"[]", "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array"),
        (b"null", "invalid object type: /, Kind="),
        (b"kind: ConfigMap", "invalid object type: /, Kind=ConfigMap"),
        (b"{apiVersion: v1, kind: Secret}", "invalid object type: /v1, Kind=Secret"),
        (b"{apiVersion: v1, kind: ConfigMap}", "the name of the object (a based on URL) was undeterminable"),
    ],
)
async def test_an_applied_configuration_says_what_it_is(client: Any, body: bytes, message: str) -> None:
    status, answer = await client("PATCH", f"{CONFIG_MAPS}/a", body, headers=APPLY, fieldManager="m")
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert answer["message"].startswith(message)


async def test_what_is_not_there_cannot_be_meant_by_uid(client: Any) -> None:
    metadata = {"name": "a", "uid": "00000000-0000-0000-0000-000000000001"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    status, answer = await client("PATCH", f"{CONFIG_MAPS}/a", body, headers=APPLY, fieldManager="m")
    assert (status, answer["reason"]) == (409, "Conflict")
    assert "no existing object was found" in answer["message"]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("!", "illegal base64 data at input byte 0"),
        (b"{", "unexpected end of JSON input"),
        (b'{"v":"v9","rv":5,"start":"x"}', "server does not recognize this encoded version v9"),
        (b'{"v":"meta.k8s.io/v1","rv":5,"start":"../x"}', "../x"),
        (b'{"v":"meta.k8s.io/v1","start":"x"}', "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
    ],
)
async def test_tokens_that_no_list_gave_are_refused(client: Any, token: str | bytes, reason: str) -> None:
    text = token if isinstance(token, str) else base64.urlsafe_b64encode(token).decode().rstrip("=")
    status, answer = await client("GET", CONFIG_MAPS, **{"continue": text})
    assert (status, answer["message"]) == (400, f"invalid continue token: continue key is not valid: {reason}")


async def test_a_token_made_for_the_present_goes_on_from_its_key(client: Any) -> None:
    for name in "abc":
        await client.config_map(name)
    token = base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":-1,"start":"a\\u0000"}').decode().rstrip("=")
    status, page = await client("GET", CONFIG_MAPS, limit="1", **{"continue": token})
    assert status == 200 and [item["metadata"]["name"] for item in page["items"]] == ["b"]


async def test_scaling_owns_and_conflicts(client: Any) -> None:
    pods = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": pods}
    await client("POST", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec}, fieldManager="creator")
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 3}}
    path = f"{DEPLOYMENTS}/d/scale"
    status, answer = await client("PATCH", path, scale, headers=APPLY, fieldManager="scaler")
    assert (status, answer["reason"]) == (409, "Conflict")
    assert '"creator" using autoscaling/v1: .spec.replicas' in answer["message"]
    status, answer = await client("PATCH", path, scale, headers=APPLY, fieldManager="scaler", force="true")
    assert (status, answer["spec"]) == (200, {"replicas": 3})
    _, found = await client("GET", f"{DEPLOYMENTS}/d")
    owners = {entry["manager"]: entry for entry in found["metadata"]["managedFields"]}
    assert owners["scaler"]["operation"] == "Apply" and owners["scaler"]["subresource"] == "scale"
    assert owners["scaler"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners["creator"]["fieldsV1"]["f:spec"]


async def test_a_watch_for_a_version_that_does_not_come_ends_with_an_error(client: Any) -> None:
    query = {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    response = await client.raw("GET", CONFIG_MAPS, resourceVersion="99999999", **query)
    event = json.loads(await asyncio.wait_for(response.content.readline(), PATIENCE_S))
    assert (event["type"], event["object"]["code"]) == ("ERROR", 504)


async def test_the_last_bookmark_comes_before_the_end(client: Any) -> None:
    query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "3", "resourceVersion": "1"}
    response = await client.raw("GET", "/api/v1/namespaces/default/secrets", **query)
    lines = (await response.text()).splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["BOOKMARK"]


async def test_forms_that_do_not_fit_are_not_acceptable(client: Any) -> None:
    status, answer = await client("GET", CONFIG_MAPS, headers=PARTIAL)
    assert (status, answer["reason"]) == (406, "NotAcceptable")
    assert "*core.ConfigMapList" in answer["message"]
    response = await client.raw("GET", f"{CONFIG_MAPS}/none", headers={"Accept": "application/yaml"})
    assert response.status == 404 and response.headers["Content-Type"] == "application/yaml"


async def test_unknown_methods_get_a_status(client: Any) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", client.serving.port, ssl=client.http.connector._ssl, limit=1 << 16
    )
    writer.write(b"FOO /api/v1/pods HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    assert b" 405 " in answer.splitlines()[0]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"] == "MethodNotAllowed"


async def test_malformed_options_of_a_deletion_are_refused(client: Any) -> None:
    await client.config_map("a")
    for options in ({"gracePeriodSeconds": "x"}, {"preconditions": {"uid": 5}}, {"kind": "Pod"}):
        status, answer = await client("DELETE", f"{CONFIG_MAPS}/a", options)
        assert (status, answer["reason"]) == (400, "BadRequest")
    status, _ = await client("GET", f"{CONFIG_MAPS}/a")
    assert status == 200
