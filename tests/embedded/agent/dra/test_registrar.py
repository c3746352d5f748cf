"""What a registrar makes of its folder when the machine is in trouble."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.embedded.agent.dra import registrar as module
from fairlead.embedded.agent.dra.plugins import Plugins
from fairlead.embedded.agent.dra.registrar import Registrar
from patience import PATIENCE_S


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir="/tmp", prefix="reg-"))
    yield made
    shutil.rmtree(made)


def registrar(folder: Path) -> Registrar:
    return Registrar(
        folder,
        Plugins(lambda driver: None),
        serve=lambda plugin: asyncio.create_task(asyncio.sleep(0)),
        report=lambda message: None,
        observe=lambda *_: None,
    )


def kept() -> set[str]:
    """Sockets that a registrar cares for."""
    names = {task.get_name() for task in asyncio.all_tasks() if not task.cancelling()}
    return {name.removeprefix("plugin at ") for name in names if name.startswith("plugin at ")}


async def test_no_driver_is_let_go_because_files_cannot_be_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0.05)
    used = registrar(folder)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(str(folder / "a.sock"))
        used.look()
        await asyncio.sleep(0)
        assert kept() == {str(folder / "a.sock")}
        second.bind(str(folder / "b.sock"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            used.look()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert kept() == {str(folder / "a.sock")}
        assert "cannot be looked through, trying again: [Errno 24] Too many open files" in caplog.text
        async with asyncio.timeout(PATIENCE_S):
            while len(kept()) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    await used.stop()
    assert kept() == set()


async def test_a_link_that_leads_nowhere_hides_no_socket(folder: Path) -> None:
    used = registrar(folder)
    os.symlink(folder / "loop", folder / "loop")
    os.symlink(folder / "nothing", folder / "link")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "a.sock"))
        used.look()
        assert kept() == {str(folder / "a.sock")}
    shutil.rmtree(folder)
    used.look()
    assert kept() == set()
    os.mkdir(folder)
    await used.stop()
