"""What one does to running pods beyond reading and writing them: bind, evict, read logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from fairlead.kube.client import Client
from fairlead.kube.kinds import PODS
from fairlead.kube.transport import Unreachable
from fairlead.kube.watch import split_lines


async def bind(client: Client, namespace: str, name: str, node: str, *, uid: str | None = None) -> None:
    """Assign a pod to a node. Raises Conflict where it has one already, or where `uid` is another pod's."""
    metadata = {"name": name, "namespace": namespace, **({"uid": uid} if uid else {})}
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": metadata,
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    await client.request("POST", PODS.path(namespace, name, "binding"), body=body)


async def evict(
    client: Client,
    namespace: str,
    name: str,
    *,
    grace_period_s: int | None = None,
    uid: str | None = None,
    dry_run: bool = False,
) -> None:
    """Delete a pod if its disruption budgets allow. Raises TooManyRequests where they do not; try again later."""
    options: dict[str, Any] = {}
    if grace_period_s is not None:
        options["gracePeriodSeconds"] = grace_period_s
    if uid is not None:
        options["preconditions"] = {"uid": uid}
    if dry_run:
        options["dryRun"] = ["All"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": options,
    }
    await client.request("POST", PODS.path(namespace, name, "eviction"), body=body)


def _log_params(
    container: str | None,
    follow: bool,
    previous: bool,
    tail_lines: int | None,
    since_s: int | None,
    timestamps: bool,
    limit_bytes: int | None,
) -> Sequence[tuple[str, str]]:
    values = {
        "container": container,
        "follow": "true" if follow else None,
        "previous": "true" if previous else None,
        "tailLines": tail_lines,
        "sinceSeconds": since_s,
        "timestamps": "true" if timestamps else None,
        "limitBytes": limit_bytes,
    }
    return [(name, str(value)) for name, value in values.items() if value is not None]


async def read_log(
    client: Client,
    namespace: str,
    name: str,
    *,
    container: str | None = None,
    previous: bool = False,
    tail_lines: int | None = None,
    since_s: int | None = None,
    timestamps: bool = False,
    limit_bytes: int | None = None,
) -> str:
    """A container's log so far."""
    params = _log_params(container, False, previous, tail_lines, since_s, timestamps, limit_bytes)
    answer = await client.request("GET", PODS.path(namespace, name, "log"), params=params, accept="*/*")
    return answer.body.decode(errors="replace")


async def follow_log(
    client: Client,
    namespace: str,
    name: str,
    *,
    container: str | None = None,
    tail_lines: int | None = None,
    since_s: int | None = None,
    timestamps: bool = False,
) -> AsyncIterator[str]:
    """The lines of a container's log as they are written, until it ends. Raises Unreachable when cut off."""
    params = _log_params(container, True, False, tail_lines, since_s, timestamps, None)
    path = PODS.path(namespace, name, "log")
    async with client.transport.stream("GET", path, params=params, accept="*/*") as content:
        try:
            async for line in split_lines(content.iter_any(), keep_tail=True):
                yield line.decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"log of {namespace}/{name}: {error or type(error).__name__}") from error
