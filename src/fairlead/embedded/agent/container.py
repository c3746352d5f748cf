"""One attempt of one container as its folder on disk describes it, readable by a restarted agent.

The agent writes `config.json` before it starts the shim; the shim writes `state.json` once the program runs and
`exit.json` when it ended. A container whose shim is gone without `exit.json` was killed together with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.embedded.agent.shim import processes
from fairlead.embedded.agent.shim.main import write_durably

MARK = "FAIRLEAD_CONTAINER_ID"
"""Environment variable that marks every process of a container."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended. `start_error` is set where its program never ran."""

    exit_code: int
    finished_at_s: float
    signal: int = 0
    oom_killed: bool = False
    start_error: str | None = None


@dataclass(slots=True)
class Container:
    """`attempt` counts the restarts of this container in its pod, from 0."""

    folder: Path
    id: str
    name: str
    pod_uid: str
    attempt: int
    image: str
    image_id: str
    created_at_s: float
    config: dict[str, Any] = field(repr=False)
    pid: int = 0
    start_ticks: int | None = None
    shim_pid: int = 0
    shim_start_ticks: int | None = None
    started_at_s: float = 0.0
    exit: Exit | None = None

    @property
    def log_path(self) -> Path:
        return Path(self.config["log"])

    @property
    def is_running(self) -> bool:
        return self.exit is None and self.pid != 0

    def is_program_alive(self) -> bool:
        """Whether the pid still names the program that was started, and not a later process."""
        return self.pid != 0 and self.start_ticks is not None and processes.start_ticks(self.pid) == self.start_ticks

    def is_shim_alive(self) -> bool:
        """The shim holds a lock for its whole life, which no reuse of its pid can imitate."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def refresh(self) -> None:
        """Read what the shim has written since."""
        state = _read_json(self.folder / "state.json")
        if state is not None:
            self.pid, self.start_ticks = int(state["pid"]), state["start_ticks"]
            self.shim_pid, self.shim_start_ticks = int(state["shim_pid"]), state["shim_start_ticks"]
            self.started_at_s = float(state["started_at"])
        ended = _read_json(self.folder / "exit.json")
        if ended is not None:
            self.exit = Exit(
                int(ended["exit_code"]),
                float(ended["finished_at"]),
                int(ended["signal"]),
                bool(ended["oom_killed"]),
                ended.get("start_error"),
            )

    def record_lost(self, now_s: float) -> None:
        """Record the end of a container whose shim was killed before it could."""
        lost: dict[str, Any] = {
            "exit_code": 137,
            "signal": 9,
            "oom_killed": False,
            "start_error": None,
            "finished_at": now_s,
        }
        if self.pid == 0:
            lost |= {"exit_code": 128, "signal": 0, "start_error": "the container's shim ended before the program ran"}
        write_durably(str(self.folder / "exit.json"), lost)
        self.refresh()

    def termination_message(self) -> str:
        """What the program left at its termination message path, at most 4096 bytes."""
        with contextlib.suppress(OSError), open(self.folder / "termination-log", "rb") as file:
            return file.read(4096).decode(errors="replace")
        return ""


def load(folder: Path) -> Container | None:
    """The container of a folder; None where the agent died before it had written the configuration."""
    config = _read_json(folder / "config.json")
    if config is None:
        return None
    meta = config["meta"]
    container = Container(
        folder=folder,
        id=meta["id"],
        name=meta["name"],
        pod_uid=meta["pod_uid"],
        attempt=int(meta["attempt"]),
        image=meta["image"],
        image_id=meta["image_id"],
        created_at_s=float(meta["created_at"]),
        config=config,
    )
    container.refresh()
    return container


def load_pod(pod_folder: Path) -> dict[str, list[Container]]:
    """Container name -> its attempts on disk, oldest first."""
    found: dict[str, list[Container]] = {}
    root = pod_folder / "containers"
    if not root.is_dir():
        return found
    for by_name in root.iterdir():
        attempts = [load(folder) for folder in by_name.iterdir() if folder.name.isdigit()]
        present = sorted((c for c in attempts if c is not None), key=lambda c: c.attempt)
        if present:
            found[by_name.name] = present
    return found


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return dict(value)
