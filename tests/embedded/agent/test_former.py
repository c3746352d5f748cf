"""Nodes that an agent offered before and does not any more are deleted; nobody else's are."""

from __future__ import annotations

from pathlib import Path

from embedded.apiserver.server_process import ServerProcess
from fairlead.embedded.agent.former import NODES, forget_former_nodes
from fairlead.kube.client import Client


async def test_only_nodes_of_this_folder_that_are_not_offered_go(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "api") as server:
        async with Client.load(server.data / "kubeconfig") as client:
            for name in ("kept", "former", "elsewhere"):
                await client.create(NODES, {"metadata": {"name": name}})
            for name in ("kept", "former", "long-gone"):
                (tmp_path / "node" / name).mkdir(parents=True)
            await forget_former_nodes(client, tmp_path / "node", ["kept", "new"])
            assert {n["metadata"]["name"] for n in (await client.list(NODES)).items} == {"kept", "elsewhere"}
            await forget_former_nodes(client, tmp_path / "no such folder", ["kept"])
