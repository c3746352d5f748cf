"""The server: in this process for its answers, as a process of its own for its life and death."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp.test_utils import TestClient, TestServer

from fairlead.runtimes.onnx.grpc_service import GrpcApi
from fairlead.runtimes.onnx.inference import InferenceService
from fairlead.runtimes.onnx.messages import SERVICE, message
from fairlead.runtimes.onnx.metrics import RuntimeMetrics
from fairlead.runtimes.onnx.repository import Repository
from fairlead.runtimes.onnx.rest import RestApi
from fairlead.runtimes.onnx.settings import ModelSettings
from patience import PATIENCE_S


@dataclass
class Serving:
    """Both sides of one service."""

    service: InferenceService
    rest: TestClient
    channel: grpc.aio.Channel

    async def grpc(self, method: str, **fields: Any) -> Any:
        return await self.call(method, message(f"{method}Request")(**fields))

    async def call(self, method: str, request: Any) -> Any:
        call = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=message(f"{method}Response").FromString,
        )
        return await call(request, timeout=20)

    async def infer(self, model: str, body: Any, status: int = 200, **headers: str) -> Any:
        """The JSON answer to a REST inference."""
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.rest.post(f"/v2/models/{model}/infer", headers=headers, **content) as response:
            answer = await response.json()
            assert response.status == status, answer
            return answer


@asynccontextmanager
async def serving(root: Path, *names: str, lazy: bool = False, max_body_bytes: int = 1 << 20, **settings: Any):
    metrics = RuntimeMetrics()
    service = InferenceService(Repository(root, names, ModelSettings(**settings), metrics, lazy=lazy), metrics)
    grpc_api = GrpcApi(service, max_message_bytes=max_body_bytes)
    port = await grpc_api.start("127.0.0.1:0")
    rest = RestApi(service, max_body_bytes=max_body_bytes, read_timeout_s=10.0)
    async with (
        TestClient(TestServer(rest.application())) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await service.open()
        await grpc_api.serving(True)
        yield Serving(service, client, channel)
        await grpc_api.stop(0)
    await service.repository.close()


Serve = Callable[..., Awaitable[Serving]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def start(root: Path, *names: str, **options: Any) -> Serving:
            return await stack.enter_async_context(serving(root, *names, **options))

        yield start


@dataclass
class ServerProcess:
    process: asyncio.subprocess.Process
    port: int
    grpc_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)


async def spawn(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.runtimes.onnx", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


Start = Callable[..., Awaitable[ServerProcess]]


@pytest.fixture
async def server() -> AsyncIterator[Start]:
    started: list[asyncio.subprocess.Process] = []

    async def start(root: Path, *arguments: str, port: int = 0) -> ServerProcess:
        process = await spawn(str(root), "--port", str(port), "--grpc-port", "0", *arguments)
        started.append(process)
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode()
        ports = re.findall(r"\d+", line)
        return ServerProcess(process, int(ports[0]), int(ports[1]))

    yield start
    for process in started:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(process.communicate(), PATIENCE_S)
