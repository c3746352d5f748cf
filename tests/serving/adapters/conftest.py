"""Adapters' controller on a real API server, with simulated engines as processes that are pods by name only."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import random
import socket
import sys

import aiohttp
import pytest

from fairlead.api import all_crds
from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.api.model_adapter import MODEL_ADAPTERS
from fairlead.api.model_service import MODEL_SERVICES
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, PODS
from fairlead.kube.resources import Resource
from fairlead.kube.run import run_controllers
from fairlead.serving.adapters.controller import adapter_controller
from patience import PATIENCE_S

SERVICE_ACCOUNTS = Resource.of("v1", "serviceaccounts", "ServiceAccount")
RAW_PODS = PODS.as_unstructured()
PORT = 8000


def free_address():
    """A loopback address whose port 8000 nobody has."""
    for _ in range(100):
        address = f"127.{random.randint(100, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, PORT))
            return address
    raise OSError("no free address")


class Site:
    """One ModelService `svc` that serves `base`, its pool, its engines, and the controller."""

    def __init__(self, client, folder):
        self.client = client
        self.folder = folder
        self.processes = {}
        self.addresses = {}
        self.controller = None

    async def service(self, **spec):
        spec = {"model": {"name": "base"}, "runtime": "simulated", "adapters": {"slots": 2, "maxRank": 16}, **spec}
        meta = {"name": "svc", "namespace": "default"}
        await self.client.create(
            MODEL_SERVICES, {"metadata": meta, "spec": spec, **_kind("fairlead.dev/v1alpha1", "ModelService")}
        )
        pool = {
            "metadata": {
                **meta, "labels": {"fairlead.dev/model-service": "svc", "fairlead.dev/runtime": "simulated"},
                "annotations": {"fairlead.dev/models": "base"},
            },
            "spec": {
                "selector": {"matchLabels": {"fairlead.dev/model-service": "svc", "fairlead.dev/track": "stable"}},
                "targetPorts": [{"number": PORT}],
                "endpointPickerRef": {"name": "fairlead-gateway", "port": {"number": 9002}},
            },
            **_kind("inference.networking.k8s.io/v1", "InferencePool"),
        }  # fmt: skip
        await self.client.create(INFERENCE_POOLS, pool)

    async def engine(self, name, slots=2, *arguments, role="unified", revision="r1", containers=()):
        self.addresses[name] = free_address()
        await self.start(name, slots, *arguments)
        labels = {
            "fairlead.dev/model-service": "svc", "fairlead.dev/runtime": "simulated", "fairlead.dev/role": role,
            "fairlead.dev/revision": revision, "fairlead.dev/track": "stable", "fairlead.dev/member": "0",
        }  # fmt: skip
        pod = {
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {"containers": [{"name": "engine", "image": "x"}, *containers]},
            **_kind("v1", "Pod"),
        }
        await self.client.create(RAW_PODS, pod)
        await self.ready(name)

    async def start(self, name, slots=2, *arguments):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.simulator.server", "--host", self.addresses[name], "--port", str(PORT),
            "--model", "base", "--enable-lora", "--max-loras", str(slots),
            "--ttft-ms", "1", "--itl-ms", "1", *arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        self.processes[name] = process

    async def ready(self, name, restarts=0, value="True"):
        container = {"name": "engine", "ready": True, "restartCount": restarts, "image": "x", "imageID": ""}
        status = {
            "podIP": self.addresses[name], "phase": "Running", "conditions": [{"type": "Ready", "status": value}],
            "containerStatuses": [container],
        }  # fmt: skip
        await self.client.patch(RAW_PODS, name, {"status": status}, "default", subresource="status")

    async def kill(self, name):
        self.processes[name].kill()
        await asyncio.wait_for(self.processes[name].wait(), PATIENCE_S)

    def adapter_folder(self, name, **config):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        made = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "org/base", **config}
        (folder / "adapter_config.json").write_text(json.dumps(made))
        (folder / "adapter_model.safetensors").write_bytes(bytes(64))
        return str(folder)

    async def adapter(self, called, source=None, **spec):
        spec = {"service": "svc", "source": source or self.adapter_folder(called), **spec}
        meta = {"name": called, "namespace": "default"}
        await self.client.create(
            MODEL_ADAPTERS, {"metadata": meta, "spec": spec, **_kind("fairlead.dev/v1alpha1", "ModelAdapter")}
        )

    async def change(self, name, **spec):
        await self.client.patch(MODEL_ADAPTERS, name, {"spec": spec}, "default")

    async def get(self, name):
        return await self.client.get(MODEL_ADAPTERS, name, "default")

    async def condition(self, name, kind="Ready"):
        found = (await self.get(name)).get("status", {}).get("conditions", [])
        return next(((c["status"], c["reason"], c["message"]) for c in found if c["type"] == kind), ("", "", ""))

    async def listed(self, name):
        """Adapters that the engine itself lists."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.addresses[name]}:{PORT}/v1/models") as answer,
        ):
            return sorted(card["id"] for card in (await answer.json())["data"] if card["parent"])

    async def said(self, name):
        """Adapters that the pod says it has."""
        pod = await self.client.get(RAW_PODS, name, "default")
        return sorted(
            n for n in pod["metadata"].get("annotations", {}).get("fairlead.dev/adapters", "").split(",") if n
        )

    async def until_said(self, name, adapters):
        async def holds():
            return await self.said(name) == adapters

        await self.until(holds)

    async def pool(self):
        return (await self.client.get(INFERENCE_POOLS, "svc", "default"))["metadata"].get("annotations", {})

    async def until(self, condition, timeout_s=20):
        for _ in range(int(timeout_s / 0.05)):
            answer = condition()
            if (await answer) if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.05)
        raise TimeoutError

    async def until_condition(self, name, kind, reason, timeout_s=20):
        async def holds():
            return (await self.condition(name, kind))[1] == reason

        try:
            await self.until(holds, timeout_s)
        except TimeoutError:
            raise AssertionError(f"{name} is not {reason}: {(await self.get(name)).get('status')}") from None

    async def start_controller(self):
        self.controller = asyncio.create_task(self._run())

    async def stop_controller(self):
        if self.controller is not None:
            self.controller.cancel()
            await asyncio.gather(self.controller, return_exceptions=True)
            self.controller = None

    async def _run(self):
        informers = Informers(self.client)
        async with EventRecorder(self.client, "test") as events:
            controller, reconciler = adapter_controller(self.client, informers, events)
            try:
                await run_controllers(informers, [controller])
            finally:
                await reconciler.close()


