"""What a program and its children keep in memory, looked at from outside while they run.

A page that several processes share is counted once in the proportional set size (PSS, `smaps_rollup`), and once for
each process in the resident set size (RSS): both are stated, as tools differ in which one they mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.processes import processes_of


@dataclass(frozen=True, slots=True)
class Look:
    """All processes of a session at one time (CLOCK_MONOTONIC): sums in bytes, and the command line of each by pid."""

    at_s: float
    pss_bytes: int
    rss_bytes: int
    commands: dict[int, str]


def look(session: int) -> Look:
    """At all processes of a session. One that ends meanwhile counts as far as it could be read."""
    pss = rss = 0
    commands: dict[int, str] = {}
    for pid, _ in processes_of(session):
        try:
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError):
            continue
        if "Pss" in fields:
            pss += int(fields["Pss"].split()[0]) * 1024
            rss += int(fields["Rss"].split()[0]) * 1024
            commands[pid] = command.strip()
    return Look(time.monotonic(), pss, rss, commands)


def looks(session: int, until: Callable[[], bool], every_s: float = 0.05) -> list[Look]:
    """One each `every_s` until it is over."""
    found = []
    while not until():
        found.append(look(session))
        time.sleep(every_s)
    return found
