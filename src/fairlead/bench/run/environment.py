"""Where a run was made: what a reader of its figures needs to judge them, and nothing secret."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from fairlead.bench.config.shown import HIDDEN, is_secret_name, shown_text
from fairlead.bench.targets.preflight import Preflight

SECRET_OPTIONS = ("--key", "--header", "-H", "--api-key")


def environment(known: Sequence[Preflight] = ()) -> dict[str, object]:
    """Machine, kernel, versions, load before the run, the command line without keys, and what the targets are."""
    return {
        **({"targets": [one.environment() for one in known]} if known else {}),
        "host": platform.node(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_before": list(os.getloadavg()),
        "python": platform.python_version(),
        "fairlead": version("fairlead"),
        "uvloop": version("uvloop"),
        "command": command_line(sys.argv),
    }


def command_line(argv: list[str]) -> str:
    """As it was given, with the values of options that may hold secrets left out."""
    shown: list[str] = []
    for before, argument in zip(["", *argv], argv, strict=False):
        name, equals, value = argument.partition("=")
        hide = before in SECRET_OPTIONS or (before == "--set" and "headers" in name)
        if hide:
            shown.append(HIDDEN)
        elif equals and (name in SECRET_OPTIONS or (name == "--set" and "headers" in value)):
            shown.append(f"{name}={HIDDEN}")
        elif argument.startswith("-H") and argument != "-H":
            shown.append(f"-H{HIDDEN}")
        else:
            shown.append(shlex.quote(_shown(argument)))
    return " ".join(shown)


def _shown(argument: str) -> str:
    """Addresses without credentials, and without the values of fields that hold secrets (`--set …api_key=…`)."""
    option = "--set=" if argument.startswith("--set=") else ""
    name, equals, _ = argument.removeprefix(option).partition("=")
    if equals and "://" not in name and is_secret_name(name.rpartition(".")[2]):
        return f"{option}{name}={HIDDEN}"
    return shown_text(argument)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