def _kind(version, kind):
    return {"apiVersion": version, "kind": kind}


@pytest.fixture
async def site(tmp_path):
    folder = tmp_path / "api"
    folder.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(folder), "--api-port", "0"
    )
    try:
        await _until_there(folder / "kubeconfig")
        async with Client.load(folder / "kubeconfig") as client:
            for crd in all_crds():
                with contextlib.suppress(AlreadyExists):
                    await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
            with contextlib.suppress(AlreadyExists):
                account = {"metadata": {"name": "default", "namespace": "default"}, **_kind("v1", "ServiceAccount")}
                await client.create(SERVICE_ACCOUNTS, account)
            one = Site(client, tmp_path)
            await one.until(lambda: _served(client), 20)
            await one.start_controller()
            yield one
            await one.stop_controller()
            for name in one.processes:
                await one.kill(name) if one.processes[name].returncode is None else None
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def _served(client):
    try:
        await client.list(MODEL_ADAPTERS)
        await client.list(INFERENCE_POOLS)
    except Exception:
        return False
    return True


async def _until_there(kubeconfig):
    for _ in range(int(PATIENCE_S / 0.05)):
        if kubeconfig.exists():
            with contextlib.suppress(Exception):
                async with Client.load(kubeconfig) as client:
                    await client.list(RAW_PODS)
                    return
        await asyncio.sleep(0.05)
    raise TimeoutError("no API server")
