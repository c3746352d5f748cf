"""Engines are warmed up within their time, whatever they do, and their pods say how it went: on a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from fairlead.engines import HttpCall
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.kube.resources import ObjectKey, Resource
from fairlead.serving.render.warm_up import WARMED_UP, started_at
from fairlead.serving.warm_up import Cold, WarmUps
from patience import PATIENCE_S

RAW = PODS.as_unstructured()
ACCOUNTS = Resource.of("v1", "serviceaccounts", "ServiceAccount")
SERVICE = ObjectKey("default", "chat")
CALL = HttpCall("POST", "/v1/completions", {"model": "m", "prompt": "p", "max_tokens": 2})
STARTED = "2026-01-01T00:00:00Z"


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to be")


class Site:
    """Pods of an API server, and engines that answer as they are told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.asked: dict[str, int] = {}
        self.runners: list[web.AppRunner] = []

    async def pod(self, name: str, *answers: int | None) -> Pod:
        """A pod that waits for its warm-up, with an engine that gives these answers, the last one for ever; None:
        it never answers."""
        address = await self._engine(name, answers)
        meta = {"name": name, "namespace": "default"}
        spec = {"containers": [{"name": "engine", "image": "x"}], "readinessGates": [{"conditionType": WARMED_UP}]}
        await self.client.create(RAW, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        running = {"name": "engine", "ready": True, "restartCount": 0, "image": "x", "imageID": "",
                   "state": {"running": {"startedAt": STARTED}}}  # fmt: skip
        status = {
            "podIP": address, "phase": "Running", "containerStatuses": [running],
            "conditions": [{"type": "ContainersReady", "status": "True"}],
        }  # fmt: skip
        await self.client.patch(RAW, name, {"status": status}, "default", subresource="status")
        return await self.client.get(PODS, name, "default")

    async def said(self, name: str) -> dict[str, Any]:
        """The condition, once it is there."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                pod = await self.client.get(RAW, name, "default")
                for condition in pod["status"]["conditions"]:
                    if condition["type"] == WARMED_UP:
                        found: dict[str, Any] = condition
                        return found
                await asyncio.sleep(0.05)

    async def _engine(self, name: str, answers: tuple[int | None, ...]) -> str:
        left = list(answers)

        async def answer(_: web.Request) -> web.Response:
            self.asked[name] = self.asked.get(name, 0) + 1
            status = left.pop(0) if len(left) > 1 else left[0]
            if status is None:
                await asyncio.sleep(3600)
            return web.Response(status=status or 500, text=f"said by {name}")

        app = web.Application()
        app.router.add_post("/v1/completions", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self.runners.append(runner)
        while True:
            address = f"127.{random.randint(100, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"
            with contextlib.suppress(OSError):
                await web.TCPSite(runner, address, 8000).start()
                return address


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(tmp_path), "--api-port", "0"
    )
    try:
        await until((tmp_path / "kubeconfig").exists)
        async with Client.load(tmp_path / "kubeconfig") as client:
            account = {"metadata": {"name": "default", "namespace": "default"}, "kind": "ServiceAccount"}
            with contextlib.suppress(AlreadyExists):
                await client.create(ACCOUNTS, {**account, "apiVersion": "v1"})
            one = Site(client)
            yield one
            for runner in one.runners:
                await runner.cleanup()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_however_it_goes_the_pod_is_told_to_be_warm_and_why_it_may_not_be(site: Site) -> None:
    answers = {
        "warm": (200,), "busy": (503, 429, 200), "refuses": (400,), "has-none": (404,), "broken": (500,),
        "hangs": (None,),
    }  # fmt: skip
    pods = {name: await site.pod(name, *each) for name, each in answers.items()}
    told: list[str] = []
    warm_ups = WarmUps(site.client)
    timeouts = {"broken": 2.5, "hangs": 1.0}
    cold = [
        Cold(pod, (CALL, CALL), timeouts.get(name, 60.0), is_asked_for=name != "has-none")
        for name, pod in pods.items()
    ]  # fmt: skip
    warm_ups.follow(SERVICE, cold, told.append)
    warm_ups.follow(SERVICE, cold, told.append)
    said = {name: await site.said(name) for name in pods}
    await warm_ups.close()
    assert {c["status"] for c in said.values()} == {"True"}, "better cold than not at all"
    assert {name for name, c in said.items() if c["reason"] == "WarmedUp"} == {"warm", "busy"}
    assert said["warm"]["message"] == started_at(pods["warm"]) == STARTED
    assert (site.asked["warm"], site.asked["busy"], site.asked["refuses"]) == (2, 4, 1)
    assert "answered 400: said by refuses" in said["refuses"]["message"]
    assert "spec.warmUp.timeoutSeconds" in said["broken"]["message"] and site.asked["broken"] >= 2
    assert "was not answered" in said["hangs"]["message"]
    assert {text.partition(" ")[0] for text in told} == {"refuses", "broken", "hangs"}, (
        "its own prompt refused: no news"
    )


async def test_a_pod_that_goes_is_not_asked_any_more_and_its_successor_is_not_told_to_be_warm(site: Site) -> None:
    pod = await site.pod("a", None)
    warm_ups = WarmUps(site.client)
    warm_ups.follow(SERVICE, [Cold(pod, (CALL,), 60.0)], lambda message: None)
    await until(lambda: bool(site.asked))
    warm_ups.forget(SERVICE)
    other = msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, uid="of-one-before"))
    quick = HttpCall("GET", "/nothing")
    told: list[str] = []
    late = WarmUps(site.client)
    late.follow(SERVICE, [Cold(other, (quick,), 60.0, is_asked_for=True)], told.append)
    await until(lambda: bool(told))
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*late._of[SERVICE].values())
    await late.close()
    await warm_ups.close()
    conditions = (await site.client.get(RAW, "a", "default"))["status"]["conditions"]
    assert [c["type"] for c in conditions] == ["ContainersReady"]
