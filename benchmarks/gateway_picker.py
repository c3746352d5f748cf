"""What the endpoint picker costs a request, how many it serves on one core, and how long they wait for it.

Ten simulated engines of a vLLM-compatible server, chat requests of about 200 tokens with shared system prompts, the
default profile with everything it scores, answers streamed.

- Through the real Envoy: CPU time of the picker and of Envoy per request, from /proc, and the time to the first byte
  against the same requests straight to one engine.
- On the picker's socket, by a driver that sends what Envoy sends (so that Envoy and the clients, which cost several
  times the picker, are not what is measured): calls a second of one core, the wait at 60 % of that, both also with
  prompts of 220 kB. Ends of requests are reported by access log as Envoy does.
- The same driver on the reference transport (grpcio's asyncio server), as the comparison.

Published for llm-d's router (Go), 10 simulated pods, 200-token prompts, 500 requests/s: 3.6 to 4.9 cores, 7 to 10 ms of
CPU a request; 220 kB prompts: about 130 requests/s.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from fairlead.gateway.envoy import command, picker_socket
from harness.report import Figure, arguments, report

ENDPOINTS = 10
REQUIRED_PER_S = 4000.0
_CORES = sorted(os.sched_getaffinity(0))
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_WORDS = ("ship", "harbour", "dawn", "nobody", "pier", "could", "say", "where", "bound", "for", "left", "before")


def prompts(count: int, body_bytes: int | None = None) -> list[str]:
    """Chat bodies of about 200 tokens (or of a size), one of eight system prompts each."""
    bodies = []
    for index in range(count):
        system = f"You are assistant number {index % 8}. " + " ".join(_WORDS * 4)
        asked = f"Question {index}: " + " ".join(_WORDS[(index + n) % len(_WORDS)] for n in range(80))
        if body_bytes is not None:
            asked += " ".join(_WORDS[(index * 7 + n) % len(_WORDS)] for n in range(body_bytes // 5))[:body_bytes]
        messages = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
        bodies.append(json.dumps({"model": "tiny", "messages": messages, "stream": True, "max_tokens": 8}))
    return bodies


@dataclass
class Setup:
    """The processes of one measurement."""

    folder: Path
    engines: list[str]
    picker: subprocess.Popen[bytes]

    def picker_cpu_s(self) -> float:
        return cpu_s(self.picker.pid)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


@contextlib.contextmanager
def engines(count: int) -> Iterator[list[str]]:
    """Simulated engines that answer at once."""
    argv = [
        sys.executable, "-m", "fairlead.simulator.server", "--host", "127.0.0.1", "--port", "0", "--model", "tiny",
        "--ttft-ms", "5", "--itl-ms", "2", "--num-gpu-blocks", "200000",
    ]  # fmt: skip
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        addresses = []
        for process in processes:
            assert process.stdout is not None
            addresses.append(f"127.0.0.1:{int(process.stdout.readline().split()[-1])}")
        yield addresses
    finally:
        end(processes)


@contextlib.contextmanager
def picker(folder: Path, addresses: list[str], *, transport: str = "fast", core: int | None = None) -> Iterator[Setup]:
    pool = {"key": "bench/tiny", "models": ["tiny"], "runtime": "simulated", "endpoints": addresses}
    (folder / "pools.json").write_text(json.dumps({"pools": [pool]}))
    argv = [
        sys.executable, "-m", "fairlead.gateway", "--endpoints", str(folder / "pools.json"), "--data", str(folder),
        "--transport", transport,
    ]  # fmt: skip
    process = subprocess.Popen(argv)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    try:
        wait_until(lambda: picker_socket(folder).exists(), "the picker's socket")
        time.sleep(1.0)
        yield Setup(folder, addresses, process)
    finally:
        end([process])


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def wait_until(ready: object, what: str) -> None:
    deadline = time.monotonic() + 20
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come")
        time.sleep(0.02)


def drive(module: str, folder: Path, wanted: dict[str, object]) -> dict[str, float]:
    """Run a driver of the harness as a process of its own."""
    path = folder / f"{module}.json"
    path.write_text(json.dumps(wanted))
    argv = [sys.executable, "-m", f"harness.{module}", str(path)]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(argv, capture_output=True, env=here, timeout=180, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return dict(json.loads(done.stdout))


def through_envoy(rate_per_s: float, seconds: float, rounds: int) -> list[Figure]:
    """CPU per request with the real Envoy and streamed answers."""
    picker_ms, envoy_ms, added_ms = [], [], []
    with tempfile.TemporaryDirectory() as name, engines(ENDPOINTS) as addresses:
        folder = Path(name)
        with picker(folder, addresses) as setup, socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            probe.close()
            envoy = subprocess.Popen(command(folder, port, concurrency=1))
            try:
                wait_until(lambda: _answers(port), "Envoy")
                wanted = {"host": "127.0.0.1", "bodies": prompts(256), "rate_per_s": rate_per_s, "seconds": seconds}
                drive("stream_load", folder, {**wanted, "port": port, "seconds": 2.0})
                for _ in range(rounds):
                    before = setup.picker_cpu_s(), cpu_s(envoy.pid)
                    result = drive("stream_load", folder, {**wanted, "port": port})
                    if result["failed"]:
                        raise RuntimeError(f"{result['failed']} requests failed")
                    picker_ms.append((setup.picker_cpu_s() - before[0]) / result["requests"] * 1e3)
                    envoy_ms.append((cpu_s(envoy.pid) - before[1]) / result["requests"] * 1e3)
                    direct = drive(
                        "stream_load", folder,
                        {**wanted, "port": int(addresses[0].rpartition(":")[2]), "rate_per_s": rate_per_s / ENDPOINTS},
                    )  # fmt: skip
                    added_ms.append(result["p50_ms"] - direct["p50_ms"])
            finally:
                end([envoy])
    return [
        Figure("picker CPU per request through Envoy, streamed", statistics.median(picker_ms), "ms", 0.2),
        Figure("Envoy CPU per request", statistics.median(envoy_ms), "ms"),
        Figure("time to first byte added by Envoy and picker, p50", statistics.median(added_ms), "ms"),
    ]


@dataclass(frozen=True)
class OnSocket:
    """Medians: calls a second of one core, CPU a call, and the wait (p50, p95) at 60 % of that rate and at a rate."""

    per_s: float
    cpu_ms: float
    p50_ms: float
    p95_ms: float
    given_p50_ms: float
    given_p95_ms: float
    given_cpu_ms: float


def on_the_socket(transport: str, bodies: list[str], seconds: float, rounds: int, given_per_s: float) -> OnSocket:
    """Measure a picker with ten idle engines."""
    found: list[OnSocket] = []
    with tempfile.TemporaryDirectory() as name, engines(ENDPOINTS) as addresses:
        folder = Path(name)
        with picker(folder, addresses, transport=transport, core=_CORES[0]) as setup:
            # Ends are reported at once: what long prompts would hold of KV caches is not what is measured here.
            load = {"socket_path": str(picker_socket(folder)), "bodies": bodies, "core": _CORES[-1], "hold_s": 0.0}
            drive("extproc_load", folder, {**load, "rate_per_s": 1e5, "seconds": 1.5, "max_open": 32})
            for _ in range(rounds):
                before_s = setup.picker_cpu_s()
                full = drive("extproc_load", folder, {**load, "rate_per_s": 1e5, "seconds": seconds, "max_open": 32})
                cpu_ms = (setup.picker_cpu_s() - before_s) / full["calls"] * 1e3
                rate = 0.6 * full["per_s"]
                steady = drive("extproc_load", folder, {**load, "rate_per_s": rate, "seconds": seconds})
                before_s = setup.picker_cpu_s()
                given = drive("extproc_load", folder, {**load, "rate_per_s": given_per_s, "seconds": seconds})
                given_cpu_ms = (setup.picker_cpu_s() - before_s) / given["calls"] * 1e3
                found.append(
                    OnSocket(
                        full["per_s"], cpu_ms, steady["p50_ms"], steady["p95_ms"], given["p50_ms"], given["p95_ms"],
                        given_cpu_ms,
                    )
                )  # fmt: skip
    return OnSocket(*(statistics.median(values) for values in zip(*map(astuple, found), strict=True)))


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second through Envoy")
    options = parser.parse_args()
    seconds, rounds = options.seconds, options.rounds
    figures = through_envoy(options.rate, seconds, rounds)
    small, large = prompts(256), prompts(16, 220_000)
    one = on_the_socket("fast", small, seconds, rounds, 0.6 * REQUIRED_PER_S)
    figures += [
        Figure("requests/s on one core, 200-token prompts", one.per_s, "1/s", REQUIRED_PER_S, "higher"),
        Figure("picker CPU per request at that rate", one.cpu_ms, "ms", 0.2),
        Figure("wait for the picker at 60 % of it, p50", one.p50_ms, "ms", 1.0),
        Figure("wait for the picker at 60 % of it, p95", one.p95_ms, "ms", 4.0),
        Figure("… at 60 % of the rate that is the goal, p50", one.given_p50_ms, "ms", 1.0),
        Figure("… at 60 % of the rate that is the goal, p95", one.given_p95_ms, "ms", 4.0),
        Figure("… CPU per request", one.given_cpu_ms, "ms"),
    ]
    reference = on_the_socket("grpcio", small, seconds, 1, 500.0)
    figures += [
        Figure("the same on the reference transport (grpcio)", reference.per_s, "1/s"),
        Figure("its CPU per request", reference.cpu_ms, "ms"),
    ]
    seldom = on_the_socket("fast", small, seconds, 1, 500.0)
    figures.append(
        Figure("picker CPU per request at 500 requests/s, a core that often sleeps", seldom.given_cpu_ms, "ms")
    )
    long = on_the_socket("fast", large, seconds, rounds, 480.0)
    figures += [
        Figure("requests/s on one core, 220 kB prompts", long.per_s, "1/s", 800, "higher"),
        Figure("picker CPU per 220 kB request", long.cpu_ms, "ms"),
        Figure("wait for the picker at 60 % of it, p95", long.p95_ms, "ms"),
    ]
    report(figures, options.json)


if __name__ == "__main__":
    main()
