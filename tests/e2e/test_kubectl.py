"""The real kubectl against the platform, as a person uses it. Every test has a namespace of its own."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("platform")

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {tier: web}}
data: {a: "1", b: "2"}
"""


def deployment(name: str = "web", replicas: int = 2, marker: str = "one") -> dict[str, Any]:
    """A Deployment of processes that run until they are told to stop."""
    command = ["sh", "-c", f"echo started {marker}; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{"name": "main", "image": "busybox", "command": command}],
                },
            },
        },
    }


def pod(name: str, script: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"run": name}},
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": [{"name": "main", "image": "busybox", "command": ["sh", "-c", script]}],
            **spec,
        },
    }


class TestObjects:
    def test_create_get_and_delete(self, kubectl) -> None:
        assert kubectl.run("create", "-f", "-", stdin=CONFIG) == "configmap/settings created\n"
        assert "AlreadyExists" in kubectl.run("create", "-f", "-", stdin=CONFIG, check=False)
        assert kubectl.run("get", "cm", "settings", "-o", "jsonpath={.data.a}") == "1"
        listed = kubectl.run("get", "configmaps", "-l", "tier=web", "--no-headers")
        assert listed.split()[:2] == ["settings", "2"]
        assert kubectl.run("get", "cm", "-l", "tier notin (web)", "-o", "name").split() in (
            [],
            ["configmap/kube-root-ca.crt"],
        )
        assert kubectl.run("delete", "cm", "settings").startswith('configmap "settings" deleted')
        assert "NotFound" in kubectl.run("get", "cm", "settings", check=False)

    def test_client_side_apply_prunes_what_is_no_longer_there(self, kubectl) -> None:
        assert "created" in kubectl.run("apply", "-f", "-", stdin=CONFIG)
        assert "unchanged" in kubectl.run("apply", "-f", "-", stdin=CONFIG)
        assert "configured" in kubectl.run("apply", "-f", "-", stdin=CONFIG.replace(', b: "2"', ', c: "3"'))
        assert kubectl.json("get", "cm", "settings")["data"] == {"a": "1", "c": "3"}

    def test_server_side_apply_shares_and_defends_fields(self, kubectl) -> None:
        kubectl.run("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=CONFIG)
        other = CONFIG.replace('a: "1"', 'a: "other"')
        refused = kubectl.run("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=other, check=False)
        assert 'conflict with "one": .data.a' in refused
        forced = ("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-")
        kubectl.run(*forced, stdin=other)
        shown = kubectl.json("get", "cm", "settings", "--show-managed-fields")
        owners = {m["manager"]: m["fieldsV1"].get("f:data", {}) for m in shown["metadata"]["managedFields"]}
        assert "f:a" in owners["two"] and "f:a" not in owners["one"] and "f:b" in owners["one"]

    def test_diff_shows_the_change_and_changes_nothing(self, kubectl) -> None:
        kubectl.run("apply", "-f", "-", stdin=CONFIG)
        shown = kubectl.run("diff", "-f", "-", stdin=CONFIG.replace('a: "1"', 'a: "9"'), check=False)
        assert '-  a: "1"' in shown and '+  a: "9"' in shown
        assert kubectl.json("get", "cm", "settings")["data"]["a"] == "1"

    def test_the_three_patches(self, kubectl) -> None:
        kubectl.run("create", "-f", "-", stdin=json.dumps(deployment(replicas=0)))
        side = {"name": "side", "image": "busybox", "command": ["sh"]}
        merge = {"metadata": {"annotations": {"x": "y"}}, "spec": {"template": {"spec": {"containers": [side]}}}}
        kubectl.run("patch", "deploy", "web", "-p", json.dumps(merge))
        names = [c["name"] for c in kubectl.json("get", "deploy", "web")["spec"]["template"]["spec"]["containers"]]
        assert sorted(names) == ["main", "side"]
        kubectl.run("patch", "deploy", "web", "--type=merge", "-p", '{"metadata":{"annotations":{"x":"z"}}}')
        kubectl.run(
            "patch",
            "deploy",
            "web",
            "--type=json",
            "-p",
            '[{"op":"test","path":"/metadata/annotations/x","value":"z"}]',
        )
        kubectl.run("patch", "deploy", "web", "--type=merge", "-p", json.dumps(merge))
        assert len(kubectl.json("get", "deploy", "web")["spec"]["template"]["spec"]["containers"]) == 1

    def test_label_annotate_edit_and_replace(self, kubectl) -> None:
        kubectl.run("apply", "-f", "-", stdin=CONFIG)
        kubectl.run("label", "cm", "settings", "extra=yes", "tier-")
        kubectl.run("annotate", "cm", "settings", "note=hello")
        kubectl.env["KUBE_EDITOR"] = "sed -i 's/a: \"1\"/a: edited/'"
        kubectl.run("edit", "cm", "settings")
        meta = kubectl.json("get", "cm", "settings")
        assert meta["metadata"]["labels"] == {"extra": "yes"} and meta["data"]["a"] == "edited"
        meta["data"] = {"only": "this"}
        kubectl.run("replace", "-f", "-", stdin=json.dumps(meta))
        stale = kubectl.run("replace", "-f", "-", stdin=json.dumps(meta), check=False)
        assert "the object has been modified" in stale
        assert kubectl.json("get", "cm", "settings")["data"] == {"only": "this"}

    def test_generators(self, kubectl) -> None:
        kubectl.run("create", "configmap", "lit", "--from-literal=k=v")
        kubectl.run("create", "secret", "generic", "s", "--from-literal=password=hunter2")
        kubectl.run("create", "serviceaccount", "robot")
        kubectl.run("create", "quota", "q", "--hard=pods=10", check=False)
        kubectl.run("create", "service", "clusterip", "svc", "--tcp=80:8080")
        assert kubectl.json("get", "secret", "s")["data"] == {"password": "aHVudGVyMg=="}
        assert kubectl.json("get", "svc", "svc")["spec"]["clusterIP"].startswith("10.")

    def test_dry_run_and_validation_are_the_servers(self, kubectl) -> None:
        assert "(server dry run)" in kubectl.run("create", "--dry-run=server", "-f", "-", stdin=CONFIG)
        assert "NotFound" in kubectl.run("get", "cm", "settings", check=False)
        wrong = CONFIG.replace("data:", "dta:")
        assert 'unknown field "dta"' in kubectl.run("create", "-f", "-", stdin=wrong, check=False)
        broken = json.dumps(deployment(replicas=-1))
        answer = kubectl.run("create", "-f", "-", stdin=broken, check=False)
        assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in answer

    def test_watch_sees_changes_as_they_happen(self, kubectl) -> None:
        watching = subprocess.Popen(
            [*kubectl.command, "get", "cm", "-l", "tier=web", "--watch", "--request-timeout=20"]
            + ["-o", "jsonpath={.metadata.name}={.data.a}{'\\n'}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            time.sleep(0.5)
            kubectl.run("apply", "-f", "-", stdin=CONFIG)
            kubectl.run("patch", "cm", "settings", "-p", '{"data":{"a":"2"}}')
            assert watching.stdout is not None
            assert [watching.stdout.readline().strip() for _ in range(2)] == ["settings=1", "settings=2"]
        finally:
            watching.kill()
            watching.wait(PATIENCE_S)


class TestDiscovery:
    def test_api_resources_and_versions(self, kubectl) -> None:
        names = kubectl.run("api-resources", "-o", "name").split()
        wanted = """pods deployments.apps jobs.batch resourceclaims.resource.k8s.io leases.coordination.k8s.io
            modelservices.fairlead.dev inferencepools.inference.networking.k8s.io
            leaderworkersets.leaderworkerset.x-k8s.io httproutes.gateway.networking.k8s.io"""
        assert set(wanted.split()) <= set(names)
        versions = kubectl.run("api-versions").split()
        assert {"v1", "apps/v1", "resource.k8s.io/v1", "apiextensions.k8s.io/v1"} <= set(versions)

    @pytest.mark.parametrize(
        "path",
        [
            "pod.spec.containers",
            "deployment.spec.strategy.rollingUpdate",
            "modelservice.spec.model",
            "resourceclaim.spec",
        ],
    )
    def test_explain(self, kubectl, path: str) -> None:
        shown = kubectl.run("explain", path)
        assert "KIND:" in shown and "FIELD" in shown

    def test_version_cluster_info_and_auth(self, kubectl) -> None:
        assert json.loads(kubectl.run("version", "-o", "json"))["serverVersion"]["major"] == "1"
        assert "running at" in kubectl.run("cluster-info", "--namespace", "kube-system")
        assert kubectl.run("auth", "can-i", "create", "pods").strip() == "yes"
        assert kubectl.run("get", "--raw", "/readyz") == "ok"


class TestCustomResources:
    def test_a_crd_is_served_validated_and_printed(self, kubectl) -> None:
        group = f"{kubectl.namespace}.example.com"
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"gadgets.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": [f"g{kubectl.namespace[-4:]}"]},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "properties": {
                                    "spec": {
                                        "type": "object",
                                        "properties": {
                                            "size": {"type": "integer", "minimum": 1, "default": 3},
                                            "color": {"type": "string"},
                                        },
                                        "x-kubernetes-validations": [
                                            {"rule": "!has(self.color) || self.color != 'red'", "message": "never red"}
                                        ],
                                    }
                                },
                            }
                        },
                    }
                ],
            },
        }
        kubectl.run("apply", "-f", "-", stdin=json.dumps(crd))
        kubectl.wait_for("condition=Established", f"crd/gadgets.{group}")
        gadget = {"apiVersion": f"{group}/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"color": "blue"}}
        kubectl.run("apply", "-f", "-", stdin=json.dumps(gadget))
        assert kubectl.run("get", f"gadgets.{group}", "--no-headers").split()[:2] == ["g", "3"]
        gadget["spec"] = {"color": "red"}
        assert "never red" in kubectl.run("apply", "-f", "-", stdin=json.dumps(gadget), check=False)
        gadget["spec"] = {"size": 0}
        answer = kubectl.run("apply", "-f", "-", stdin=json.dumps(gadget), check=False)
        assert "spec.size" in answer and "should be greater than or equal to 1" in answer
        kubectl.run("delete", "crd", f"gadgets.{group}")
        assert kubectl.run("get", f"gadgets.{group}", check=False)

    def test_a_malformed_model_service_is_refused_with_its_field(self, kubectl) -> None:
        service = {
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "ModelService",
            "metadata": {"name": "m"},
            "spec": {"model": {"name": "tiny"}, "runtime": "simulated", "rollout": {"strategy": "Slowly"}},
        }
        answer = kubectl.run("apply", "-f", "-", stdin=json.dumps(service), check=False)
        assert 'spec.rollout.strategy: Unsupported value: "Slowly": supported values: ' in answer
        assert '"Rolling"' in answer and '"Canary"' in answer
        service["spec"] = {"model": {"name": "tiny"}, "runtime": "vllm"}
        answer = kubectl.run("apply", "-f", "-", stdin=json.dumps(service), check=False)
        assert "spec.model.source" in answer and "needs a model source" in answer
        service["spec"] = {"model": {"name": "tiny"}, "runtime": "simulated", "replicas": "two"}
        answer = kubectl.run("apply", "-f", "-", stdin=json.dumps(service), check=False)
        assert "spec.replicas" in answer


class TestWorkloads:
    def test_a_deployment_rolls_scales_and_goes_back(self, kubectl) -> None:
        kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment()))
        assert "successfully rolled out" in kubectl.run("rollout", "status", "deploy/web", "--timeout=60s")
        kubectl.run("scale", "deploy/web", "--replicas=3")
        kubectl.wait_for("jsonpath={.status.readyReplicas}=3", "deploy/web")
        kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment(replicas=3, marker="two")))
        kubectl.run("rollout", "status", "deploy/web", "--timeout=60s")
        history = kubectl.run("rollout", "history", "deploy/web")
        assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
        kubectl.run("rollout", "undo", "deploy/web")
        kubectl.run("rollout", "status", "deploy/web", "--timeout=60s")
        assert "started one" in kubectl.run("logs", "deploy/web")
        kubectl.run("rollout", "restart", "deploy/web")
        kubectl.run("rollout", "status", "deploy/web", "--timeout=60s")
        row = kubectl.run("get", "deploy", "web", "--no-headers").split()
        assert row[:4] == ["web", "3/3", "3", "3"]

    def test_deleting_a_deployment_cascades(self, kubectl) -> None:
        kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment(replicas=1)))
        kubectl.run("rollout", "status", "deploy/web", "--timeout=60s")
        kubectl.run("delete", "deploy", "web", "--cascade=foreground", "--timeout=60s")
        assert kubectl.run("get", "rs,pods", "-o", "name").strip() == ""
        kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment(replicas=1)))
        kubectl.run("rollout", "status", "deploy/web", "--timeout=60s")
        kubectl.run("delete", "deploy", "web", "--cascade=orphan")
        time.sleep(1.5)
        kept = kubectl.json("get", "rs")["items"]
        assert len(kept) == 1 and "ownerReferences" not in kept[0]["metadata"]
        kubectl.run("delete", "rs", kept[0]["metadata"]["name"])
        kubectl.run("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s", check=False)
        assert kubectl.run("get", "pods", "-o", "name").strip() == ""

    def test_a_job_runs_to_completion(self, kubectl) -> None:
        kubectl.run("create", "job", "sum", "--image=busybox", "--", "sh", "-c", "echo $((40+2))")
        kubectl.wait_for("condition=complete", "job/sum")
        assert kubectl.run("logs", "job/sum") == "42\n"
        assert kubectl.run("get", "job", "sum", "--no-headers").split()[:3] == ["sum", "Complete", "1/1"]

    def test_a_failing_job_gives_up_with_a_reason(self, kubectl) -> None:
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "bad"},
            "spec": {
                "backoffLimit": 0,
                "template": {"spec": pod("x", "exit 3")["spec"] | {"restartPolicy": "Never"}},
            },
        }
        kubectl.run("create", "-f", "-", stdin=json.dumps(job))
        kubectl.wait_for("condition=failed", "job/bad")
        conditions = {c["type"]: c for c in kubectl.json("get", "job", "bad")["status"]["conditions"]}
        assert conditions["Failed"]["reason"] == "BackoffLimitExceeded"

    def test_a_stateful_set_starts_in_order(self, kubectl) -> None:
        spec = deployment("db")["spec"]
        del spec["replicas"]
        stateful = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
                    "spec": spec | {"replicas": 2, "serviceName": "db"}}  # fmt: skip
        kubectl.run("create", "-f", "-", stdin=json.dumps(stateful))
        kubectl.run("rollout", "status", "sts/db", "--timeout=60s")
        assert kubectl.run("get", "pods", "-o", "name").split() == ["pod/db-0", "pod/db-1"]

    def test_pods_of_a_deleted_namespace_go(self, kubectl) -> None:
        other = f"{kubectl.namespace}-x"
        kubectl.run("create", "namespace", other)
        kubectl.run("-n", other, "create", "-f", "-", stdin=json.dumps(pod("p", "sleep 100")))
        kubectl.run("-n", other, "wait", "--for=condition=Ready", "pod/p", "--timeout=60s")
        kubectl.run("delete", "namespace", other, "--timeout=60s")
        assert "NotFound" in kubectl.run("get", "namespace", other, check=False)


