"""Nodes that a data folder's agent offered once and does not offer any more.

Nobody answers for them: their pods would wait for ever, and a scheduler would see devices that no driver serves. So
their Node objects go, and with them, by the cluster's own controllers, their pods and what they own. The folders stay.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection
from pathlib import Path

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.resources import Resource

NODES = Resource.of("v1", "nodes", "Node", namespaced=False)
_RETRY_S = 0.5
_log = logging.getLogger(__name__)


async def forget_former_nodes(client: Client, folder: Path, offered: Collection[str], clock: Clock = SYSTEM) -> None:
    """Delete the Nodes that have a folder here and are not offered. Tries until the API is there."""
    known = await asyncio.to_thread(_names, folder)
    former = known - set(offered)
    while former:
        try:
            for node in (await client.list(NODES)).items:
                if node["metadata"]["name"] in former:
                    await _delete(client, node["metadata"]["name"])
            return
        except (ApiError, OSError, TimeoutError) as error:
            _log.warning("former nodes cannot be deleted yet: %s", error)
            await clock.sleep(_RETRY_S)


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder) if entry.is_dir()}
    except FileNotFoundError:
        return set()


async def _delete(client: Client, name: str) -> None:
    try:
        await client.delete(NODES, name)
        _log.info("node %s is not offered any more: deleted", name)
    except NotFound:
        return
