"""The supervisor itself, with real processes in place of the components."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from fairlead.clock import SYSTEM
from fairlead.embedded.apiserver import credentials as apiserver
from fairlead.embedded.supervisor import supervisor as module
from fairlead.embedded.supervisor.component import Component, Ports
from fairlead.embedded.supervisor.supervisor import Supervisor
from patience import PATIENCE_S


def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *scripts: str) -> Supervisor:
    """A supervisor of one Python process per script."""
    parts = tuple(Component(f"part{n}", (sys.executable, "-c", s), stop_grace_s=2.0) for n, s in enumerate(scripts))
    monkeypatch.setattr(module, "components", lambda *_: parts)
    monkeypatch.setattr(module, "stop_pods_command", lambda _: ("true",))
    write_kubeconfig(tmp_path, port=1)
    return Supervisor(tmp_path, Ports(1, 2), "1")


def write_kubeconfig(folder: Path, port: int) -> None:
    url = f"https://127.0.0.1:{port}"
    apiserver.write_kubeconfig(folder / "kubeconfig", apiserver.load_or_create(folder, "127.0.0.1", SYSTEM), url)


async def until(condition, timeout_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await SYSTEM.sleep(0.02)


async def test_a_component_that_cannot_start_fails_the_start_with_its_last_words(tmp_path, monkeypatch) -> None:
    supervisor = supervised(tmp_path, monkeypatch, "import sys; print('port 1 is in use'); sys.exit(1)")
    async with asyncio.timeout(PATIENCE_S):
        await supervisor.run()
    assert supervisor.state.phase == "failed"
    assert supervisor.state.message == "part0 ended with exit code 1: port 1 is in use"


async def test_what_is_killed_comes_back_and_what_stops_leaves_nothing(tmp_path, monkeypatch) -> None:
    sleeper = "import time; time.sleep(60)"
    supervisor = supervised(tmp_path, monkeypatch, sleeper, sleeper)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: all(c.process for c in supervisor.state.components))
    first = supervisor.state.components[1].process
    assert first is not None
    first.signal(module.signal.SIGKILL)
    await until(lambda: supervisor.state.components[1].process not in (None, first))
    assert supervisor.state.components[1].last_exit == "was ended by SIGKILL"
    assert supervisor.state.components[0].restarts == 0
    left = [c.process for c in supervisor.state.components]
    supervisor.stop()
    async with asyncio.timeout(PATIENCE_S):
        await running
    assert not any(p.alive() for p in left if p)


async def test_a_component_that_ignores_sigterm_is_killed(tmp_path, monkeypatch) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    supervisor = supervised(tmp_path, monkeypatch, stubborn)
    running = asyncio.create_task(supervisor.run())
    log = tmp_path / "logs" / "part0.log"
    await until(lambda: supervisor.state.components[0].process and log.exists() and "deaf" in log.read_text())
    process = supervisor.state.components[0].process
    supervisor.stop()
    async with asyncio.timeout(PATIENCE_S):
        await running
    assert process is not None and not process.alive()


async def test_nothing_starts_with_the_address_of_an_earlier_run(tmp_path, monkeypatch) -> None:
    sleeper = "import time; time.sleep(60)"
    supervisor = supervised(tmp_path, monkeypatch, sleeper, sleeper)
    write_kubeconfig(tmp_path, port=11)
    running = asyncio.create_task(supervisor.run())
    server, other = supervisor.state.components
    await until(lambda: server.process is not None)
    await asyncio.sleep(0.2)
    assert other.process is None
    write_kubeconfig(tmp_path, port=1)
    await until(lambda: other.process is not None)
    supervisor.stop()
    async with asyncio.timeout(PATIENCE_S):
        await running
