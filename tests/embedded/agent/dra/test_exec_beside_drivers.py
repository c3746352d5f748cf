"""Programs start in containers while the agent speaks gRPC with a driver: its threads are no part of a new process."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable

import pytest
from agent_platform import NODE, Cluster, is_ready, shell
from dra_bench import USES, Driver, allocate, run_with_claim

from patience import PATIENCE_S

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")


async def test_every_exec_runs(cluster: Cluster, driver: Callable[..., Driver]):
    gpu = driver()
    gpu.describe({"name": "gpu-0", "containerEdits": {"env": ["GPU=zero"]}})
    gpu.give("one")
    gpu.start()
    await allocate(cluster, "one", (gpu.name, NODE, "gpu-0"))
    await run_with_claim(cluster, "many", "one", shell("sleep 600", **USES))
    await cluster.until("many", is_ready)
    environment = {**os.environ, "KUBECONFIG": str(cluster.platform.kubeconfig)}

    def run(_: int) -> tuple[int, bytes]:
        command = ["kubectl", "exec", "many", "--", "sh", "-c", "echo $GPU"]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, env=environment)
        return done.returncode, done.stdout

    for _ in range(10):
        answers = await asyncio.gather(*(asyncio.to_thread(run, number) for number in range(4)))
        assert answers == [(0, b"zero\n")] * 4
