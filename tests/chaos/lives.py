"""The test's side of lives: starts them, asks them how they are, sees them die."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos.kill import Kill

TESTS = Path(__file__).parent.parent
LIMIT_S = 30.0


class Life:
    """One process. `calls` are the calls that it was about to make since it was armed, in order."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.calls: list[str] = []
        self.dead = asyncio.Event()
        self.errors: list[str] = []
        self._born: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    async def ask(self, **what: Any) -> dict[str, Any] | None:
        """Its answer; None where it is dead, or dies of the question."""
        writer = await asyncio.wait_for(asyncio.shield(self._born), LIMIT_S)
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        if self.dead.is_set():
            return None
        writer.write(json.dumps({**what, "number": number}).encode() + b"\n")
        done = asyncio.ensure_future(self.dead.wait())
        try:
            await asyncio.wait([answer, done], timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            done.cancel()
        if answer.done():
            self.errors = answer.result()["errors"]
            return answer.result()
        assert self.dead.is_set(), f"no answer within {LIMIT_S:g} s: {self.log.read_text()[-2000:]}"
        return None

    async def arm(self, kill: Kill) -> None:
        self.calls.clear()
        await self.ask(arm=kill.as_json())

    async def end(self) -> None:
        """Kill it, wherever it is."""
        await self.ask(end=True)
        await asyncio.wait_for(self.dead.wait(), LIMIT_S)

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._born.set_result(writer)
        try:
            while line := await reader.readline():
                if not line.endswith(b"\n"):
                    break
                said = json.loads(line)
                if "call" in said:
                    self.calls.append(said["name"])
                elif "answer" in said and (waiting := self._answers.pop(said["answer"], None)) and not waiting.done():
                    waiting.set_result(said)
        except ConnectionError:
            pass
        finally:
            self.dead.set()
            writer.close()


@contextmanager
def nursery_process() -> Iterator[subprocess.Popen[bytes]]:
    """The warm process that forks lives, for as many nurseries as come one after the other."""
    path = os.pathsep.join([str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-m", "chaos.nursery"], stdin=subprocess.PIPE, env=environment) as process:
        yield process


class Nursery:
    """Makes lives. Use it as an async context manager."""

    def __init__(self, kubeconfig: Path, process: subprocess.Popen[bytes]) -> None:
        self._kubeconfig = kubeconfig
        self._process = process
        self._folder = tempfile.TemporaryDirectory(prefix="chaos-")
        self._socket = f"{self._folder.name}/socket"
        self._lives: dict[int, Life] = {}
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Nursery:
        self._server = await asyncio.start_unix_server(self._connected, self._socket, limit=2**20)
        return self

    async def __aexit__(self, *error: object) -> None:
        for life in self._lives.values():
            if not life.dead.is_set() and life._born.done():
                await life.end()
        self._server.close()
        self._folder.cleanup()

    def start(self, crew: str, namespace: str, **options: Any) -> Life:
        number = next(self._ids)
        log = Path(self._folder.name) / f"{number}.log"
        life = self._lives[number] = Life(log)
        spec = {
            "socket": self._socket, "id": number, "kubeconfig": str(self._kubeconfig), "namespace": namespace,
            "crew": crew, "options": options, "log": str(log),
        }  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(spec).encode() + b"\n")
        self._process.stdin.flush()
        return life

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = json.loads(await reader.readline())
        await self._lives[said["id"]].listen(reader, writer)
