"""Kill the agent, the API server and containers: pods live on, nothing is lost, nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent_platform import NODES, PODS, Cluster, container_status, is_ready, phase, shell

from fairlead.embedded.agent.container import load_pod
from patience import PATIENCE_S


def pod_folder(cluster: Cluster, pod: dict[str, Any]) -> Path:
    return cluster.platform.data / "node" / "node-0" / "pods" / pod["metadata"]["uid"]


def current(cluster: Cluster, pod: dict[str, Any]) -> Any:
    return load_pod(pod_folder(cluster, pod))["app"][-1]


def processes_with(text: str) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in command and int(name) != os.getpid():
            found.append(int(name))
    return found


async def test_pods_survive_a_killed_agent_and_are_adopted(cluster: Cluster):
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    await cluster.run("kept", shell("sleep 600", readinessProbe=probe))
    pod = await cluster.until("kept", is_ready)
    before = current(cluster, pod)
    cluster.platform.kill(cluster.platform.agent)
    assert before.is_program_alive()
    cluster.platform.start_agent()
    await asyncio.sleep(1.5)
    after = await cluster.until("kept", is_ready)
    assert container_status(after)["containerID"] == container_status(pod)["containerID"]
    assert container_status(after)["restartCount"] == 0
    assert after["status"]["podIP"] == pod["status"]["podIP"]
    assert before.is_program_alive()
    await cluster.delete("kept")
    assert not before.is_program_alive()


async def test_an_exit_while_no_agent_runs_is_learned_afterwards(cluster: Cluster):
    await cluster.run("ends", shell("sleep 0.8; echo bye; exit 5"), restartPolicy="Never")
    await cluster.until("ends", is_ready)
    cluster.platform.kill(cluster.platform.agent)
    await asyncio.sleep(1.2)
    cluster.platform.start_agent()
    pod = await cluster.until("ends", lambda p: phase(p) == "Failed")
    assert container_status(pod)["state"]["terminated"]["exitCode"] == 5
    assert await cluster.logs("ends") == "bye\n"


async def test_a_pod_deleted_while_no_agent_runs_leaves_nothing(cluster: Cluster):
    marker = f"6{os.getpid()}"
    await cluster.run("deleted", shell(f"sleep {marker}"))
    pod = await cluster.until("deleted", is_ready)
    cluster.platform.kill(cluster.platform.agent)
    await cluster.client.delete(PODS, "deleted", "default", grace_period_s=0)
    assert processes_with(f"sleep {marker}") or processes_with(marker)
    cluster.platform.start_agent()
    folder = pod_folder(cluster, pod)
    async with asyncio.timeout(PATIENCE_S):
        while folder.exists() or processes_with(marker):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_killed_container_starts_again(cluster: Cluster):
    await cluster.run("killed", shell("sleep 600"))
    pod = await cluster.until("killed", is_ready)
    os.kill(current(cluster, pod).pid, signal.SIGKILL)
    pod = await cluster.until("killed", lambda p: container_status(p)["restartCount"] == 1 and is_ready(p))
    last = container_status(pod)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (137, "Error")


async def test_a_killed_shim_is_a_container_that_ended(cluster: Cluster):
    await cluster.run("shimless", shell("sleep 600"))
    pod = await cluster.until("shimless", is_ready)
    container = current(cluster, pod)
    os.kill(container.shim_pid, signal.SIGKILL)
    await cluster.until("shimless", lambda p: container_status(p)["restartCount"] == 1 and is_ready(p))
    assert not container.is_program_alive()


async def test_the_api_server_may_go_away(cluster: Cluster):
    await cluster.run("steady", shell("sleep 600"))
    pod = await cluster.until("steady", is_ready)
    cluster.platform.kill(cluster.platform.api)
    os.kill(current(cluster, pod).pid, signal.SIGKILL)
    await asyncio.sleep(1)
    cluster.platform.start_api()
    await cluster.until("steady", lambda p: container_status(p)["restartCount"] == 1 and is_ready(p))


async def test_a_second_agent_on_one_folder_is_refused(cluster: Cluster):
    command = [
        sys.executable, "-m", "fairlead.embedded.agent", "--data", str(cluster.platform.data),
        "--kubeconfig", str(cluster.platform.kubeconfig),
    ]  # fmt: skip
    second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert second.returncode == 1
    assert second.stderr.strip().endswith(f"another node agent is using the data folder {cluster.platform.data}")


async def test_stop_pods_ends_every_process(cluster: Cluster):
    marker = f"5{os.getpid()}"
    await cluster.run("stopped", shell(f"trap '' TERM; sleep {marker} & setsid sleep {marker} & wait"))
    await cluster.until("stopped", is_ready)
    cluster.platform.kill(cluster.platform.agent, signal.SIGTERM)
    assert processes_with(marker)
    command = [sys.executable, "-m", "fairlead.embedded.agent", "--data", str(cluster.platform.data), "--stop-pods"]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=PATIENCE_S)
    assert not processes_with(marker)
    cluster.platform.start_agent()
    await cluster.until("stopped", lambda p: container_status(p)["restartCount"] >= 1 and is_ready(p))


async def test_a_deleted_node_comes_back(cluster: Cluster):
    before = await cluster.client.get(NODES, "node-1")
    await cluster.client.delete(NODES, "node-1")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = [n for n in (await cluster.client.list(NODES)).items if n["metadata"]["name"] == "node-1"]
        if found and found[0]["metadata"]["uid"] != before["metadata"]["uid"] and found[0].get("status"):
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
