"""A load generator as a process from outside: when its requests arrived, and what CPU and memory its processes took."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.bench.check.witness import Evenness, evenness

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Seen:
    """`samples`: time, CPU seconds and resident bytes of all processes together. Times are CLOCK_MONOTONIC."""

    began_s: float
    code: int
    said: str
    arrivals: list[float]
    samples: list[tuple[float, float, int]] = field(default_factory=list)

    @property
    def start_s(self) -> float:
        """From the start of the program to the first request of its load at the server."""
        return self.arrivals[0] - self.began_s

    @property
    def rate_per_s(self) -> float:
        return (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])

    @property
    def max_rss_bytes(self) -> int:
        return max((rss for _, _, rss in self.samples), default=0)

    @property
    def cpu_s_per_request(self) -> float:
        """Between the first and the last arrival: the start of a program is no part of what a request costs."""
        during = [cpu_s for at_s, cpu_s, _ in self.samples if self.arrivals[0] <= at_s <= self.arrivals[-1]]
        return (during[-1] - during[0]) / len(self.arrivals) if len(during) > 1 else float("nan")

    def evenness(self, rate_per_s: float) -> Evenness:
        return evenness(self.arrivals, rate_per_s)


@contextlib.contextmanager
def null_server(core: int | None = None, seconds: float = 1800.0) -> Iterator[int]:
    """The port of a null server (TTFT 20 ms, gaps of 5 ms), pinned to a core where one is given."""
    command = [sys.executable, "-m", "fairlead.bench.check.null_server", "--seconds", str(seconds)]
    if core is not None:
        command += ["--core", str(core)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def observe(command: list[str], port: int, requests: int, limit_s: float, core: int | None = None) -> Seen:
    """Run a load generator to its end, or to the limit, against the null server of that port. Of the arrivals the last
    `requests` count: some tools try the server before they begin."""
    _arrivals(port)
    pinned = ["taskset", "-c", str(core), *command] if core is not None else command
    with tempfile.TemporaryFile() as output:
        began_s = time.monotonic()
        process = subprocess.Popen(pinned, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        seen = Seen(began_s, -1, "", [])
        while process.poll() is None and time.monotonic() - began_s < limit_s:
            seen.samples.append((time.monotonic(), *_taken(process.pid)))
            time.sleep(0.2)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        seen.code = process.wait()
        output.seek(0)
        seen.said = output.read()[-2000:].decode(errors="replace")
    seen.arrivals = _arrivals(port)[-requests:]
    return seen


def _arrivals(port: int) -> list[float]:
    found = array("d")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/arrivals") as answer:
        found.frombytes(answer.read())
    return sorted(found)


def _taken(session: int) -> tuple[float, int]:
    """CPU seconds and resident bytes of all processes of a session; of those that ended, through their parents."""
    cpu, rss = 0.0, 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            cpu += sum(int(value) for value in fields[11:15]) / _TICKS
            rss += int(fields[21]) * _PAGE
    return cpu, rss
