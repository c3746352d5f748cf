"""The real kubectl, which sends its typed objects in protobuf, against the real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENCE_S

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed"),
    pytest.mark.xdist_group("kubectl-protobuf"),
]


class Kubectl:
    """kubectl with the kubeconfig of a server."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(home)}

    def __call__(self, *arguments: str, stdin: str = "", fails: bool = False) -> str:
        """What kubectl prints; on failure, errors too."""
        assert KUBECTL is not None
        done = subprocess.run(
            [KUBECTL, *arguments],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode != 0) == fails, (arguments, done.stdout, done.stderr)
        return done.stdout + (done.stderr if fails else "")

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json"))
        return found


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    data = tmp_path_factory.mktemp("server")
    with subprocess.Popen(
        [sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(data), "--api-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        timer = threading.Timer(PATIENCE_S, server.kill)
        timer.start()
        try:
            assert server.stdout is not None
            first = server.stdout.readline()
            assert first.startswith("ready:"), first
            timer.cancel()
            kubectl = Kubectl(data / "kubeconfig", data)
            kubectl("create", "serviceaccount", "default")
            yield kubectl
        finally:
            timer.cancel()
            server.terminate()


CREATIONS = {
    "configmap": ("configmap", "one", "--from-literal=a=b"),
    "secret": ("secret", "generic", "one", "--from-literal=p=secret"),
    "registry secret": ("secret", "docker-registry", "two", "--docker-server=x", "--docker-username=u",
                        "--docker-password=p"),
    "serviceaccount": ("serviceaccount", "one"),
    "deployment": ("deployment", "one", "--image=i", "--replicas=2", "--port=80"),
    "job": ("job", "one", "--image=i", "--", "sh", "-c", "true"),
    "cronjob": ("cronjob", "one", "--image=i", "--schedule=*/5 * * * *", "--", "date"),
    "clusterip": ("service", "clusterip", "one", "--tcp=80:8080"),
    "nodeport": ("service", "nodeport", "two", "--tcp=80:8080"),
    "loadbalancer": ("service", "loadbalancer", "three", "--tcp=80:8080"),
    "externalname": ("service", "externalname", "four", "--external-name=example.com"),
    "quota": ("quota", "one", "--hard=services.loadbalancers=9,requests.storage=1Ti"),
    "role": ("role", "one", "--verb=get,list", "--resource=pods,deployments.apps"),
    "rolebinding": ("rolebinding", "one", "--role=one", "--serviceaccount=default:one", "--user=u"),
    "clusterrole": ("clusterrole", "one", "--verb=get", "--non-resource-url=/x/*"),
    "aggregated clusterrole": ("clusterrole", "two", "--aggregation-rule=a=b"),
    "clusterrolebinding": ("clusterrolebinding", "one", "--clusterrole=one", "--group=g"),
    "ingress": ("ingress", "one", "--class=c", "--rule=a.example.com/b*=one:80,tls=t", "--default-backend=one:http"),
    "poddisruptionbudget": ("poddisruptionbudget", "one", "--selector=a=b", "--min-available=50%"),
    "priorityclass": ("priorityclass", "one", "--value=-5", "--preemption-policy=Never", "--description=low"),
    "namespace": ("namespace", "one"),
}  # fmt: skip
SAID = {
    "configmap": lambda o: o["data"] == {"a": "b"},
    "secret": lambda o: o["data"] == {"p": "c2VjcmV0"},
    "deployment": lambda o: (
        o["spec"]["replicas"] == 2
        and o["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    ),
    "job": lambda o: o["spec"]["template"]["spec"]["containers"][0]["command"] == ["sh", "-c", "true"],
    "clusterip": lambda o: o["spec"]["ports"][0]["targetPort"] == 8080,
    "externalname": lambda o: o["spec"]["externalName"] == "example.com",
    "quota": lambda o: o["spec"]["hard"] == {"services.loadbalancers": "9", "requests.storage": "1Ti"},
    "role": lambda o: (
        o["rules"][0] == {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]} and len(o["rules"]) == 2
    ),
    "rolebinding": lambda o: [s["kind"] for s in o["subjects"]] == ["User", "ServiceAccount"],
    "clusterrole": lambda o: o["rules"] == [{"nonResourceURLs": ["/x/*"], "verbs": ["get"]}],
    "ingress": lambda o: (
        o["spec"]["defaultBackend"] == {"service": {"name": "one", "port": {"name": "http"}}}
        and o["spec"]["rules"][0]["http"]["paths"][0]["pathType"] == "Prefix"
    ),
    "poddisruptionbudget": lambda o: o["spec"]["minAvailable"] == "50%",
    "priorityclass": lambda o: (o["value"], o["preemptionPolicy"]) == (-5, "Never"),
}


@pytest.mark.parametrize("what", CREATIONS)
def test_create(kubectl: Kubectl, what: str) -> None:
    # Before everything else, since what follows "--" is the container's.
    dry = json.loads(kubectl("create", "-ojson", "--dry-run=server", *CREATIONS[what]))
    created = json.loads(kubectl("create", "-ojson", *CREATIONS[what]))
    assert created["metadata"]["uid"]
    assert dry["kind"] == created["kind"]
    assert SAID.get(what, lambda o: True)(created), created
    again = kubectl("create", *CREATIONS[what], fails=True)
    assert "already exists" in again or "exists" in again


def test_create_token_and_job_of_cronjob(kubectl: Kubectl) -> None:
    assert kubectl("create", "token", "default", "--duration=10m").count(".") == 2
    kubectl("create", "cronjob", "source", "--image=i", "--schedule=* * * * *", "--", "date")
    kubectl("create", "job", "derived", "--from=cronjob/source")
    job = kubectl.get("job", "derived")
    assert job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    assert job["metadata"]["annotations"] == {"cronjob.kubernetes.io/instantiate": "manual"}


def test_run_expose_and_autoscale(kubectl: Kubectl) -> None:
    kubectl("run", "web", "--image=i", "--port=80", "--labels=app=web", "--env=A=B")
    pod = kubectl.get("pod", "web")
    assert pod["spec"]["containers"][0]["env"] == [{"name": "A", "value": "B"}]
    assert "service/web exposed" in kubectl("expose", "pod", "web", "--port=80")
    kubectl("create", "deployment", "scaled", "--image=i")
    kubectl("expose", "deployment", "scaled", "--port=80", "--target-port=http")
    assert kubectl.get("service", "scaled")["spec"]["ports"][0]["targetPort"] == "http"
    kubectl("autoscale", "deployment", "scaled", "--min=2", "--max=5", "--cpu-percent=80")
    autoscaler = kubectl.get("hpa", "scaled")["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 5)


def test_scale_set_and_rollout(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "moving", "--image=i")
    kubectl("scale", "deployment/moving", "--replicas=4")
    kubectl("scale", "deployment/moving", "--replicas=0", "--current-replicas=4")
    kubectl("set", "image", "deployment/moving", "i=j:2")
    kubectl("set", "env", "deployment/moving", "A=B")
    kubectl("set", "resources", "deployment/moving", "--limits=cpu=200m")
    kubectl("set", "serviceaccount", "deployment", "moving", "default")
    kubectl("rollout", "pause", "deployment/moving")
    assert kubectl.get("deployment", "moving")["spec"]["paused"] is True
    kubectl("rollout", "resume", "deployment/moving")
    kubectl("rollout", "restart", "deployment/moving")
    moved = kubectl.get("deployment", "moving")
    container = moved["spec"]["template"]["spec"]["containers"][0]
    assert moved["spec"]["replicas"] == 0
    assert container["image"] == "j:2"
    assert container["env"] == [{"name": "A", "value": "B"}]
    assert container["resources"] == {"limits": {"cpu": "200m"}}
    assert "kubectl.kubernetes.io/restartedAt" in moved["spec"]["template"]["metadata"]["annotations"]
    kubectl("create", "service", "clusterip", "selecting", "--tcp=80")
    kubectl("set", "selector", "service", "selecting", "x=y")
    assert kubectl.get("service", "selecting")["spec"]["selector"] == {"x": "y"}


def test_access(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert "system:" in kubectl("auth", "whoami")
    assert re.search(r"\*\.\*\s", kubectl("auth", "can-i", "--list"))


NODE_AND_PODS = """
apiVersion: v1
kind: Node
metadata: {name: drained}
---
apiVersion: v1
kind: Pod
metadata: {name: guarded, labels: {app: guarded}}
spec: {nodeName: drained, containers: [{name: c, image: i}], terminationGracePeriodSeconds: 0}
---
apiVersion: v1
kind: Pod
metadata: {name: free}
spec: {nodeName: drained, containers: [{name: c, image: i}], terminationGracePeriodSeconds: 0}
"""


def _set_status(kubectl: Kubectl, what: str, status: dict[str, Any]) -> None:
    kubectl("patch", *what.split("/"), "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def _budget(allowed: int) -> dict[str, int]:
    return {
        "observedGeneration": 1, "expectedPods": 1, "desiredHealthy": 1,
        "currentHealthy": 1 + allowed, "disruptionsAllowed": allowed,
    }  # fmt: skip


def test_drain_respects_budgets(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=NODE_AND_PODS)
    for name in ("guarded", "free"):
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        _set_status(kubectl, f"pod/{name}", ready)
    kubectl("create", "poddisruptionbudget", "guard", "--selector=app=guarded", "--min-available=1")
    _set_status(kubectl, "poddisruptionbudget/guard", _budget(0))
    refused = kubectl("drain", "drained", "--force", "--timeout=2s", fails=True)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused
    assert "pod/free evicted" in refused
    assert kubectl.get("node", "drained")["spec"]["unschedulable"] is True
    _set_status(kubectl, "poddisruptionbudget/guard", _budget(1))
    assert "pod/guarded evicted" in kubectl("drain", "drained", "--force", "--timeout=20s")
    assert "guarded" in kubectl.get("poddisruptionbudget", "guard")["status"]["disruptedPods"]


def test_cordon_and_taint(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin="apiVersion: v1\nkind: Node\nmetadata: {name: tainted}\n")
    kubectl("cordon", "tainted")
    assert kubectl.get("node", "tainted")["spec"]["unschedulable"] is True
    kubectl("uncordon", "tainted")
    kubectl("taint", "node", "tainted", "k=v:NoSchedule")
    spec = kubectl.get("node", "tainted")["spec"]
    assert [taint for taint in spec["taints"] if taint["key"] == "k"] == [
        {"key": "k", "value": "v", "effect": "NoSchedule"}
    ]
    kubectl("taint", "node", "tainted", "k-")
    assert not [taint for taint in kubectl.get("node", "tainted")["spec"].get("taints", ()) if taint["key"] == "k"]


LIST = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: listed}, %s: {a: b}}
"""


def test_lists_are_validated_by_the_openapi_document(kubectl: Kubectl) -> None:
    # For a List, kubectl reads the OpenAPI v2 document, in protobuf.
    refused = kubectl("create", "-f", "-", stdin=LIST % "dta", fails=True)
    assert 'unknown field "dta" in io.k8s.api.core.v1.ConfigMap' in refused
    kubectl("create", "-f", "-", stdin=LIST % "data")
    assert "immutable" in kubectl("explain", "configmap", "--output=plaintext-openapiv2")
