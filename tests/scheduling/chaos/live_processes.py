"""The real processes: an API server, the cluster's controllers, and schedulers, started, killed and stopped at will."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from patience import PATIENCE_S

FAIRLEAD: Final = [sys.executable, "-m", "fairlead.cli.main"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Processes:
    """By name: apiserver, controllers, scheduler, second."""

    folder: Path
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    starts: int = 0

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "data" / "kubeconfig"

    def start(self, name: str) -> None:
        known = ["--kubeconfig", str(self.kubeconfig)]
        command = {
            "apiserver": ["apiserver", "--data", str(self.folder / "data"), "--api-port", str(self.port)],
            "controllers": ["controllers", *known, "--only", "cluster"],
            "scheduler": ["controllers", *known, "--only", "platform", "--scheduler-names", "fairlead"],
            "second": ["controllers", *known, "--only", "platform", "--scheduler-names", "fairlead"],
        }[name]
        self.starts += 1
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen([*FAIRLEAD, *command], stdout=log, stderr=log)

    async def begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start("apiserver")
        deadline_s = time.monotonic() + PATIENCE_S
        log = self.folder / "apiserver.log"
        while b"ready" not in log.read_bytes():
            assert time.monotonic() < deadline_s, log.read_text()
            await asyncio.sleep(0.05)
        self.start("controllers")
        self.start("scheduler")

    def kill(self, name: str) -> None:
        """As kill -9 does it."""
        process = self.running.pop(name, None)
        if process is not None:
            process.kill()
            process.wait(PATIENCE_S)

    async def restart(self, name: str, after_s: float = 0.0) -> None:
        self.kill(name)
        await asyncio.sleep(after_s)
        self.start(name)

    async def freeze(self, name: str, for_s: float) -> None:
        process = self.running.get(name)
        if process is None:
            return
        os.kill(process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            os.kill(process.pid, signal.SIGCONT)

    def dead(self) -> list[str]:
        """Processes that ended by themselves, which none of them may."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def tail(self, name: str, lines: int = 30) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def resident_mib(self, name: str) -> float:
        status = Path(f"/proc/{self.running[name].pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def end(self) -> None:
        for name in list(self.running):
            self.kill(name)
