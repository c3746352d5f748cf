"""What an agent offered once and does not offer any more: its Nodes, and the pods that ran there.

Nobody answers for such a Node: its pods would wait for ever, and a scheduler would see devices that no driver serves.
So the Node object goes; its pods follow by the cluster's own controllers (their quarantine is the time to put back a
name that went by mistake), and once a pod is gone from the API, its processes here are ended. The nodes' folders stay.

A Node is this agent's if it carries the identity that the data folder keeps, and is still offered by an agent: the same
name may be another folder's by now, or a real kubelet's, which takes a Node over with all its annotations.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.agent import remove_pod_folder
from fairlead.embedded.agent.api import PODS
from fairlead.embedded.agent.node import AGENT, RUNTIME
from fairlead.embedded.agent.runtime import ProcessRuntime
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.resources import Resource

NODES = Resource.of("v1", "nodes", "Node", namespaced=False)
_RETRY_S, _PODS_LOOK_S = 0.5, 5.0
_log = logging.getLogger(__name__)


def read_identity(data: Path) -> str:
    """What marks the Nodes of a data folder's agents; made once. Raises OSError."""
    path = data / "agent-id"
    with contextlib.suppress(FileNotFoundError):
        if known := path.read_text().strip():
            return known
    made = uuid.uuid4().hex
    new = path.with_name("agent-id.new")
    new.write_text(made)
    new.replace(path)
    return made


async def forget_former_nodes(
    client: Client,
    data: Path,
    offered: Collection[str],
    runtime: ProcessRuntime,
    clock: Clock = SYSTEM,
    *,
    look_s: float = _PODS_LOOK_S,
) -> None:
    """Delete the Nodes of this data folder that are not offered, then end their pods. Tries until the API is there;
    returns once nothing is left."""
    await _delete_nodes(client, read_identity(data), offered, clock)
    while left := await asyncio.to_thread(_pod_folders, data / "node", offered):
        try:
            for node, folders in left.items():
                await _end_pods(client, node, folders, runtime)
        except (ApiError, OSError, TimeoutError) as error:
            _log.warning("pods of former nodes cannot be looked for yet: %s", error)
        await clock.sleep(look_s)


async def _delete_nodes(client: Client, identity: str, offered: Collection[str], clock: Clock) -> None:
    while True:
        try:
            for node in (await client.list(NODES)).items:
                if node["metadata"]["name"] not in offered and _is_of(node, identity):
                    await _delete(client, node["metadata"])
            return
        except (ApiError, OSError, TimeoutError) as error:
            _log.warning("former nodes cannot be deleted yet: %s", error)
            await clock.sleep(_RETRY_S)


def _is_of(node: Mapping[str, Any], identity: str) -> bool:
    annotations = node["metadata"].get("annotations") or {}
    # Without a runtime: an agent was killed between the two halves of a registration.
    runtime = ((node.get("status") or {}).get("nodeInfo") or {}).get("containerRuntimeVersion") or f"{RUNTIME}://"
    return annotations.get(AGENT) == identity and runtime.startswith(f"{RUNTIME}://")


async def _delete(client: Client, metadata: Mapping[str, Any]) -> None:
    name = metadata["name"]
    try:
        await client.delete(NODES, name, uid=metadata["uid"], resource_version=metadata["resourceVersion"])
        _log.info("node %s is not offered any more: deleted", name)
    except NotFound:
        return


def _pod_folders(nodes: Path, offered: Collection[str]) -> dict[str, list[Path]]:
    """Node -> folders of pods, of nodes that are not offered."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(nodes):
            pods = nodes / entry.name / "pods"
            if entry.name not in offered and pods.is_dir() and (folders := list(pods.iterdir())):
                found[entry.name] = folders
    return found


async def _end_pods(client: Client, node: str, folders: Sequence[Path], runtime: ProcessRuntime) -> None:
    bound = await client.list(PODS, field_selector=f"spec.nodeName={node}")
    alive = {pod["metadata"]["uid"] for pod in bound.items}
    for folder in folders:
        if folder.name not in alive:
            await remove_pod_folder(runtime, folder)
            _log.info("pod %s of the former node %s is gone: ended", folder.name, node)
