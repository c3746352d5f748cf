"""A real server process on one data folder and port, which tests start, kill and start again."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import yaml

from patience import PATIENCE_S


class ServerProcess:
    """A server that is running from `start` to `kill` or the end of the context."""

    def __init__(self, data: Path) -> None:
        self.data = data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and return when it is ready."""
        command = [sys.executable, "-m", "fairlead.embedded.apiserver"]
        command += ["--data", str(self.data), "--api-port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready"), line

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it as a power failure would."""
        assert self.process is not None and self.process.stdout is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self.process = None

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def tls(self) -> ssl.SSLContext:
        document = yaml.safe_load((self.data / "kubeconfig").read_text())
        ca = base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])
        return ssl.create_default_context(cadata=ca.decode())

    @property
    def token(self) -> str:
        document = yaml.safe_load((self.data / "kubeconfig").read_text())
        return str(document["users"][0]["user"]["token"])

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            f"https://127.0.0.1:{self.port}",
            connector=aiohttp.TCPConnector(ssl=self.tls(), limit=0),
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=aiohttp.ClientTimeout(total=20),
        )

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.kill()


async def request(
    session: aiohttp.ClientSession, method: str, path: str, body: Any = None, **query: str
) -> tuple[int, Any]:
    """Status and decoded body of one request."""
    data = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"} if data is not None else None
    async with session.request(method, path, data=data, params=query, headers=headers) as response:
        return response.status, await response.json(content_type=None)
