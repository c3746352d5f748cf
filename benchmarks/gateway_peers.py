"""What two active pickers cost each other: CPU per request for telling, for hearing, and while nothing happens.

One process picks 4,000 times a second for prompts of 200 tokens and tells a second process of it, over a unix socket,
as pickers of one gateway do. The difference to the same without a peer is what telling costs.

    .venv/bin/python benchmarks/gateway_peers.py [--seconds 8] [--json]
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.report import Figure, arguments, report

ENDPOINTS = [f"10.0.0.{i}:8000" for i in range(10)]
PER_S = 4000
BLOCKS = 12
IN_FLIGHT = 200


def _peers(folder: Path, replica: str):  # type: ignore[no-untyped-def]
    from fairlead.gateway.load import LoadTable
    from fairlead.gateway.peers import Peers
    from fairlead.gateway.prefix import PrefixTree

    loads, tree = LoadTable(replica), PrefixTree()
    for address in ENDPOINTS:
        loads.of(address)
    return loads, Peers(loads, tree, lambda completion: None, tree=tree)


async def _run(folder: Path, replica: str, work: Callable, count: int) -> float:  # type: ignore[type-arg]
    """What `work(loads, peers)` answers, once `count` peers are listened to."""
    from fairlead.gateway.peers import FolderPeers, socket_in

    loads, peers = _peers(folder, replica)
    await peers.start(socket_in(folder, replica))
    task = asyncio.create_task(peers.run(FolderPeers(folder)))
    while len(peers.replicas) < count:  # noqa: ASYNC110 - another process starts
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    answer: float = await work(loads, peers)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return answer


async def _tell(loads, peers, seconds: float) -> float:  # type: ignore[no-untyped-def]
    """CPU microseconds per request."""
    from fairlead.gateway.prefix import PromptBlocks

    rng = random.Random(1)
    prompts = [
        PromptBlocks(np.frombuffer(rng.randbytes(8 * BLOCKS), "<u8").astype(np.uint64), 16.0, 1) for _ in range(2000)
    ]
    live: list[str] = []
    done = 0
    cpu_s, began_s = time.process_time(), time.monotonic()
    while time.monotonic() - began_s < seconds:
        for _ in range(PER_S // 100):
            address = ENDPOINTS[done % len(ENDPOINTS)]
            live.append(loads.picked(address, began_s, prompt_tokens=200))
            peers.prefixes.sent(address, prompts[done % len(prompts)])
            done += 1
        for pick in live[:-IN_FLIGHT]:
            loads.ended(pick)
        del live[:-IN_FLIGHT]
        await asyncio.sleep(0.01)
    return (time.process_time() - cpu_s) / done * 1e6


async def _hear(loads, peers, seconds: float) -> float:  # type: ignore[no-untyped-def]
    """CPU share in percent."""
    cpu_s, began_s = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (time.process_time() - cpu_s) / (time.monotonic() - began_s)


def _process(folder: Path, replica: str, tells: bool, count: int, seconds: float, answers) -> None:  # type: ignore[no-untyped-def]
    import uvloop

    work = _tell if tells else _hear
    answers.put(uvloop.run(_run(folder, replica, lambda loads, peers: work(loads, peers, seconds), count)))


def _measure(seconds: float, *processes: tuple[str, bool]) -> list[float]:
    """The answers of processes that are each other's peers: (name, whether it tells)."""
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for name, tells in processes:
            answers: multiprocessing.Queue[float] = multiprocessing.Queue()
            others = len(processes) - 1
            process = multiprocessing.Process(
                target=_process, args=(Path(folder), name, tells, others, seconds, answers)
            )
            process.start()
            started.append((process, answers))
        found = [answers.get(timeout=seconds + 60) for _, answers in started]
        for process, _ in started:
            process.join(30)
    return found


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=8, help="how long each case is measured")
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    (alone,) = _measure(options.seconds, ("a", True))
    told, heard = _measure(options.seconds, ("a", True), ("b", False))
    idle, _ = _measure(options.seconds, ("a", False), ("b", False))
    report(
        [
            Figure("telling a peer of a request", told - alone, "us", 10.0),
            Figure("hearing of a peer's request", heard * 1e4 / PER_S, "us", 20.0),
            Figure("both idle, each", idle, "% core", 1.0),
            Figure("counting and indexing a request, without peers", alone, "us"),
        ],
        options.json,
        f"{PER_S} requests a second, prompts of {BLOCKS} blocks, {len(ENDPOINTS)} endpoints",
    )


if __name__ == "__main__":
    main()
