"""Run further programs inside a running container: for probes and hooks, and for `exec` sessions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Sequence
from typing import Any

from fairlead.embedded.agent.container import MARK, Container
from fairlead.embedded.agent.runtime import shim_command

_OUTPUT_LIMIT_BYTES = 10 * 1024


async def spawn(
    container: Container, command: Sequence[str], *, stdin: int, stdout: int, stderr: int, tty: bool = False
) -> asyncio.subprocess.Process:
    """Start a command in the container's namespace, directory, user and environment, as a session of its own."""
    config: dict[str, Any] = {
        key: container.config.get(key) for key in ("cwd", "uid", "gid", "groups", "cgroup", "rlimits")
    }
    config |= {"argv": list(command), "env": {**container.config["env"], MARK: container.id}, "tty": tty}
    if container.config.get("mounts"):
        config["namespace_of"] = container.pid
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(config).encode())
        file.flush()
        file.seek(0)
        return await asyncio.create_subprocess_exec(
            *shim_command("execute", str(file.fileno())),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[file.fileno()],
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", "")},
        )


def end(process: asyncio.subprocess.Process) -> None:
    """Kill the command and what it started in its session."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def execute(container: Container, command: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Run a command to its end -> exit code, and output of both streams (cut). Raises TimeoutError."""
    process = await spawn(
        container,
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout_s):
            kept = b""
            while data := await process.stdout.read(1 << 16):
                kept = (kept + data)[:_OUTPUT_LIMIT_BYTES]
            code = await process.wait()
    finally:
        end(process)
    return (128 - code if code < 0 else code), kept.decode(errors="replace")
