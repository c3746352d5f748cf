"""A DRA driver for tests: a process of its own, which serves one node and does what `behaviour.json` says at each call.

Run as `python dra_test_plugin.py NODE_ROOT DRIVER FOLDER [INSTANCE]`. It appends each call to `calls.jsonl` in FOLDER.
Behaviour, all optional: `devices` (claim name -> list of {request, pool, device, cdi}), `errors` (claim name -> text),
`skip` (claim names), `stranger` (a uid nobody asked for), `delay_s` and `die` (in prepare), `unprepare_error`, `health`
(list of {pool, device, health, message, timeout_s}), `health_services`, `versions`, `type` and `name` (in GetInfo).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from fairlead.kube.kubelet import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1, REGISTRATION, Service, handler


class TestPlugin:
    __test__ = False

    def __init__(self, root: Path, driver: str, folder: Path, instance: str) -> None:
        self.driver, self.folder, self.instance = driver, folder, instance
        self.endpoint = root / "plugins" / driver / f"dra{instance}.sock"
        self.registration = root / "plugins_registry" / f"{driver}{instance}-reg.sock"

    @property
    def behaviour(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "behaviour.json").read_text()))

    def note(self, call: str, **fields: Any) -> None:
        entry = {"call": call, "pid": os.getpid(), "instance": self.instance, **fields}
        with open(self.folder / "calls.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")

    async def get_info(self, request: Any, context: Any) -> Any:
        told = self.behaviour
        return REGISTRATION.message("PluginInfo")(
            type=told.get("type", "DRAPlugin"),
            name=told.get("name", self.driver),
            endpoint=str(self.endpoint),
            supported_versions=told.get("versions", [DRA_V1.version, DRA_V1BETA1.version]),
        )

    async def notify(self, request: Any, context: Any) -> Any:
        self.note("notify", registered=request.plugin_registered, error=request.error)
        return REGISTRATION.message("RegistrationStatusResponse")()

    def prepare(self, service: Service) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            self.note("prepare", claims=[c.name for c in request.claims], service=service.version)
            await self.obey()
            told = self.behaviour
            response = service.message("NodePrepareResourcesResponse")()
            for claim in request.claims:
                if claim.name in told.get("skip", ()):
                    continue
                entry = response.claims[claim.uid]
                entry.error = told.get("errors", {}).get(claim.name, "")
                for device in told.get("devices", {}).get(claim.name, ()):
                    entry.devices.add(
                        request_names=[device["request"]] if device.get("request") else [],
                        pool_name=device["pool"],
                        device_name=device["device"],
                        cdi_device_ids=device.get("cdi", []),
                    )
            if told.get("stranger"):
                response.claims[told["stranger"]].error = ""
            self.note("prepared", claims=[c.name for c in request.claims])
            return response

        return answer

    def unprepare(self, service: Service) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            self.note("unprepare", claims=[c.name for c in request.claims])
            response = service.message("NodeUnprepareResourcesResponse")()
            for claim in request.claims:
                response.claims[claim.uid].error = self.behaviour.get("unprepare_error", "")
            return response

        return answer

    async def obey(self) -> None:
        told = self.behaviour
        if told.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(told.get("delay_s", 0))

    def watch(self, service: Service) -> Any:
        async def reports(request: Any, context: Any) -> Any:
            self.note("watch", service=service.version)
            last = None
            while True:
                told = self.behaviour.get("health", [])
                if told != last:
                    last = told
                    response = service.message("NodeWatchResourcesResponse")()
                    for entry in told:
                        health = response.devices.add(
                            health=("UNKNOWN", "HEALTHY", "UNHEALTHY").index(entry["health"].upper()),
                            message=entry.get("message", ""),
                            health_check_timeout_seconds=entry.get("timeout_s", 0),
                        )
                        health.device.pool_name, health.device.device_name = entry["pool"], entry["device"]
                    yield response
                await asyncio.sleep(0.05)

        return reports

    async def run(self) -> None:
        services = [self._dra(DRA_V1), self._dra(DRA_V1BETA1)]
        offered = self.behaviour.get("health_services", [HEALTH_V1.version])
        for service in (HEALTH_V1, HEALTH_V1ALPHA1):
            if service.version in offered:
                services.append(handler(service, {"NodeWatchResources": self.watch(service)}))
        self.endpoint.parent.mkdir(parents=True, exist_ok=True)
        dra = await self._serve(self.endpoint, services)
        registration = handler(REGISTRATION, {"GetInfo": self.get_info, "NotifyRegistrationStatus": self.notify})
        registrar = await self._serve(self.registration, [registration])
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        self.note("started")
        await told.wait()
        self.registration.unlink(missing_ok=True)
        await registrar.stop(0.5)
        await dra.stop(1)

    def _dra(self, service: Service) -> Any:
        calls = {"NodePrepareResources": self.prepare(service), "NodeUnprepareResources": self.unprepare(service)}
        return handler(service, calls)

    async def _serve(self, path: Path, handlers: list[Any]) -> Any:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(handlers)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        return server


if __name__ == "__main__":
    root, driver, folder, *rest = sys.argv[1:]
    asyncio.run(TestPlugin(Path(root), driver, Path(folder), rest[0] if rest else "").run())
