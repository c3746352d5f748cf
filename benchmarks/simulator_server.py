"""What the simulated server holds: streams at 30 tokens a second, CPU per token, and how exactly they are timed.

The server is a process of its own; the client another, which only counts events as they are read. Timing is compared
with the engine's own iterations: the engine is driven again, in virtual time, with the moments at which the server
took the requests (`--submit-log`), and gives the moment of every token.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path

from fairlead.simulator.engine import Engine, EngineSettings
from fairlead.simulator.server.journal import read_journal, replay
from fairlead.simulator.server.pace import PacedCost
from harness.report import Figure, arguments, report

ITL_MS = 1000 / 30
_CORES = sorted(os.sched_getaffinity(0))
_HEAD = (
    "POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Request-Id: {index}\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\n\r\n{body}"
)


class Reader:
    """One stream, read raw: when bytes came, and how many events they held."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self.reads: list[tuple[float, int]] = []
        self.tail = b""

    def read(self) -> bool:
        """Take what is there; False when the answer is over."""
        data = self.socket.recv(65536)
        events = data.count(b"data: {")
        if events:
            self.reads.append((time.monotonic(), events))
        over = not data or b"[DONE]" in data or b"[DONE]" in self.tail + data[:8]
        self.tail = data[-8:]
        return not over


def _read_all(readers: dict[int, Reader], epoll: select.epoll, until_s: float, *, stop_at_s: float = inf) -> None:
    """Read from every stream that has something, until all are over or it is time for something else."""
    while readers and (now_s := time.monotonic()) < stop_at_s:
        if now_s > until_s:
            raise TimeoutError(f"{len(readers)} streams did not end")
        for number, _ in epoll.poll(min(1.0, stop_at_s - now_s)):
            reader = readers[number]
            try:
                going_on = reader.read()
            except BlockingIOError:
                continue
            if not going_on:
                epoll.unregister(number)
                del readers[number]
                reader.socket.close()


@dataclass(frozen=True)
class Run:
    """What one load showed. `errors_ms` is how much later than the engine's token each event was read; `rates` are
    tokens/s of the streams that came whole; `waited_s` is how long the server was ready to run and had no core."""

    streams: int
    tokens: int
    duration_s: float
    cpu_s: float
    waited_s: float
    rates: list[float]
    errors_ms: list[float]

    @property
    def held(self) -> int:
        """Streams that came whole and in time."""
        return sum(rate >= 0.98 * 1000 / ITL_MS for rate in self.rates)


def _start(log: Path, seqs: int) -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(
        [
            sys.executable, "-m", "fairlead.simulator.server", "--port", "0", "--model", "m",
            "--max-num-seqs", str(seqs), "--ttft-ms", str(ITL_MS), "--itl-ms", str(ITL_MS),
            "--submit-log", str(log), "--num-gpu-blocks", "200000",
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    # One core for the server, the others for the client: what is measured is not who shares a core with whom.
    if len(_CORES) > 1:
        os.sched_setaffinity(process.pid, _CORES[:1])
        os.sched_setaffinity(0, _CORES[1:])
    return process, int(process.stdout.readline().split()[-1])


def _settings(seqs: int) -> EngineSettings:
    """What the server's flags come to."""
    return EngineSettings(
        num_blocks=200_000, max_num_seqs=seqs, max_num_batched_tokens=max(2048, seqs), async_scheduling=False
    )


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _waited_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def _load(streams: int, tokens: int) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "tokens"
        process, port = _start(log, streams)
        epoll, readers = select.epoll(), []
        going_on: dict[int, Reader] = {}
        until_s = time.monotonic() + 60
        try:
            for index in range(streams):
                fields = {"model": "m", "prompt": f"s{index}", "max_tokens": tokens, "ignore_eos": True, "stream": True}
                body = json.dumps(fields)
                reader = Reader(port, _HEAD.format(index=index, length=len(body), body=body).encode())
                readers.append(reader)
                going_on[reader.socket.fileno()] = reader
                epoll.register(reader.socket.fileno(), select.EPOLLIN)
                if index % 10 == 9:
                    _read_all(going_on, epoll, until_s, stop_at_s=time.monotonic() + 0.005)
            before_s, waited_s, began_s = _cpu_s(process.pid), _waited_s(process.pid), time.monotonic()
            at_start = sum(events for reader in readers for _, events in reader.reads)
            _read_all(going_on, epoll, until_s)
            duration_s, cpu_s = time.monotonic() - began_s, _cpu_s(process.pid) - before_s
            waited_s = _waited_s(process.pid) - waited_s
        finally:
            process.terminate()
            process.wait()
        expected = replay(read_journal(log), [Engine(_settings(streams), PacedCost(ITL_MS / 1000, ITL_MS / 1000))])
    read = [sum(events for _, events in reader.reads) for reader in readers]
    rates = [
        (tokens - 1) / (reader.reads[-1][0] - reader.reads[0][0])
        for reader, count in zip(readers, read, strict=True)
        if count == tokens
    ]
    errors = [
        error for index, reader in enumerate(readers) for error in _errors_ms(reader.reads, expected[f"cmpl-{index}"])
    ]
    return Run(streams, sum(read) - at_start, duration_s, cpu_s, waited_s, rates, errors)


def _errors_ms(reads: list[tuple[float, int]], expected: list[float]) -> list[float]:
    """Client and server share the machine's monotonic clock."""
    moments = [at for at, events in reads for _ in range(events)]
    return [(at - due) * 1000 for at, due in zip(moments, expected, strict=False)]


def _quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each of the two loads runs")
    options = parser.parse_args()
    tokens = max(30, int(options.seconds * 1000 / ITL_MS))
    timed, held = _load(500, tokens), _load(options.streams, tokens)
    report(
        [
            Figure("streams held at 30 tokens/s", held.held, "streams", 1000, "higher"),
            Figure("slowest stream", min(held.rates, default=0.0), "tokens/s"),
            Figure("server CPU per token", held.cpu_s / held.tokens * 1e6, "µs"),
            Figure("server CPU of one core", held.cpu_s / held.duration_s, "share", 1.0),
            Figure("timing error p50, 500 streams", _quantile(timed.errors_ms, 0.5), "ms"),
            Figure("timing error p99, 500 streams", _quantile(timed.errors_ms, 0.99), "ms", 10),
            Figure("server ready but without a core", timed.waited_s / timed.duration_s, "share"),
            Figure("timing error p99, all streams", _quantile(held.errors_ms, 0.99), "ms"),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
