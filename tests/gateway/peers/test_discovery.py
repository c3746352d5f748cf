"""Where peers are found."""

import asyncio

import pytest

from fairlead.gateway.peers import FolderPeers, StaticPeers, discovery, socket_in
from fairlead.gateway.peers.place import host_and_port
from patience import PATIENCE_S


async def test_a_folder_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery, "POLL_INTERVAL_S", 0.005)
    heard = []
    task = asyncio.create_task(FolderPeers(tmp_path).run(heard.append))
    path = tmp_path / "a.peer.sock"
    async with asyncio.timeout(PATIENCE_S):
        while heard != [[]]:  # noqa: ASYNC110 - a folder is polled
            await asyncio.sleep(0.005)
        path.touch()
        (tmp_path / "picker.sock").touch()
        while heard != [[], [socket_in(tmp_path, "a")]]:  # noqa: ASYNC110 - a folder is polled
            await asyncio.sleep(0.005)
        path.unlink()
        while heard[-1]:  # noqa: ASYNC110 - a folder is polled
            await asyncio.sleep(0.005)
    task.cancel()


async def test_a_list_is_told_once():
    heard = []
    task = asyncio.create_task(StaticPeers(["a:1"]).run(heard.append))
    await asyncio.sleep(0.01)
    task.cancel()
    assert heard == [("a:1",)]


def test_places():
    assert host_and_port("[fd00::1]:70") == ("fd00::1", 70)
    assert host_and_port("picker-0.pickers:9004") == ("picker-0.pickers", 9004)
    for bad in ("", "9004", ":9004", "host:", "host:http", "host:70000"):
        with pytest.raises(ValueError, match="expected host:port"):
            host_and_port(bad)
