"""What every benchmark prints: figures against their goals and the machine they were taken on, as a table or JSON.

The machine is shared and noisy: a figure is a median or a ratio of repeated runs, never a single time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `better` is "lower" or "higher"; a figure without a goal is context for the others."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    better: str = "lower"
    met: bool | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.goal is not None:
            met = self.value <= self.goal if self.better == "lower" else self.value >= self.goal
            object.__setattr__(self, "met", met)


def machine() -> dict[str, Any]:
    """CPU model and count, memory, kernel and Python of this machine."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory_kib = int(Path("/proc/meminfo").read_text().split(maxsplit=2)[1])
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser that knows `--json`; add the script's own options to it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def report(figures: list[Figure], as_json: bool, notes: str = "") -> None:
    """Print the figures; the exit status is not affected by goals, as the machine is shared."""
    host = machine()
    if as_json:
        json.dump({"machine": host, "figures": [asdict(f) for f in figures]}, sys.stdout)
        print()
        return
    print(
        f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, "
        f"Python {host['python']}, load {host['load']:.1f}"
    )
    width = max(len(f.name) for f in figures)
    for f in figures:
        goal = "" if f.goal is None else f"   goal {'≤' if f.better == 'lower' else '≥'} {f.goal:g}"
        verdict = "" if f.met is None else ("   met" if f.met else "   NOT met")
        print(f"  {f.name:<{width}}  {f.value:>10.5g} {f.unit:<8}{goal}{verdict}")
    if notes:
        print(notes)
