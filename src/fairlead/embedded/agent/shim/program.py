"""Turn this process into a container's program: namespace, limits, user, directory, terminal, then exec."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import termios
from collections.abc import Callable
from typing import Any

from fairlead.embedded.agent.shim import mounts
from fairlead.embedded.agent.shim.processes import die_with_parent

Config = dict[str, Any]
"""What the agent writes for the shim; see `fairlead.embedded.agent.container_config`."""


def become(config: Config, parent: int, created: Callable[[], None] | None = None) -> None:
    """Replace this process by the configured program. Returns only by raising OSError or HookError.

    `created` is called once the container's namespace is there, and returns when the program may go on.
    """
    os.umask(0o022)
    _join_cgroup(config.get("cgroup"))
    namespace_of = config.get("namespace_of")
    if namespace_of:
        mounts.join(int(namespace_of))
    elif config.get("mounts"):
        wanted = [
            mounts.Mount(m["source"], m["target"], m.get("read_only", False), tuple(m.get("flags") or ()))
            for m in config["mounts"]
        ]
        mounts.enter(wanted, config["scratch"])
    if created is not None:
        created()
    _run_hooks(config, "createContainer")
    _limit(config)
    # Before the change of user: the agent's data folder may be closed to the container's user.
    _change_directory(config.get("cwd") or "/", config.get("uid"))
    _change_user(config)
    _run_hooks(config, "startContainer")
    die_with_parent(parent)
    for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    environment = {str(k): str(v) for k, v in config["env"].items()}
    name = config["argv"][0]
    try:
        os.execvpe(name, config["argv"], environment)
    except FileNotFoundError:
        where = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        raise FileNotFoundError(2, f'exec: "{name}": {where}') from None
    except PermissionError:
        raise PermissionError(13, f'exec: "{name}": permission denied') from None


def take_terminal(descriptor: int) -> None:
    """Make the terminal at `descriptor` the controlling one and the standard streams."""
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    for standard in (0, 1, 2):
        os.dup2(descriptor, standard)


def _run_hooks(config: Config, stage: str) -> None:
    if stage in (config.get("hooks") or {}):
        from fairlead.embedded.agent.shim import hooks

        status = "creating" if stage == "createContainer" else "created"
        hooks.run(config, stage, hooks.state(config, status, os.getpid(), config["folder"]))


def _join_cgroup(path: str | None) -> None:
    if path:
        with open(os.path.join(path, "cgroup.procs"), "w") as procs:
            procs.write("0")


def _limit(config: Config) -> None:
    for name, value in (config.get("rlimits") or {}).items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bounded, bounded))


def _change_user(config: Config) -> None:
    groups, gid, uid = config.get("groups"), config.get("gid"), config.get("uid")
    if groups and os.geteuid() == 0:
        os.setgroups(groups)
    if gid is not None and gid != os.getegid():
        os.setgid(gid)
    if uid is not None and uid != os.geteuid():
        if not groups:
            with contextlib.suppress(PermissionError):
                os.setgroups([])
        os.setuid(uid)


def _change_directory(path: str, uid: int | None) -> None:
    try:
        os.chdir(path)
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)
        if uid is not None and os.geteuid() == 0:
            os.chown(path, uid, -1)
        os.chdir(path)
