"""A load generator as a process from outside: what arrived at the server and when, and what CPU and memory its
processes took."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fairlead.bench.check.witness import Evenness, Served, evenness, served
from harness.processes import processes_of

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_S = 0.2


@dataclass
class Seen:
    """`samples`: time, CPU seconds and resident bytes of all processes together. Times are CLOCK_MONOTONIC. `code`
    None: it had not ended within its time, and was killed. `server_share`: of the server's core while requests came."""

    began_s: float
    code: int | None = None
    said: str = ""
    arrivals: list[float] = field(default_factory=list)
    served: Served = field(default_factory=lambda: Served((), ()))
    samples: list[tuple[float, float, int]] = field(default_factory=list)
    server_share: float = 0.0

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
        during = [(at_s, cpu_s) for at_s, cpu_s, _ in self.samples if self.arrivals[0] <= at_s <= self.arrivals[-1]]
        if len(during) < 2:
            return float("nan")
        (first_s, first_cpu_s), (last_s, last_cpu_s) = during[0], during[-1]
        arrived = sum(first_s <= at_s < last_s for at_s in self.arrivals)
        return (last_cpu_s - first_cpu_s) / max(1, arrived)

    def evenness(self, rate_per_s: float) -> Evenness:
        return evenness(self.arrivals, rate_per_s)


@contextlib.contextmanager
def null_server(core: int | None = None, seconds: float = 1800.0) -> Iterator[int]:
    """The port of a null server (TTFT 20 ms, gaps of 5 ms), pinned to a core where one is given; it goes before what
    else runs, where that is permitted."""
    command = [sys.executable, "-m", "fairlead.bench.check.null_server", "--seconds", str(seconds), "--first"]
    if core is not None:
        command += ["--core", str(core)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def observe(
    command: list[str], port: int, requests: int, limit_s: float, core: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Seen:  # fmt: skip
    """Run a load generator to its end, or to the limit, against the null server of that port. Of the arrivals the last
    `requests` count: some tools try the server before they begin."""
    for path in ("/arrivals", "/served"):  # what came before is not this one's
        _floats(port, path)
    server_s = _server_cpu_s(port)
    pinned = ["taskset", "-c", str(core), *command] if core is not None else command
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            pinned, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        seen = Seen(time.monotonic())
        try:
            while process.poll() is None and time.monotonic() - seen.began_s < limit_s:
                seen.samples.append((time.monotonic(), *_taken(process.pid)))
                time.sleep(_SAMPLE_S)
            seen.code = process.poll()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left behind, too
            process.wait()
        output.seek(0)
        seen.said = output.read()[-20_000:].decode(errors="replace")
    seen.arrivals = sorted(_floats(port, "/arrivals"))[-requests:]
    seen.served = served(_floats(port, "/served"))
    if len(seen.arrivals) > 1:
        seen.server_share = (_server_cpu_s(port) - server_s) / (seen.arrivals[-1] - seen.arrivals[0])
    return seen


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return bytes(answer.read())


def _floats(port: int, path: str) -> array[float]:
    found = array("d")
    found.frombytes(_get(port, path))
    return found


def _server_cpu_s(port: int) -> float:
    return float(json.loads(_get(port, "/usage"))["cpu_s"])


def _taken(session: int) -> tuple[float, int]:
    """CPU seconds and resident bytes of all processes of a session; of those that ended, through their parents. What
    several processes share is counted with each of them."""
    cpu, rss = 0.0, 0
    for _, fields in processes_of(session):
        cpu += sum(int(value) for value in fields[11:15]) / _TICKS
        rss += int(fields[21]) * _PAGE
    return cpu, rss
