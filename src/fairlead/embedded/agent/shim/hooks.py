"""OCI lifecycle hooks of a container (runtime specification, "POSIX-platform Hooks"): programs that get the container's
state as JSON on their standard input.

Their stages, in order: prestart and createRuntime beside the runtime once the container's namespaces are there;
createContainer and startContainer inside them; poststart after the program runs; poststop after it is gone. A failure
before the program runs ends the container; a later one is only noted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from typing import Any, BinaryIO

LIMIT_S = 60.0
"""How long a hook may take that has no time limit of its own: nothing waits for ever."""
_OUTPUT_BYTES = 2048
OUTSIDE = ("prestart", "createRuntime")
"""Stages that run beside the shim while the container waits."""

Config = dict[str, Any]


class HookError(Exception):
    """A hook failed; the message names the stage, the program and what it said."""


def limit_s(config: Config) -> float:
    """How long all hooks of a container may take together."""
    return sum(hook["timeout_s"] or LIMIT_S for listed in (config.get("hooks") or {}).values() for hook in listed)


def state(config: Config, status: str, pid: int, folder: str) -> dict[str, Any]:
    """The container's state; `bundle` is a folder with the `config.json` that hooks read."""
    told: dict[str, Any] = {
        "ociVersion": "1.1.0",
        "id": config["meta"]["id"].rpartition("/")[2],
        "status": status,
        "bundle": os.path.join(folder, "bundle"),
        "annotations": dict(config.get("annotations") or {}),
    }
    return told | ({"pid": pid} if pid else {})


def write_bundle(config: Config, folder: str) -> None:
    """What of an OCI configuration holds for a process of the machine: its root file system is the machine's."""
    bundle = os.path.join(folder, "bundle")
    os.makedirs(bundle, exist_ok=True)
    content = {
        "ociVersion": "1.1.0",
        "root": {"path": "/"},
        "process": {
            "args": config["argv"],
            "env": [f"{name}={value}" for name, value in config["env"].items()],
            "cwd": config.get("cwd") or "/",
            "user": {"uid": config.get("uid") or 0, "gid": config.get("gid") or 0},
        },
        "mounts": [
            {"destination": m["target"], "source": m["source"], "type": "bind", "options": _options(m)}
            for m in config.get("mounts") or ()
        ],
        "hooks": config.get("hooks"),
    }
    with open(os.path.join(bundle, "config.json"), "w") as file:
        json.dump(content, file)


def run(config: Config, stage: str, told: dict[str, Any]) -> None:
    """Run the hooks of a stage one after another. Raises HookError at the first that fails."""
    for hook in (config.get("hooks") or {}).get(stage, ()):
        _run_one(stage, hook, told)


def run_all(config: Config, stage: str, told: dict[str, Any]) -> list[str]:
    """Run every hook of a late stage; returns what failed."""
    problems = []
    for hook in (config.get("hooks") or {}).get(stage, ()):
        try:
            _run_one(stage, hook, told)
        except HookError as error:
            problems.append(str(error))
    return problems


def _run_one(stage: str, hook: Config, told: dict[str, Any]) -> None:
    path, timeout_s = hook["path"], hook["timeout_s"] or LIMIT_S
    what = f"{stage} hook {path} failed"
    environment = dict(entry.partition("=")[::2] for entry in hook["env"])
    with _memory() as stdin, _memory() as output:
        stdin.write(json.dumps(told).encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                list(hook["args"]) or [path],
                executable=path,
                env=environment,
                stdin=stdin,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise HookError(f"{what}: {error.strerror}") from None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise HookError(f"{what}: it did not end within {timeout_s:g} s") from None
        if code != 0:
            output.seek(0)
            said = output.read(_OUTPUT_BYTES).decode(errors="replace").strip()
            how = f"exit status {code}" if code > 0 else f"signal {-code}"
            raise HookError(f"{what}: {how}{f': {said}' if said else ''}")


def _memory() -> BinaryIO:
    # Inside the container no folder for temporary files can be relied on.
    return os.fdopen(os.memfd_create("fairlead-hook", os.MFD_CLOEXEC), "w+b", buffering=0)


def _options(mount: Config) -> list[str]:
    return ["rbind", *(["ro"] if mount.get("read_only") else []), *(mount.get("flags") or ())]
