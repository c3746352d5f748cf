"""The API server that trials share: the embedded one as a process, with the platform's definitions and runtimes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairlead.api import all_crds
from fairlead.kube.client import Client
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.serving.runtimes import install_runtimes

LIMIT_S = 60.0


@contextmanager
def api_server(folder: Path) -> Iterator[Path]:
    """Its kubeconfig."""
    log = folder / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "fairlead.cli.main", "apiserver", "--data", str(folder), "--api-port", "0"]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline_s = time.monotonic() + LIMIT_S
        while b"ready" not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.05)
        asyncio.run(_install(folder / "kubeconfig"))
        yield folder / "kubeconfig"
    finally:
        process.kill()
        process.wait(10)


async def _install(kubeconfig: Path) -> None:
    async with Client.load(kubeconfig) as client:
        for crd in all_crds():
            await client.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, force=True)
        await install_runtimes(client)
