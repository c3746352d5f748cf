"""MPS control daemons: one for a claim's devices, or one for a device that several claims share.

A daemon is a process of its own session, so that it outlives this one: its clients would end with it. It is found again
by its folder (`daemon.json`: process id and the time that process started, so that a reused id is not taken for it).
`nvidia-cuda-mps-control` is asked through its own command line, as an operator would. It starts servers of its own; all
of them are known by the pipe folder in their environment (clients in containers see it under another path), which
finds those whose id was never written down and servers whose control daemon was killed.

Source: NVIDIA's MPS documentation (control daemon commands, environment); the DRA driver's daemon template.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from fairlead.devices.cdi.spec import ContainerEdits, Mount
from fairlead.devices.errors import ClaimError

_LOG = logging.getLogger("fairlead.devices.nvidia")
PIPES_IN_CONTAINER: Final = "/tmp/nvidia-mps"
_STEP_S: Final = 0.05
_START_STEPS: Final = 200
_STOP_STEPS: Final = 100
_COMMAND_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class MpsSettings:
    """`limits`: UUID -> pinned memory as MPS writes it ("1024M")."""

    active_thread_percentage: int | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    multi_user: bool = False


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """What `daemon.json` holds. `started` is the process' start in clock ticks since boot, 0 before it ran."""

    devices: list[str]
    settings: MpsSettings
    pid: int = 0
    started: int = 0


