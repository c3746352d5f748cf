"""Where a run was made: what a reader of its figures needs to judge them, and nothing secret."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

SECRET_OPTIONS = ("--key", "--header", "--api-key")


def environment() -> dict[str, object]:
    """Machine, kernel, versions, load before the run, and the command line without keys."""
    return {
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
    """As it was given, with the values of options that hold secrets left out."""
    shown: list[str] = []
    hide = False
    for argument in argv:
        name, equals, _ = argument.partition("=")
        if hide:
            shown.append("(not shown)")
        elif name in SECRET_OPTIONS and equals:
            shown.append(f"{name}=(not shown)")
        else:
            shown.append(argument)
        hide = argument in SECRET_OPTIONS
    return " ".join("(not shown)" if s == "(not shown)" else shlex.quote(s) for s in shown)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
