"""The pods bound to one node, as a stream of changes that survives every interruption of the API."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.api import PODS
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, Gone
from fairlead.kube.transport import Unreachable

_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 5.0
_log = logging.getLogger(__name__)


class PodSink(Protocol):
    def put(self, pod: dict[str, Any]) -> None: ...
    def drop(self, uid: str) -> None: ...
    def known_uids(self) -> set[str]: ...


async def follow_pods(
    client: Client, node_name: str, sink: PodSink, synced: Callable[[], None], clock: Clock = SYSTEM
) -> None:
    """Feed the sink until cancelled. `synced` is called after each complete list."""
    delay_s, version = _FIRST_RETRY_S, ""
    selector = f"spec.nodeName={node_name}"
    while True:
        try:
            if not version:
                version = await _relist(client, selector, sink)
                synced()
            async for event in client.watch(PODS, field_selector=selector, resource_version=version):
                version = event.resource_version
                delay_s = _FIRST_RETRY_S
                if event.type == "DELETED":
                    sink.drop(event.object["metadata"]["uid"])
                elif event.type != "BOOKMARK":
                    sink.put(event.object)
        except Gone:
            version = ""
        except (Unreachable, ApiError, OSError, TimeoutError) as error:
            _log.warning("node %s: pods cannot be watched now: %s", node_name, error)
            await clock.sleep(delay_s)
            delay_s = min(2 * delay_s, _LAST_RETRY_S)


async def _relist(client: Client, selector: str, sink: PodSink) -> str:
    listed = await client.list(PODS, field_selector=selector)
    present = set()
    for pod in listed.items:
        present.add(pod["metadata"]["uid"])
        sink.put(pod)
    for uid in sink.known_uids() - present:
        sink.drop(uid)
    return listed.metadata.resource_version
