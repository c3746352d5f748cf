from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fairlead.kube.client import Client
from fairlead.kube.kinds import PODS
from fairlead.kube.waiting import wait_deleted, wait_for


async def test_waits_until_the_object_is_as_wanted(scripted: Any, scripted_client: Client) -> None:
    waiting = asyncio.create_task(
        wait_for(
            scripted_client,
            PODS,
            "a",
            "default",
            lambda pod: pod is not None and pod.metadata.labels.get("ready") == "yes",
            timeout_s=5,
        )
    )
    await asyncio.sleep(0.05)
    scripted.put("a")
    scripted.put("a", ready="yes")
    pod = await waiting
    assert pod is not None
    assert pod.metadata.resource_version == "12"


async def test_waits_across_broken_and_forgotten_watches(scripted: Any, scripted_client: Client) -> None:
    scripted.put("a")
    scripted.faults.cut_after_events = [0]
    scripted.faults.gone_watches = 1
    waiting = asyncio.create_task(wait_deleted(scripted_client, PODS, "a", "default", timeout_s=5))
    await asyncio.sleep(0.05)
    scripted.put("a", changed="yes")
    await asyncio.sleep(0.05)
    scripted.remove("a")
    await waiting


async def test_says_what_was_waited_for(scripted: Any, scripted_client: Client) -> None:
    with pytest.raises(TimeoutError, match=r"pods default/a not as wanted within 0\.1 s"):
        await wait_for(scripted_client, PODS, "a", "default", lambda pod: pod is not None, timeout_s=0.1)
