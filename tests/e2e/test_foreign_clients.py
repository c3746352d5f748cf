"""Clients that Fairlead did not write: the official Python client, kr8s and kopf."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Kubectl, Platform
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("platform")


@pytest.fixture
def namespace(platform: Platform) -> Iterator[str]:
    name = f"foreign-{uuid.uuid4().hex[:8]}"
    client = Kubectl(platform.kubeconfig)
    client.run("create", "namespace", name)
    yield name
    client.run("delete", "namespace", name, "--wait=false")


def test_the_official_client_creates_lists_watches_and_patches(platform: Platform, namespace: str) -> None:
    from kubernetes import client, config, watch

    api = client.CoreV1Api(config.new_client_from_config(str(platform.kubeconfig)))
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a", labels={"x": "y"}), data={"k": "1"})
    created = api.create_namespaced_config_map(namespace, body)
    assert created.metadata.uid and created.metadata.resource_version
    api.patch_namespaced_config_map("a", namespace, {"data": {"k": "2"}})
    events = []
    stream = watch.Watch()
    for event in stream.stream(
        api.list_namespaced_config_map,
        namespace,
        resource_version=created.metadata.resource_version,
        timeout_seconds=10,
    ):
        events.append((event["type"], event["object"].metadata.name))
        stream.stop()
    assert events == [("MODIFIED", "a")]
    listed = api.list_namespaced_config_map(namespace, label_selector="x=y", limit=1)
    assert [c.data for c in listed.items] == [{"k": "2"}]
    with pytest.raises(client.ApiException) as refused:
        api.create_namespaced_config_map(namespace, body)
    assert refused.value.status == 409
    apps = client.AppsV1Api(api.api_client)
    labels = {"app": "w"}
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="busybox", command=["sleep", "1000"])]),
    )
    apps.create_namespaced_deployment(
        namespace,
        client.V1Deployment(
            metadata=client.V1ObjectMeta(name="w"),
            spec=client.V1DeploymentSpec(
                replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=template
            ),
        ),
    )
    scale = apps.patch_namespaced_deployment_scale("w", namespace, {"spec": {"replicas": 1}})
    assert scale.spec.replicas == 1
    api.delete_namespaced_config_map("a", namespace, propagation_policy="Foreground")


def test_kr8s_finds_kinds_by_discovery_and_waits(platform: Platform, namespace: str) -> None:
    import kr8s
    from kr8s.objects import Pod

    api = kr8s.api(kubeconfig=str(platform.kubeconfig))
    pod = Pod(
        {
            "metadata": {"name": "p", "namespace": namespace},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", "echo hi; sleep 1000"]}],
            },
        },
        api=api,
    )
    pod.create()
    pod.wait("condition=Ready", timeout=30)
    assert "hi" in list(pod.logs())
    pod.patch({"metadata": {"labels": {"a": "b"}}})
    assert [p.name for p in api.get("pods", namespace=namespace, label_selector={"a": "b"})] == ["p"]
    pod.delete()


OPERATOR = """
import kopf

@kopf.on.create("configmaps", labels={{"kopf": "{label}"}})
def created(patch, **_):
    patch.metadata.annotations["seen-by"] = "kopf"

@kopf.on.delete("configmaps", labels={{"kopf": "{label}"}})
def deleted(**_):
    pass
"""


def test_a_kopf_operator_handles_objects_and_its_finalizer(platform: Platform, namespace: str, tmp_path: Path) -> None:
    script = tmp_path / "operator.py"
    script.write_text(OPERATOR.format(label=namespace))
    kubectl = Kubectl(platform.kubeconfig, namespace)
    operator = subprocess.Popen(
        [sys.executable, "-m", "kopf", "run", "-n", namespace, "--standalone", str(script)],
        env={"KUBECONFIG": str(platform.kubeconfig), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        kubectl.run("create", "configmap", "mine")
        kubectl.run("label", "configmap", "mine", f"kopf={namespace}")
        deadline = time.monotonic() + PATIENCE_S
        seen = {}
        while time.monotonic() < deadline and "seen-by" not in seen:
            seen = kubectl.json("get", "cm", "mine")["metadata"].get("annotations", {})
            time.sleep(0.3)
        assert seen.get("seen-by") == "kopf"
        kubectl.run("delete", "cm", "mine", "--timeout=60s")
        assert "NotFound" in kubectl.run("get", "cm", "mine", check=False)
    finally:
        operator.terminate()
        try:
            operator.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            operator.kill()
            operator.wait(PATIENCE_S)
