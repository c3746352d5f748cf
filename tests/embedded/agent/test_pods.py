"""Pods on a real node agent under the real API server."""

from __future__ import annotations

import asyncio
import base64
import socket
import sys
from typing import Any

from agent_platform import CONFIG_MAPS, LEASES, NODES, PODS, SECRETS, Cluster, container_status, is_ready, phase, shell

from patience import PATIENCE_S


async def test_a_node_registers_with_its_lease(cluster: Cluster):
    node = await cluster.client.get(NODES, "node-0")
    ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")
    assert node["status"]["capacity"]["pods"] == "110"
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-0"
    address = node["status"]["addresses"][0]["address"]
    assert address.startswith("127.") and node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    lease = await cluster.client.get(LEASES, "node-0", "kube-node-lease")
    assert lease["spec"]["holderIdentity"] == "node-0"


async def test_environment_from_every_source(cluster: Cluster):
    await cluster.client.create(CONFIG_MAPS, {"metadata": {"name": "env"}, "data": {"one": "1", "TWO": "2"}}, "default")
    secret = {"metadata": {"name": "env"}, "data": {"password": base64.b64encode(b"hidden").decode()}}
    await cluster.client.create(SECRETS, secret, "default")
    env: list[dict[str, Any]] = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "env", "key": "password"}}},
        {"name": "NOTHING", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "k", "optional": True}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "URL", "value": "http://$(IP):$$(PORT)/$(UNKNOWN)"},
    ]
    container = shell(
        'echo "$IP|$LABEL|$NODE|$PASSWORD|${NOTHING-unset}|$MEMORY|$URL|$P_one|$P_TWO|$HOSTNAME|$0"',
        env=env,
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "env"}}],
        resources={"limits": {"memory": "64Mi"}},
    )
    container["command"].append("$(LABEL)-arg")
    await cluster.run("env", container, restartPolicy="Never", metadata={"labels": {"app": "x"}})
    pod = await cluster.until("env", lambda p: phase(p) == "Succeeded")
    ip = pod["status"]["podIP"]
    assert await cluster.logs("env") == (
        f"{ip}|x|node-0|hidden|unset|64|http://{ip}:$(PORT)/$(UNKNOWN)|1|2|env|x-arg\n"
    )


async def test_volumes_and_their_updates(cluster: Cluster):
    await cluster.client.create(CONFIG_MAPS, {"metadata": {"name": "files"}, "data": {"a": "1", "b": "2"}}, "default")
    volumes = [
        {"name": "shared", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "files", "items": [{"key": "a", "path": "deep/a.txt"}]}},
        {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {
            "name": "token",
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
                    {"configMap": {"name": "files"}},
                ]
            },
        },
    ]
    mounts = [
        {"name": "shared", "mountPath": "/shared-test"},
        {"name": "config", "mountPath": "/etc/config-test"},
        {"name": "config", "mountPath": "/single-test/a", "subPath": "deep/a.txt"},
        {"name": "info", "mountPath": "/info-test"},
        {"name": "token", "mountPath": "/var/run/token-test"},
    ]
    files = "/etc/config-test/deep/a.txt /single-test/a /info-test/labels /shared-test/from-init /var/run/token-test/b"
    script = f"for f in {files}; do cat $f; echo; done; wc -c < /var/run/token-test/token; sleep 60"
    await cluster.run(
        "files",
        shell(script, volumeMounts=mounts),
        initContainers=[shell("printf hello > /shared-test/from-init", "init", volumeMounts=mounts[:1])],
        volumes=volumes,
        metadata={"labels": {"k": "v"}},
    )
    await cluster.until("files", is_ready)
    *contents, size = (await cluster.said("files", 6)).splitlines()
    assert contents == ["1", "1", 'k="v"', "hello", "2"] and int(size) > 100
    await cluster.client.patch(CONFIG_MAPS, "files", {"data": {"a": "changed"}}, "default")
    pod = await cluster.get("files")
    assert pod is not None
    uid = pod["metadata"]["uid"]
    updated = cluster.platform.data / f"node/node-0/pods/{uid}/volumes/config/deep/a.txt"
    async with asyncio.timeout(PATIENCE_S):
        while updated.read_text() != "changed":  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_init_containers_sidecars_and_completion(cluster: Cluster):
    await cluster.run(
        "job",
        shell("sleep 0.3; echo main"),
        initContainers=[shell("echo init", "init"), shell("sleep 60", "side", restartPolicy="Always")],
        restartPolicy="Never",
    )
    pod = await cluster.until("job", lambda p: "terminated" in container_status(p, "side")["state"])
    assert phase(pod) == "Succeeded"
    assert container_status(pod, "init")["state"]["terminated"]["reason"] == "Completed"
    assert container_status(pod, "app")["state"]["terminated"]["exitCode"] == 0
    assert await cluster.logs("job", container="init") == "init\n"


