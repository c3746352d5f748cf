from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from fairlead.kube.controller import Controller
from fairlead.kube.informer import Informers
from fairlead.kube.resources import ObjectKey
from fairlead.kube.run import run_controllers, run_elected, run_until_signal
from patience import PATIENCE_S


async def test_a_signal_cancels_the_work_and_waits_for_its_end() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            ended = True

    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_S):
        await run_until_signal(work())
    assert ended


async def test_work_that_ends_or_fails_by_itself() -> None:
    async def work() -> None: ...

    async def fail() -> None:
        raise ValueError("broken")

    await run_until_signal(work())
    with pytest.raises(ValueError, match="broken"):
        await run_until_signal(fail())


async def test_without_election_work_starts_at_once() -> None:
    started: list[str] = []

    async def start() -> None:
        started.append("yes")

    await run_elected(None, start)
    assert started == ["yes"]


async def test_one_failing_loop_ends_all(scripted_client: Any) -> None:
    async def reconcile(key: ObjectKey) -> None: ...

    async def broken() -> None:
        await asyncio.sleep(0.02)
        raise ValueError("broken")

    informers = Informers(scripted_client)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ExceptionGroup) as caught:
            await run_controllers(informers, [Controller("idle", reconcile)], beside=[broken])
    assert caught.group_contains(ValueError, match="broken")


def test_a_second_signal_does_not_lose_the_first() -> None:
    program = (
        "import asyncio, os, signal\n"
        "from fairlead.kube.run import run_until_signal\n"
        "async def work():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    await asyncio.sleep(30)\n"
        "asyncio.run(run_until_signal(work()))\n"
        "print('clean')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout.strip()) == (0, "clean"), done.stderr
