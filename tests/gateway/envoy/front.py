"""A front: Envoy, fairlead's own or a foreign one, before a picker server whose director is the test's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec

from fairlead.gateway import errors
from fairlead.gateway.envoy import binary, command, foreign_config, write_config
from fairlead.gateway.envoy.bootstrap import DEFAULT
from fairlead.gateway.extproc import Listener
from fairlead.gateway.pick import Pick
from fairlead.gateway.protocol import ENGINE_PROTOCOL_HEADER
from fairlead.gateway.route import Completion, Outcome, RequestHead, Route
from fairlead.gateway.server import PickerServer
from patience import PATIENCE_S

LOG_LEVEL = ("--log-level", "error", "--component-log-level", "ext_proc:off", "--disable-hot-restart")


class _Body(msgspec.Struct):
    model: str


@dataclass
class Turns:
    """A director that takes endpoints in turn; `held` requests wait until `release`."""

    addresses: list[str] = field(default_factory=list)
    held: bool = False
    h2c: bool = False
    replica: str = "r"
    body: bytes | None = None
    bodies: list[int] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    waiting: list[Held] = field(default_factory=list)
    count: int = 0

    def decide_on_headers(self, head: RequestHead) -> Outcome | None:
        return errors.answer({"data": []}, "models") if head.method == "GET" else None

    def route(self, head: RequestHead, body: bytes, decided: Callable[[Outcome], None]) -> Held | None:
        self.bodies.append(len(body))
        try:
            msgspec.json.decode(body, type=_Body)
        except msgspec.DecodeError as error:
            decided(errors.bad_request(str(error)))
            return None
        if self.held:
            self.waiting.append(Held(head, decided))
            return self.waiting[-1]
        decided(self.outcome(head))
        return None

    def completed(self, completion: Completion) -> None:
        self.completions.append(completion)

    def outcome(self, head: RequestHead) -> Outcome:
        fit = [a for a in self.addresses if head.subset is None or a in head.subset]
        if not fit:
            return errors.unavailable("no endpoint fits", "no_ready_endpoints", 1)
        self.count += 1
        at = self.count % len(fit)
        order = fit[at:] + fit[:at]
        headers = ((ENGINE_PROTOCOL_HEADER, "h2c"),) if self.h2c else ()
        pick = Pick(order[0], tuple(order[1:]), "in turn")
        return Route("ns/p", "tiny", pick, f"{self.replica}-{self.count}", body=self.body, headers=headers)

    async def next_completions(self, number: int, timeout_s: float = PATIENCE_S) -> list[Completion]:
        """All that came, once there are so many."""
        await until(lambda: len(self.completions) >= number, timeout_s)
        return self.completions


@dataclass
class Held:
    head: RequestHead
    decide: Callable[[Outcome], None]
    abandoned: bool = False

    def abandon(self) -> None:
        self.abandoned = True


async def until(true: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Wait for what is not announced. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - the condition lives in another process or callback
            await asyncio.sleep(0.01)


def free_port() -> int:
    """A port outside the range from which the kernel gives out ports of its own."""
    for port in random.sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


@dataclass
class Front:
    folder: Path
    turns: Turns = field(default_factory=Turns)
    port: int = field(default_factory=free_port)
    servers: list[PickerServer] = field(default_factory=list)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, *, engines: int = 1, arguments: tuple[str, ...] = (), options=DEFAULT) -> None:
        """Fairlead's own Envoy, a picker on a socket and simulated engines."""
        for _ in range(engines):
            await self.add_engine(*arguments)
        await self.add_picker(f"unix:{self.folder / 'picker.sock'}")
        await self.start_own(options)

    async def start_own(self, options=DEFAULT) -> asyncio.subprocess.Process:
        argv = command(self.folder, self.port, concurrency=1, options=options)
        path = write_config(self.folder, self.port, self.folder / "picker.sock", options)
        envoy = await self._spawn(argv[0], "--config-path", str(path), "--concurrency", "1", *LOG_LEVEL)
        await self.until_listening()
        return envoy

    async def start_foreign(self, listener: Listener, **options) -> None:
        """An Envoy that is not Fairlead's; `tls` as in `foreign_config`."""
        from fairlead.gateway.transport import ServerTls

        tls = ServerTls.self_signed() if options.get("tls", True) else None
        picker = await self.add_picker("127.0.0.1:0", listener, tls=tls)
        path = self.folder / "foreign.json"
        path.write_text(json.dumps(foreign_config(self.port, picker, self.folder / "admin.sock", **options)))
        await self._spawn(str(binary()), "--config-path", str(path), "--concurrency", "1", *LOG_LEVEL)
        await self.until_listening()

    async def add_picker(self, address: str, *listener, turns: Turns | None = None, tls=None) -> str:
        server = PickerServer(turns or self.turns)
        self.servers.append(server)
        return await server.start(address, *listener, tls=tls)

    async def add_engine(self, *arguments: str) -> asyncio.subprocess.Process:
        process = await self._spawn(
            sys.executable, "-m", "fairlead.simulator.server", "--port", "0", "--model", "tiny", *arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        self.turns.addresses.append(f"127.0.0.1:{int(line.split()[-1])}")
        return process

    async def until_listening(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def ask(self, path: str = "/v1/chat/completions", **extra) -> tuple[int, dict]:
        """Status and body of one request."""
        headers = extra.pop("headers", None)
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, json=request_for(path, **extra), headers=headers) as response,
        ):
            return response.status, await response.json()

    async def _spawn(self, *argv: str, **options) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(*argv, **options)
        self.processes.append(process)
        return process

    async def stop(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(asyncio.wait_for(p.wait(), PATIENCE_S) for p in self.processes))
        await asyncio.gather(*(server.stop(0) for server in self.servers))


def request_for(path: str, **extra) -> dict:
    """A body that the path takes."""
    if path == "/v1/completions":
        return {"model": "tiny", "prompt": "hello", "max_tokens": 4, **extra}
    if path == "/v1/responses":
        return {"model": "tiny", "input": "hello", "max_output_tokens": 4, **extra}
    return {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, **extra}
