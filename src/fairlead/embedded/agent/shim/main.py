"""The shim's life: start one program, carry its streams, end with its exit recorded.

Called with a container's folder. It reads `config.json` there and writes `state.json` (pids and start times, once the
program runs) and `exit.json` (the durable result). It holds a lock on `lock` while it lives. When the program ends,
every process that descends from it is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from typing import Any

from fairlead.embedded.agent.shim import attach, processes, program
from fairlead.embedded.agent.shim.journal import Journal

MEMORY_CHECK_S = 0.25
DRAIN_S = 2.0
CHUNK_BYTES = 1 << 16


def write_durably(path: str, value: dict[str, Any]) -> None:
    """Replace `path` by JSON such that a crash leaves the old or the new content."""
    temporary = f"{path}.new"
    with open(temporary, "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Shim:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.journal = Journal(config["log"], int(config["log_max_bytes"]), int(config["log_max_files"]))
        self.attach = attach.AttachServer("attach.sock")
        self.poll = select.poll()
        self.poll.register(self.attach.listener, select.POLLIN)
        self.outputs: dict[int, str] = {}
        self.stdin = -1
        self.terminal = -1
        self.stdin_pending = b""
        self.stdin_closing = False
        self.pid = 0
        self.wait_status: int | None = None
        self.oom_killed = False
        self.signals = -1

    def start(self) -> None:
        """Fork and exec the program. Raises OSError with what could not be done."""
        tty = bool(self.config.get("tty"))
        failed_read, failed_write = os.pipe2(os.O_CLOEXEC)
        if tty:
            master, slave = pty.openpty()
            streams = (slave, slave, slave)
            self.terminal = self.stdin = master
            self._add_output(master, "stdout")
        else:
            stdin_read, self.stdin = self._stdin()
            out_read, out_write = os.pipe2(os.O_CLOEXEC)
            err_read, err_write = os.pipe2(os.O_CLOEXEC)
            streams = (stdin_read, out_write, err_write)
            self._add_output(out_read, "stdout")
            self._add_output(err_read, "stderr")
        parent = os.getpid()
        gate = Gate() if self.config.get("hooks") else None
        self.pid = os.fork()
        if self.pid == 0:
            _run_child(self.config, streams, tty, failed_write, parent, gate)
        for descriptor in {*streams, failed_write}:
            os.close(descriptor)
        if gate is not None:
            self._let_through(gate)
        failure = os.read(failed_read, 4096)
        os.close(failed_read)
        if failure:
            os.waitpid(self.pid, 0)
            raise OSError(failure.decode(errors="replace"))

    def _let_through(self, gate: Gate) -> None:
        """Run the hooks that come before the program once the container is created. Raises OSError with what failed."""
        from fairlead.embedded.agent.shim import hooks

        if not gate.wait_for_child():
            return
        try:
            told = hooks.state(self.config, "creating", self.pid, os.getcwd())
            for stage in hooks.OUTSIDE:
                hooks.run(self.config, stage, told)
        except hooks.HookError as error:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise OSError(str(error)) from None
        gate.open()

    def run(self) -> None:
        """Carry streams until the program and all that descends from it are gone."""
        limit = self.config.get("memory_limit_bytes")
        while self.wait_status is None:
            timeout_ms = MEMORY_CHECK_S * 1000 if limit else None
            self._handle(self.poll.poll(timeout_ms))
            if limit and self.wait_status is None:
                self._check_memory(int(limit))
        self._kill_descendants()
        deadline = time.clock_gettime(time.CLOCK_MONOTONIC) + DRAIN_S
        while self.outputs and time.clock_gettime(time.CLOCK_MONOTONIC) < deadline:
            self._handle(self.poll.poll(100))
        self.journal.close()

    def watch_signals(self) -> None:
        self.signals, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._signal_program(signal.SIGTERM))
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
            signal.signal(ignored, signal.SIG_IGN)
        self.poll.register(self.signals, select.POLLIN)

    def _signal_program(self, number: signal.Signals) -> None:
        if self.pid and self.wait_status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def _stdin(self) -> tuple[int, int]:
        if not self.config.get("stdin"):
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write, False)
        return read, write

    def _add_output(self, descriptor: int, stream: str) -> None:
        self.outputs[descriptor] = stream
        self.poll.register(descriptor, select.POLLIN)

    def _handle(self, events: list[tuple[int, int]]) -> None:
        for descriptor, event in events:
            if descriptor in self.outputs:
                self._carry(descriptor)
            if descriptor == self.signals:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.signals, 4096)
                self._reap()
            elif descriptor == self.attach.listener.fileno():
                accepted = self.attach.accept()
                if accepted is not None:
                    self.poll.register(accepted, select.POLLIN)
            elif descriptor in self.attach.clients:
                self._serve(descriptor, event)
            if descriptor == self.stdin and event & (select.POLLOUT | select.POLLERR):
                self._feed()

    def _carry(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, CHUNK_BYTES)
        except OSError:
            # A terminal whose last user is gone reports EIO.
            data = b""
        stream = self.outputs[descriptor]
        if not data:
            self.poll.unregister(descriptor)
            del self.outputs[descriptor]
            if descriptor != self.terminal:
                os.close(descriptor)
            return
        self.journal.write(stream, data)
        for lost in self.attach.broadcast(attach.STDOUT if stream == "stdout" else attach.STDERR, data):
            self.poll.unregister(lost)
        for number, client in self.attach.clients.items():
            if client.pending:
                self.poll.modify(number, select.POLLIN | select.POLLOUT)

    def _serve(self, descriptor: int, event: int) -> None:
        client = self.attach.clients[descriptor]
        if event & select.POLLOUT:
            alive = client.send()
            if alive and not client.pending:
                self.poll.modify(descriptor, select.POLLIN)
        frames = client.receive() if event & (select.POLLIN | select.POLLHUP | select.POLLERR) else []
        if frames is None:
            self.poll.unregister(descriptor)
            self.attach.drop(descriptor)
            if self.config.get("stdin_once"):
                self.stdin_closing = True
                self._feed()
            return
        for kind, payload in frames:
            self._take(kind, payload)

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == attach.STDIN and self.stdin >= 0:
            self.stdin_pending += payload
            self._feed()
        elif kind == attach.STDIN_CLOSED and self.stdin >= 0 and self.config.get("stdin_once"):
            self.stdin_closing = True
            self._feed()
        elif kind == attach.RESIZE and self.terminal >= 0:
            size = json.loads(payload)
            packed = struct.pack("HHHH", int(size.get("Height", 0)), int(size.get("Width", 0)), 0, 0)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, packed)

    def _feed(self) -> None:
        if self.stdin < 0:
            return
        try:
            while self.stdin_pending:
                self.stdin_pending = self.stdin_pending[os.write(self.stdin, self.stdin_pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self.stdin_pending, self.stdin_closing = b"", True
        base = select.POLLIN if self.stdin in self.outputs else 0
        if self.stdin_pending:
            self.poll.register(self.stdin, base | select.POLLOUT)
            return
        if self.stdin == self.terminal:
            if base:
                self.poll.modify(self.stdin, base)
            return
        with contextlib.suppress(KeyError):
            self.poll.unregister(self.stdin)
        if self.stdin_closing:
            os.close(self.stdin)
            self.stdin = -1

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.wait_status = status

    def _kill_descendants(self) -> None:
        for _ in range(100):
            left = processes.descendants(os.getpid())
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            time.sleep(0.005)

    def _check_memory(self, limit_bytes: int) -> None:
        members = processes.descendants(os.getpid())
        if processes.resident_bytes(members) <= limit_bytes:
            return
        self.oom_killed = True
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Gate:
    """Between the shim and the process that becomes the program: it waits there while hooks run outside."""

    def __init__(self) -> None:
        self._arrived = os.pipe2(os.O_CLOEXEC)
        self._opened = os.pipe2(os.O_CLOEXEC)

    def wait_for_child(self) -> bool:
        """In the shim: whether the child arrived; False where it failed before."""
        os.close(self._arrived[1])
        os.close(self._opened[0])
        arrived = os.read(self._arrived[0], 1)
        os.close(self._arrived[0])
        return arrived != b""

    def open(self) -> None:
        """In the shim: let the child go on."""
        os.write(self._opened[1], b"1")
        os.close(self._opened[1])

    def pass_through(self) -> None:
        """In the child: say so, and wait."""
        os.close(self._opened[1])
        os.write(self._arrived[1], b"1")
        if os.read(self._opened[0], 1) != b"1":
            os._exit(128)


def _run_child(
    config: dict[str, Any], streams: tuple[int, int, int], tty: bool, failed: int, parent: int, gate: Gate | None
) -> None:
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        if tty:
            program.take_terminal(streams[0])
        else:
            for standard, descriptor in enumerate(streams):
                os.dup2(descriptor, standard)
        program.become(config, parent, gate.pass_through if gate else None)
    except OSError as error:
        os.write(failed, (error.strerror or str(error)).encode()[:4096])
    except BaseException as error:
        kind = "" if type(error).__name__ == "HookError" else f"{type(error).__name__}: "
        os.write(failed, f"{kind}{error}".encode()[:4096])
    finally:
        os._exit(128)


def _wall_s() -> float:
    # The shim stands outside the package's clock: it must start without importing asyncio.
    return time.clock_gettime(time.CLOCK_REALTIME)


def _cgroup_oom_kills(path: str | None) -> int:
    if path:
        with contextlib.suppress(OSError), open(os.path.join(path, "memory.events")) as events:
            for line in events:
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def main() -> None:
    folder, ready = sys.argv[1], int(sys.argv[2])
    os.chdir(folder)
    lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open("config.json") as file:
        config: dict[str, Any] = json.load(file)
    os.set_inheritable(ready, False)
    if config.get("hooks"):
        from fairlead.embedded.agent.shim import hooks

        hooks.write_bundle(config, folder)
    processes.adopt_orphans()
    shim = Shim(config)
    shim.watch_signals()
    result: dict[str, Any] = {"exit_code": 128, "signal": 0, "oom_killed": False, "start_error": None}
    try:
        shim.start()
    except OSError as error:
        result["start_error"] = str(error)
    else:
        state = {
            "shim_pid": os.getpid(),
            "shim_start_ticks": processes.start_ticks(os.getpid()),
            "pid": shim.pid,
            "start_ticks": processes.start_ticks(shim.pid),
            "started_at": _wall_s(),
        }
        write_durably("state.json", state)
        _run_late_hooks(config, "poststart", "running", shim.pid)
    _say(ready, result["start_error"])
    if result["start_error"] is None:
        shim.run()
        code = os.waitstatus_to_exitcode(shim.wait_status or 0)
        result["signal"] = -code if code < 0 else 0
        result["exit_code"] = 128 - code if code < 0 else code
        result["oom_killed"] = shim.oom_killed or _cgroup_oom_kills(config.get("cgroup")) > 0
    result["finished_at"] = _wall_s()
    _run_late_hooks(config, "poststop", "stopped", 0)
    write_durably("exit.json", result)


def _run_late_hooks(config: dict[str, Any], stage: str, status: str, pid: int) -> None:
    """Their failures are noted in the shim's log."""
    if stage in (config.get("hooks") or {}):
        from fairlead.embedded.agent.shim import hooks

        for problem in hooks.run_all(config, stage, hooks.state(config, status, pid, os.getcwd())):
            print(problem, file=sys.stderr, flush=True)


def _say(ready: int, error: str | None) -> None:
    # The agent may be gone by now: its successor reads the state from disk.
    with contextlib.suppress(OSError):
        os.write(ready, json.dumps({"error": error}).encode() + b"\n")
        os.close(ready)
