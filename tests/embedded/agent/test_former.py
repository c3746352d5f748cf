"""Nodes that an agent offered before and does not any more are deleted, with their pods' processes; nobody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent_platform import PODS, SERVICE_ACCOUNTS, Cluster, Platform, is_ready, shell

from embedded.apiserver.server_process import ServerProcess
from fairlead.embedded.agent.container import load_pod
from fairlead.embedded.agent.former import NODES, forget_former_nodes, read_identity
from fairlead.embedded.agent.node import AGENT
from fairlead.embedded.agent.runtime import ProcessRuntime
from fairlead.kube.client import Client
from patience import PATIENCE_S


async def _offer(client: Client, name: str, identity: str | None, runtime: str | None) -> None:
    annotations = {} if identity is None else {AGENT: identity}
    await client.create(NODES, {"metadata": {"name": name, "annotations": annotations}})
    if runtime is not None:
        info = {"nodeInfo": {"containerRuntimeVersion": runtime}}
        await client.patch(NODES, name, {"status": info}, subresource="status")


async def test_only_nodes_of_this_folder_that_are_not_offered_go(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "api") as server:
        async with Client.load(server.data / "kubeconfig") as client:
            own = read_identity(tmp_path)
            assert own == read_identity(tmp_path)
            await _offer(client, "kept", own, "process://1")
            await _offer(client, "former", own, "process://1")
            await _offer(client, "half-registered", own, None)
            # The folders of these are here too: the names went to others.
            await _offer(client, "of-another-folder", "another", "process://1")
            await _offer(client, "of-a-kubelet", own, "containerd://2.1.0")
            await _offer(client, "never-marked", None, "process://1")
            for name in ("kept", "former", "of-another-folder", "of-a-kubelet", "never-marked", "long-gone"):
                (tmp_path / "node" / name / "pods" / "uid").mkdir(parents=True)
            await forget_former_nodes(client, tmp_path, ["kept", "new"], ProcessRuntime())
            left = {n["metadata"]["name"] for n in (await client.list(NODES)).items}
            assert left == {"kept", "of-another-folder", "of-a-kubelet", "never-marked"}
            # Pods of the nodes that are offered are their own workers' business.
            assert [f.parent.parent.name for f in (tmp_path / "node").glob("*/pods/*")] == ["kept"]


async def test_a_damaged_identity_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "agent-id").write_text("")
    made = read_identity(tmp_path)
    assert made and made == read_identity(tmp_path)


async def test_processes_of_a_former_node_end_once_their_pod_is_gone(tmp_path: Path) -> None:
    platform = Platform(tmp_path)
    platform.start()
    try:
        async with Client.load(str(platform.kubeconfig)) as client:
            await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
            cluster = Cluster(platform, client)
            await cluster.run("stays", shell("exec sleep 600"), nodeName="node-1")
            pod = await cluster.until("stays", is_ready)
            folder = platform.data / "node" / "node-1" / "pods" / pod["metadata"]["uid"]
            platform.kill(platform.agent)

            forgetting = asyncio.create_task(
                forget_former_nodes(client, platform.data, ["node-0"], ProcessRuntime(), look_s=0.05)
            )
            async with asyncio.timeout(PATIENCE_S):
                while [n["metadata"]["name"] for n in (await client.list(NODES)).items] != ["node-0"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            # Several looks later it is as it was, for whoever offers the node again.
            await asyncio.sleep(0.3)
            assert _is_running(folder) and not forgetting.done()

            await client.delete(PODS, "stays", "default", grace_period_s=0)
            (container,) = load_pod(folder)["app"]
            async with asyncio.timeout(PATIENCE_S):
                await forgetting
            assert not folder.exists()
            assert not container.is_program_alive()
    finally:
        platform.stop()


def _is_running(folder: Path) -> bool:
    (container,) = load_pod(folder)["app"]
    return container.is_running and container.is_program_alive()