async def test_a_crashing_container_backs_off_and_keeps_its_last_log(cluster: Cluster):
    await cluster.run("crash", shell("echo attempt; echo why > /dev/termination-log; exit 2"))
    pod = await cluster.until(
        "crash", lambda p: container_status(p)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    status = container_status(pod)
    assert status["lastState"]["terminated"]["exitCode"] == 2
    assert status["lastState"]["terminated"]["message"] == "why\n"
    assert "restarting failed container=app pod=crash_default(" in status["state"]["waiting"]["message"]
    assert phase(pod) == "Running" and not is_ready(pod)
    assert await cluster.logs("crash", previous="true") == "attempt\n"
    await cluster.told("crash", reason="BackOff")
    await cluster.until("crash", lambda p: container_status(p)["restartCount"] >= 2)


async def test_an_image_without_a_program_says_what_to_do(cluster: Cluster):
    await cluster.run("image", {"name": "app", "image": "acme/engine:1"})
    pod = await cluster.until("image", lambda p: "waiting" in container_status(p)["state"])
    pod = await cluster.until(
        "image", lambda p: container_status(p)["state"]["waiting"]["reason"] == "ErrImageNeverPull"
    )
    message = container_status(pod)["state"]["waiting"]["message"]
    assert 'no program for image "acme/engine:1"' in message and "spec.containers[].command" in message
    assert phase(pod) == "Pending"


async def test_a_missing_config_map_holds_the_container_until_it_exists(cluster: Cluster):
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "k"}}}]
    await cluster.run("config", shell("sleep 60", env=env))
    pod = await cluster.until(
        "config",
        lambda p: container_status(p)["state"].get("waiting", {}).get("reason") == "CreateContainerConfigError",
    )
    assert container_status(pod)["state"]["waiting"]["message"] == 'configmap "later" not found'
    await cluster.client.create(CONFIG_MAPS, {"metadata": {"name": "later"}, "data": {"k": "v"}}, "default")
    await cluster.until("config", is_ready)


async def test_liveness_kills_and_readiness_reports(cluster: Cluster):
    probe = {"periodSeconds": 1, "failureThreshold": 1}
    await cluster.run(
        "probed",
        shell(
            "touch live ready; sleep 600",
            startupProbe={**probe, "exec": {"command": ["test", "-e", "ready"]}, "failureThreshold": 60},
            livenessProbe={**probe, "exec": {"command": ["test", "-e", "live"]}},
            readinessProbe={**probe, "exec": {"command": ["test", "-e", "ready"]}},
        ),
    )
    pod = await cluster.until("probed", is_ready)
    folder = next(cluster.platform.data.glob(f"node/node-0/pods/{pod['metadata']['uid']}/containers/app/0/work"))
    (folder / "ready").unlink()
    await cluster.until("probed", lambda p: not is_ready(p))
    assert container_status(await cluster.until("probed", lambda p: True))["restartCount"] == 0
    (folder / "live").unlink()
    await cluster.until("probed", lambda p: container_status(p)["restartCount"] == 1)
    await cluster.told("probed", "Container app failed liveness probe, will be restarted", reason="Killing")
    await cluster.told("probed", "Liveness probe failed:", reason="Unhealthy")