class MpsDaemons:
    """The daemons below a folder. `control` is the program, as a path of this process; `libraries` its LD_LIBRARY_PATH
    where it is not in the loader's own folders."""

    def __init__(self, folder: Path, control: Path | None, libraries: str = "") -> None:
        self._folder = folder
        self._control = control
        self._libraries = libraries
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, key: str, devices: Sequence[str], settings: MpsSettings) -> None:
        """Start the daemon, or find it running, and give it its settings. Raises ClaimError."""
        control = self._program()
        try:
            for name in ("pipe", "log"):
                (self._place(key) / name).mkdir(parents=True, exist_ok=True)
            if not self.is_running(key):
                self._launch(key, control, devices, settings)
        except OSError as error:
            raise ClaimError(f"MPS control daemon: {self._place(key)}: {error.strerror}") from error
        self._configure(key, settings)

    def is_running(self, key: str) -> bool:
        child = self._children.get(key)
        if child is not None and child.poll() is not None:
            del self._children[key]
        record = self._record(key)
        if record is None:
            return False
        if _is_same(record):
            return True
        # This process was killed after the start and before the id was written down.
        return record.pid == 0 and bool(self._processes(key))

    def stop(self, key: str) -> None:
        """Ask it to end, then make it and its servers, and remove its folder. Nothing to do where there is none. Takes
        a bounded time; raises ClaimError where even a kill does not end it (a process that hangs in the kernel)."""
        if self._place(key).exists():
            if self._processes(key):
                self._ask_quietly(key, "quit")
            self._end(key, patient=True)
        shutil.rmtree(self._place(key), ignore_errors=True)

    def _end(self, key: str, *, patient: bool) -> None:
        if patient and self._wait_end(key):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._processes(key):
                _kill(pid, number)
            if self._wait_end(key):
                return
        left = ", ".join(str(pid) for pid in self._processes(key))
        raise ClaimError(f"MPS processes {left} do not end; see {self._place(key) / 'log'}")

    def dead(self) -> list[str]:
        """Keys of daemons that should run and do not."""
        try:
            keys = sorted(entry.name for entry in self._folder.iterdir())
        except OSError:
            return []
        return [key for key in keys if self._record(key) is not None and not self.is_running(key)]

    def restart(self, key: str) -> None:
        """Start a daemon that died anew, as it was. Raises ClaimError."""
        record = self._record(key)
        if record is not None and record.devices:
            self.start(key, record.devices, record.settings)

    def edits(self, key: str) -> ContainerEdits:
        """What a client's container needs: the daemon's pipes, and the shared memory of the host, where MPS keeps what
        clients and server exchange."""
        bind = ("rw", "nosuid", "nodev", "bind")
        return ContainerEdits(
            env=[f"CUDA_MPS_PIPE_DIRECTORY={PIPES_IN_CONTAINER}"],
            mounts=[
                Mount(host_path="/dev/shm", container_path="/dev/shm", options=bind),
                Mount(host_path=str(self._place(key) / "pipe"), container_path=PIPES_IN_CONTAINER, options=bind),
            ],
        )

    def _program(self) -> Path:
        if self._control is None:
            raise ClaimError(
                "MPS was asked for, and nvidia-cuda-mps-control is not installed on this node; install the driver's "
                "compute tools or use TimeSlicing",
                retry=False,
            )
        return self._control

    def _place(self, key: str) -> Path:
        return self._folder / key

    def _environment(self, key: str) -> dict[str, str]:
        control = self._program()
        environment = {
            "PATH": f"{control.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "CUDA_MPS_PIPE_DIRECTORY": str(self._place(key) / "pipe"),
            "CUDA_MPS_LOG_DIRECTORY": str(self._place(key) / "log"),
        }
        return environment | ({"LD_LIBRARY_PATH": self._libraries} if self._libraries else {})

    def _launch(self, key: str, control: Path, devices: Sequence[str], settings: MpsSettings) -> None:
        # Servers of a control daemon that was killed still hold the devices.
        if self._processes(key):
            self._end(key, patient=False)
        self._write(key, _Record(list(devices), settings))
        arguments = [str(control), "-f", *(["-M"] if settings.multi_user else [])]
        with open(self._place(key) / "log" / "daemon.log", "ab") as log:
            child = subprocess.Popen(
                arguments,
                env=self._environment(key) | {"CUDA_VISIBLE_DEVICES": ",".join(devices)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[key] = child
        self._write(key, _Record(list(devices), settings, child.pid, _started(child.pid)))
        for _ in range(_START_STEPS):
            if child.poll() is not None:
                break
            if self._answers(key):
                return
            _pause()
        code = child.poll()
        if code is None:
            child.kill()
            child.wait()
        ended = f"ended with {code}" if code is not None else "does not answer"
        raise ClaimError(f"MPS control daemon {ended}; see {self._place(key) / 'log'}")

    def _configure(self, key: str, settings: MpsSettings) -> None:
        if settings.active_thread_percentage is not None:
            self._ask(key, f"set_default_active_thread_percentage {settings.active_thread_percentage}")
        for device, limit in settings.limits.items():
            self._ask(key, f"set_default_device_pinned_mem_limit {device} {limit}")

    def _ask(self, key: str, command: str) -> None:
        problem = self._ask_quietly(key, command)
        if problem:
            raise ClaimError(f'MPS control daemon: "{command}": {problem}')

    def _ask_quietly(self, key: str, command: str) -> str:
        """ "" where the daemon took the command."""
        try:
            done = subprocess.run(
                [str(self._program())],
                env=self._environment(key),
                input=command.encode() + b"\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_COMMAND_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer in {_COMMAND_S:g} s"
        except (OSError, ClaimError) as error:
            return str(error)
        return "" if done.returncode == 0 else done.stdout.decode(errors="replace").strip() or f"code {done.returncode}"

    def _answers(self, key: str) -> bool:
        pipe = self._place(key) / "pipe" / "control"
        return pipe.exists() and self._ask_quietly(key, "get_server_list") == ""

    def _wait_end(self, key: str) -> bool:
        for _ in range(_STOP_STEPS):
            if not self._processes(key):
                return True
            _pause()
        return False

    def _processes(self, key: str) -> list[int]:
        """The control daemon and its servers."""
        child = self._children.get(key)
        if child is not None and child.poll() is not None:
            del self._children[key]
        mark = f"CUDA_MPS_PIPE_DIRECTORY={self._place(key) / 'pipe'}".encode()
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if mark in _environment_of(pid)]

    def _record(self, key: str) -> _Record | None:
        try:
            return msgspec.json.decode((self._place(key) / "daemon.json").read_bytes(), type=_Record)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError):
            # Torn by a full disk: whether it runs is then told by whether it answers.
            return _Record([], MpsSettings())

    def _write(self, key: str, record: _Record) -> None:
        path = self._place(key) / "daemon.json"
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(msgspec.to_builtins(record)))
        draft.replace(path)


def _started(pid: int) -> int:
    """When a process started, in ticks since boot; -1 where there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in ("Z", "X") else int(fields[19])


def _is_same(record: _Record) -> bool:
    """Whether the recorded process runs. One that ended before its start could be read (-1) never does."""
    return record.pid > 0 and record.started > 0 and record.started == _started(record.pid)


def _environment_of(pid: int) -> list[bytes]:
    """What a process was started with; empty for one that ended, and for one of another user."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError) as error:
        _LOG.warning("MPS process %d cannot be ended: %s", pid, error)


def _pause() -> None:
    threading.Event().wait(_STEP_S)
