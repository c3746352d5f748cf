"""What a container costs on a node agent: from the runtime's call until its program runs, plain and with a volume
mounted in a namespace of its own, beside the same program started by `subprocess`; and the shim's memory."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from fairlead.clock import SYSTEM
from fairlead.embedded.agent.container import Container
from fairlead.embedded.agent.mount_check import check_mounts
from fairlead.embedded.agent.runtime import ProcessRuntime
from harness.report import Figure, arguments, report

GOAL_MS = 50.0


def _config(folder: Path, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    meta = {"id": f"process://{folder.name}", "name": "app", "pod_uid": "bench", "attempt": 0, "image": "busybox"}
    return {
        "argv": ["sleep", "60"],
        "env": {"PATH": os.environ["PATH"]},
        "cwd": "/",
        "log": str(folder / "0.log"),
        "log_max_bytes": 1 << 20,
        "log_max_files": 2,
        "mounts": mounts,
        "meta": {**meta, "image_id": "busybox:latest", "created_at": SYSTEM.wall_s()},
    }


async def _start(runtime: ProcessRuntime, folder: Path, mounts: list[dict[str, Any]]) -> tuple[float, Container]:
    began_s = SYSTEM.monotonic_s()
    container = await runtime.start(folder, _config(folder, mounts))
    return (SYSTEM.monotonic_s() - began_s) * 1000, container


def _bare_ms() -> float:
    began_s = SYSTEM.monotonic_s()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        took_ms = (SYSTEM.monotonic_s() - began_s) * 1000
        process.kill()
    return took_ms


def _private_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def measure(rounds: int) -> list[Figure]:
    can_mount, _ = await asyncio.to_thread(check_mounts)
    runtime = ProcessRuntime()
    plain, mounted, bare, memory = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as root:
        volume = Path(root, "volume")
        await asyncio.to_thread(volume.mkdir)
        mounts = [
            {"source": str(volume), "target": "/var/run/secrets/bench"},
            {"source": str(volume), "target": "/bench"},
        ]
        for number in range(rounds):
            took_ms, container = await _start(runtime, Path(root, f"plain-{number}"), [])
            plain.append(took_ms)
            memory.append(_private_mib(container.shim_pid))
            runtime.kill(container)
            await runtime.wait(container)
            if can_mount:
                took_ms, container = await _start(runtime, Path(root, f"mounted-{number}"), mounts)
                mounted.append(took_ms)
                runtime.kill(container)
                await runtime.wait(container)
            bare.append(await asyncio.to_thread(_bare_ms))
    figures = [Figure("container start, median", statistics.median(plain), "ms", GOAL_MS)]
    if mounted:
        figures.append(Figure("container start with two volumes, median", statistics.median(mounted), "ms", GOAL_MS))
    figures.append(Figure("the same program by subprocess, median", statistics.median(bare), "ms"))
    figures.append(Figure("memory of a container's shim, median", statistics.median(memory), "MiB"))
    return figures


def main() -> None:
    parser = arguments("The cost of a container on a node agent.")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    report(asyncio.run(measure(given.rounds)), given.json)


if __name__ == "__main__":
    main()