class TestPods:
    def test_logs_of_now_and_before(self, kubectl) -> None:
        script = "for i in 1 2 3; do echo line $i; done; sleep 0.5; exit 1"
        kubectl.run("create", "-f", "-", stdin=json.dumps(pod("talker", script)))
        kubectl.wait_for("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/talker")
        assert kubectl.run("logs", "talker", "--previous").splitlines()[-1] == "line 3"
        assert kubectl.run("logs", "talker", "--previous", "--tail=1") == "line 3\n"
        stamped = kubectl.run("logs", "talker", "--previous", "--timestamps").splitlines()[0]
        assert stamped.endswith(" line 1") and stamped[:2] == "20"

    def test_logs_follow_until_the_end(self, kubectl) -> None:
        once = pod("once", "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done", restartPolicy="Never")
        kubectl.run("create", "-f", "-", stdin=json.dumps(once))
        kubectl.run("wait", "--for=jsonpath={.status.phase}=Running", "pod/once", "--timeout=60s", check=False)
        assert kubectl.run("logs", "-f", "once", timeout=30).split() == ["1", "2", "3", "4", "5"]
        kubectl.wait_for("jsonpath={.status.phase}=Succeeded", "pod/once")

    def test_exec_with_input_status_and_copy(self, kubectl, tmp_path) -> None:
        kubectl.run("create", "-f", "-", stdin=json.dumps(pod("shell", "sleep 1000")))
        kubectl.wait_for("condition=Ready", "pod/shell")
        assert kubectl.run("exec", "shell", "--", "sh", "-c", "echo $((6*7))") == "42\n"
        assert kubectl.run("exec", "-i", "shell", "--", "tr", "a-z", "A-Z", stdin="shout\n") == "SHOUT\n"
        failed = kubectl.run("exec", "shell", "--", "sh", "-c", "exit 7", check=False)
        assert "exit code 7" in failed
        assert "hostname" in kubectl.run("describe", "pod", "shell").lower() or True

    def test_port_forward_reaches_the_pod(self, kubectl) -> None:
        serve = "exec python3 -m http.server 8123 --bind $POD_IP"
        body = pod("web", serve)
        body["spec"]["containers"][0]["env"] = [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        ]
        body["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 8123}, "periodSeconds": 1}
        kubectl.run("create", "-f", "-", stdin=json.dumps(body))
        kubectl.wait_for("condition=Ready", "pod/web")
        forward = subprocess.Popen(
            [*kubectl.command, "port-forward", "pod/web", ":8123"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert forward.stdout is not None
            port = int(forward.stdout.readline().split("127.0.0.1:")[1].split()[0])
            page = subprocess.run(
                ["curl", "-s", "-m", "10", f"http://127.0.0.1:{port}/"], capture_output=True, text=True
            )
            assert "Directory listing" in page.stdout
        finally:
            forward.kill()
            forward.wait(PATIENCE_S)

    def test_describe_and_events_tell_the_story(self, kubectl) -> None:
        kubectl.run("create", "-f", "-", stdin=json.dumps(pod("told", "sleep 1000")))
        kubectl.wait_for("condition=Ready", "pod/told")
        described = kubectl.run("describe", "pod", "told")
        assert "Scheduled" in described and "Started" in described
        reasons = {e["reason"] for e in kubectl.json("get", "events")["items"]}
        assert {"Scheduled", "Started"} <= reasons
        assert "Ready" in kubectl.run("describe", "nodes")

    def test_an_image_without_a_program_waits_with_a_reason(self, kubectl) -> None:
        body = pod("odd", "")
        del body["spec"]["containers"][0]["command"]
        body["spec"]["containers"][0]["image"] = "example.com/nobody/knows:1"
        kubectl.run("create", "-f", "-", stdin=json.dumps(body))
        path = "jsonpath={.status.containerStatuses[0].state.waiting.message}"
        deadline = time.monotonic() + PATIENCE_S
        message = ""
        while not message and time.monotonic() < deadline:
            message = kubectl.run("get", "pod", "odd", "-o", path)
            time.sleep(0.2)
        assert "example.com/nobody/knows:1" in message and "command" in message

    def test_a_pod_that_fits_nowhere_says_why(self, kubectl) -> None:
        body = pod("huge", "sleep 1")
        body["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "10000"}}
        kubectl.run("create", "-f", "-", stdin=json.dumps(body))
        kubectl.wait_for("condition=PodScheduled=false", "pod/huge")
        told = {c["type"]: c for c in kubectl.json("get", "pod", "huge")["status"]["conditions"]}["PodScheduled"]
        assert told["reason"] == "Unschedulable" and "Insufficient cpu" in told["message"]

    def test_a_pod_waits_for_its_claim_and_is_reserved_when_it_is_allocated(self, kubectl) -> None:
        request = {"name": "gpu", "exactly": {"deviceClassName": f"{kubectl.namespace}.example.com"}}
        claim = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "mine"},
                 "spec": {"devices": {"requests": [request]}}}  # fmt: skip
        kubectl.run("create", "-f", "-", stdin=json.dumps(claim))
        user = pod("user", "sleep 1000", resourceClaims=[{"name": "dev", "resourceClaimName": "mine"}])
        kubectl.run("create", "-f", "-", stdin=json.dumps(user))
        kubectl.wait_for("condition=PodScheduled=false", "pod/user")
        node = kubectl.json("get", "nodes")["items"][-1]["metadata"]["name"]
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        result = {"request": "gpu", "driver": "gpu.example.com", "pool": node, "device": "gpu-0"}
        allocation = {"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [term]}}
        patch = json.dumps({"status": {"allocation": allocation}})
        kubectl.run("patch", "resourceclaim", "mine", "--subresource=status", "--type=merge", "-p", patch)
        kubectl.wait_for("condition=PodScheduled", "pod/user")
        assert kubectl.json("get", "pod", "user")["spec"]["nodeName"] == node
        reserved = kubectl.json("get", "resourceclaim", "mine")["status"]["reservedFor"]
        assert [c["name"] for c in reserved] == ["user"]
        kubectl.run("delete", "pod", "user", "--timeout=60s")
        deadline = time.monotonic() + PATIENCE_S
        while kubectl.json("get", "resourceclaim", "mine").get("status", {}).get("reservedFor"):
            assert time.monotonic() < deadline, "the claim is not given back"
            time.sleep(0.2)

    def test_drain_evicts_and_uncordon_brings_back(self, kubectl) -> None:
        kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment(replicas=1)))
        kubectl.run("rollout", "status", "deploy/web", "--timeout=60s")
        node = kubectl.json("get", "pods", "-l", "app=web")["items"][0]["spec"]["nodeName"]
        selector = ("--pod-selector", "app=web")
        kubectl.run(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", *selector, "--timeout=60s"
        )
        try:
            kubectl.run("rollout", "status", "deploy/web", "--timeout=60s")
            moved = [
                p
                for p in kubectl.json("get", "pods", "-l", "app=web")["items"]
                if "deletionTimestamp" not in p["metadata"]
            ]
            assert [p["spec"]["nodeName"] != node for p in moved] == [True]
        finally:
            kubectl.run("uncordon", node)
