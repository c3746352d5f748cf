"""Folders are watched with inotify, and looked at where there is none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairlead.embedded.agent.dra.folder_watch import FolderWatch
from patience import PATIENCE_S


@pytest.mark.parametrize("use_inotify", [True, False])
async def test_changes_of_any_folder_are_told(tmp_path: Path, use_inotify: bool):
    watch = FolderWatch(use_inotify=use_inotify)
    told = [asyncio.Event() for _ in range(50)]
    for number, event in enumerate(told):
        watch.add(tmp_path / f"node-{number}" / "plugins_registry", event.set)
    running = asyncio.create_task(watch.run())
    try:
        for number in (0, 17, 49):
            path = tmp_path / f"node-{number}" / "plugins_registry" / "x"
            for change in (path.touch, path.unlink):
                told[number].clear()
                change()
                await asyncio.wait_for(told[number].wait(), PATIENCE_S)
    finally:
        running.cancel()
