"""Waiting for one object to become what one needs, without polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, Gone
from fairlead.kube.resources import Resource
from fairlead.kube.selectors import escape_field_value
from fairlead.kube.transport import Unreachable

T = TypeVar("T")
_RETRY_S = 0.2


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    is_held: bool
    obj: T | None


async def wait_for(
    client: Client,
    resource: Resource[T],
    name: str,
    namespace: str | None,
    condition: Callable[[T | None], bool],
    *,
    timeout_s: float,
    clock: Clock = SYSTEM,
) -> T | None:
    """Wait until `condition` holds for the object, or for None while it does not exist. Returns what it held for.

    Raises TimeoutError that says what was waited for and, if that was the trouble, why the server could not tell.
    """
    trouble: Exception | None = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    outcome = await _watch_once(client, resource, name, namespace, condition)
                    if outcome.is_held:
                        return outcome.obj
                except Gone:
                    continue
                except (ApiError, Unreachable, CredentialsError) as error:
                    trouble = error
                    await clock.sleep(_RETRY_S)
    except TimeoutError:
        where = f"{namespace}/{name}" if namespace else name
        why = f": {trouble}" if trouble else ""
        raise TimeoutError(f"{resource} {where} not as wanted within {timeout_s:g} s{why}") from trouble


async def wait_deleted(
    client: Client, resource: Resource[T], name: str, namespace: str | None, *, timeout_s: float
) -> None:
    """Wait until the object does not exist. Raises TimeoutError."""
    await wait_for(client, resource, name, namespace, lambda obj: obj is None, timeout_s=timeout_s)


async def _watch_once(
    client: Client, resource: Resource[T], name: str, namespace: str | None, condition: Callable[[T | None], bool]
) -> _Outcome[T]:
    selector = f"metadata.name={escape_field_value(name)}"
    found = await client.list(resource, namespace, field_selector=selector)
    current = found.items[0] if found.items else None
    if condition(current):
        return _Outcome(True, current)
    version = found.metadata.resource_version
    events = client.watch(resource, namespace, resource_version=version, field_selector=selector)
    async with aclosing(events):
        async for event in events:
            if event.type == "BOOKMARK":
                continue
            current = None if event.type == "DELETED" else event.object
            if condition(current):
                return _Outcome(True, current)
    return _Outcome(False, current)