async def test_http_tcp_and_named_ports(cluster: Cluster):
    server = {
        "name": "app",
        "image": "python",
        "command": [sys.executable, "-m", "http.server", "8000", "--bind", "$(IP)"],
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "web", "containerPort": 8000}],
        "startupProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1},
    }
    first = await cluster.run("http-a", server)
    await cluster.run("http-b", server, nodeName="node-1")
    a, b = await cluster.until("http-a", is_ready), await cluster.until("http-b", is_ready)
    assert a["status"]["podIP"] != b["status"]["podIP"] and first["metadata"]["uid"]
    with socket.create_connection((b["status"]["podIP"], 8000), 2):
        pass
    assert container_status(a)["started"] is True


async def test_graceful_end_runs_the_hook_then_the_signal(cluster: Cluster):
    script = "trap 'echo term; exit 0' TERM; echo armed; while true; do sleep 0.1; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "touch stopped"]}}}
    pod = await cluster.run("graceful", shell(script, lifecycle=hook), terminationGracePeriodSeconds=10)
    await cluster.until("graceful", is_ready)
    await cluster.said("graceful")
    folder = cluster.platform.data / f"node/node-0/pods/{pod['metadata']['uid']}/containers/app/0"
    followed = asyncio.ensure_future(cluster.logs("graceful", follow="true"))
    await asyncio.sleep(0.2)
    assert folder.exists()
    await cluster.delete("graceful")
    assert "term" in (await followed).splitlines()
    async with asyncio.timeout(PATIENCE_S):
        while folder.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_what_ignores_sigterm_is_killed_after_the_grace_period(cluster: Cluster):
    await cluster.run("stubborn", shell("trap '' TERM; echo armed; while true; do sleep 0.2; done"))
    await cluster.until("stubborn", is_ready)
    await cluster.said("stubborn")
    await cluster.delete("stubborn", grace_period_s=1)


async def test_a_second_deletion_shortens_the_grace_period(cluster: Cluster):
    await cluster.run(
        "hurry", shell("trap '' TERM; echo armed; while true; do sleep 0.2; done"), terminationGracePeriodSeconds=60
    )
    await cluster.until("hurry", is_ready)
    await cluster.said("hurry")
    await cluster.client.delete(PODS, "hurry", "default")
    await asyncio.sleep(0.3)
    await cluster.delete("hurry", grace_period_s=1)


async def test_a_pod_past_its_deadline(cluster: Cluster):
    await cluster.run("late", shell("sleep 60"), restartPolicy="Never")
    await cluster.until("late", is_ready)
    await cluster.client.patch(PODS, "late", {"spec": {"activeDeadlineSeconds": 1}}, "default")
    pod = await cluster.until("late", lambda p: "terminated" in container_status(p)["state"])
    assert (phase(pod), pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")


async def test_an_oom_kill_is_named(cluster: Cluster):
    grow = "x = b'x' * 300_000_000; import time; time.sleep(30)"
    container = {
        "name": "app",
        "image": "python",
        "command": [sys.executable, "-c", grow],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    await cluster.run("oom", container, restartPolicy="Never")
    pod = await cluster.until("oom", lambda p: phase(p) == "Failed")
    ended = container_status(pod)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_a_pod_waits_for_its_claim(cluster: Cluster):
    await cluster.run("claiming", shell("sleep 60"), resourceClaims=[{"name": "gpu", "resourceClaimName": "none"}])
    await asyncio.sleep(0.5)
    pod = await cluster.until("claiming", lambda p: True)
    assert phase(pod) == "Pending"
    assert container_status(pod)["state"]["waiting"]["reason"] == "ContainerCreating"


async def test_a_container_that_writes_as_another_user(cluster: Cluster):
    await cluster.run(
        "user",
        shell("id -u; id -g; touch here && echo wrote", securityContext={"runAsUser": 65534}),
        restartPolicy="Never",
    )
    await cluster.until("user", lambda p: phase(p) == "Succeeded")
    assert (await cluster.logs("user")).split()[::2] == ["65534", "wrote"]


async def test_a_pod_of_another_node_is_left_alone(cluster: Cluster):
    await cluster.run("elsewhere", shell("sleep 60"), nodeName="node-9")
    await asyncio.sleep(0.5)
    pod = await cluster.client.get(PODS, "elsewhere", "default")
    assert "startTime" not in pod.get("status", {})
    await cluster.client.delete(PODS, "elsewhere", "default", grace_period_s=0)
