"""What is known on disk of a running `up`: `up.json`, written atomically, and a lock that only one supervisor holds."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from fairlead.embedded.supervisor.component import Ports
from fairlead.embedded.supervisor.process import ProcessId


@dataclass(slots=True)
class RunningComponent:
    name: str
    process: ProcessId | None = None
    restarts: int = 0
    last_exit: str = ""


@dataclass(slots=True)
class UpState:
    """One `up`: who supervises, on which ports, with which nodes, and the component processes."""

    supervisor: ProcessId
    ports: Ports
    nodes: str
    phase: str = "starting"
    """"starting", "ready", "stopping" or "failed"."""
    message: str = ""
    started_at_s: float = 0.0
    ready_after_s: float | None = None
    components: list[RunningComponent] = field(default_factory=list)
    devices: str = ""
    """What was given to `--devices`; empty where nothing was."""

    def alive(self) -> bool:
        return self.supervisor.alive()


def state_path(data: Path) -> Path:
    return data / "up.json"


def write_state(data: Path, state: UpState) -> None:
    path = state_path(data)
    temporary = path.with_suffix(".json.new")
    temporary.write_text(json.dumps(asdict(state), indent=1))
    temporary.replace(path)


def read_state(data: Path) -> UpState | None:
    """The last written state, or None. The supervisor it names may be dead: ask `alive()`."""
    try:
        raw = json.loads(state_path(data).read_text())
        return UpState(
            supervisor=ProcessId(**raw["supervisor"]),
            ports=Ports(**raw["ports"]),
            nodes=raw["nodes"],
            phase=raw["phase"],
            message=raw["message"],
            started_at_s=raw["started_at_s"],
            ready_after_s=raw["ready_after_s"],
            components=[
                RunningComponent(
                    c["name"], ProcessId(**c["process"]) if c["process"] else None, c["restarts"], c["last_exit"]
                )
                for c in raw["components"]
            ],
            devices=raw.get("devices", ""),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


class AlreadyRunning(Exception):
    """Another supervisor holds this data folder."""


def lock(data: Path) -> IO[str]:
    """Take the folder's supervisor lock; it is held until the returned file is closed or the process ends.

    Raises AlreadyRunning where another process has it.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = open(data / "up.lock", "a+")  # noqa: SIM115 (held open on purpose)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise AlreadyRunning(f"another `fairlead up` is using {data}") from None
    os.set_inheritable(handle.fileno(), False)
    return handle
