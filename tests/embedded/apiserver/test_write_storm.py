"""A storm of writes with the server killed in the middle, again and again: nothing acknowledged is lost, nothing half
written is seen, and nothing repeats."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from embedded.apiserver.server_process import ServerProcess, request
from patience import PATIENCE_S

WRITERS = 16
KILLS = 3
TURNS = 40
"""At least so many writes of all writers come before each kill."""
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
LOST = (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError)
State = tuple[str, int] | None
"""uid and turn of an object; None where there is none."""


@dataclass
class Known:
    """What a writer knows of one name: the acknowledged state, and those that may have come after it."""

    state: State = None
    version: int = 0
    possible: list[int | None] = field(default_factory=list)
    """Turns of writes without an answer; None for a deletion."""


class Writer:
    """Creates, updates and deletes its own names, one request at a time."""

    def __init__(self, number: int, seed: int) -> None:
        self.random = random.Random(seed * 1000 + number)
        self.known = {f"w{number}-{index}": Known() for index in range(4)}
        self.turn = 0

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Write until the server is gone."""
        while True:
            name = self.random.choice(list(self.known))
            try:
                await self.write(session, name)
            except LOST:
                return

    async def write(self, session: aiohttp.ClientSession, name: str) -> None:
        known = self.known[name]
        self.turn += 1
        deletes = known.state is not None and self.random.random() < 0.2
        known.possible.append(None if deletes else self.turn)
        if deletes:
            status, answer = await request(session, "DELETE", f"{CONFIG_MAPS}/{name}")
            assert status == 200, answer
            known.state, known.possible = None, []
            return
        body = config_map(name, self.turn)
        method, path = ("POST", CONFIG_MAPS) if known.state is None else ("PUT", f"{CONFIG_MAPS}/{name}")
        status, answer = await request(session, method, path, body)
        assert status in (200, 201), answer
        version = int(answer["metadata"]["resourceVersion"])
        assert version > known.version
        if known.state is not None:
            assert answer["metadata"]["uid"] == known.state[0]
        known.state, known.version, known.possible = (answer["metadata"]["uid"], self.turn), version, []

    def settle(self, found: dict[str, Any]) -> None:
        """Compare with what is there after a restart, and go on from it."""
        for name, known in self.known.items():
            obj = found.get(name)
            turn = None if obj is None else turn_of(obj)
            acknowledged = None if known.state is None else known.state[1]
            assert turn == acknowledged or turn in known.possible, (name, turn, known)
            if obj is None:
                known.state, known.possible = None, []
                continue
            version, uid = int(obj["metadata"]["resourceVersion"]), obj["metadata"]["uid"]
            assert version >= known.version
            if known.state is not None:
                assert uid == known.state[0]
            known.state, known.version, known.possible = (uid, turn or 0), version, []


def config_map(name: str, turn: int) -> dict[str, Any]:
    padding = "x" * (turn * 37 % 3000)
    return {"metadata": {"name": name}, "data": {"first": str(turn), "padding": padding, "last": str(turn)}}


def turn_of(obj: dict[str, Any]) -> int:
    """The turn that wrote an object, all of it."""
    data = obj["data"]
    turn = int(data["first"])
    assert data == config_map("", turn)["data"]
    return turn


class Watcher:
    """Follows the collection across restarts."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.seen: dict[str, Any] = {}
        self.resumed = 0

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Follow until the server is gone."""
        query = {"watch": "true", "resourceVersion": str(self.version)}
        try:
            async with session.get(CONFIG_MAPS, params=query) as response:
                assert response.status == 200
                while line := await response.content.readline():
                    self.take(json.loads(line))
        except LOST:
            return

    def take(self, event: dict[str, Any]) -> None:
        obj = event["object"]
        name, version = obj["metadata"]["name"], int(obj["metadata"]["resourceVersion"])
        assert version > self.version, "an event came twice or late"
        self.version = version
        assert (name in self.seen) == (event["type"] != "ADDED"), event["type"]
        if event["type"] == "DELETED":
            del self.seen[name]
        else:
            self.seen[name] = obj


async def test_a_storm_with_kills(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    writers = [Writer(number, seed) for number in range(WRITERS)]
    chance = random.Random(seed)
    with ServerProcess(tmp_path) as server:
        found, version = await listed(server)
        watcher = Watcher(version)
        watcher.seen = dict(found)
        for _ in range(KILLS):
            async with server.session() as session:
                tasks = [asyncio.create_task(writer.run(session)) for writer in writers]
                tasks.append(asyncio.create_task(watcher.run(session)))
                wanted = sum(writer.turn for writer in writers) + TURNS
                await asyncio.sleep(chance.uniform(0.3, 0.9))
                async with asyncio.timeout(PATIENCE_S):
                    while sum(writer.turn for writer in writers) < wanted:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                server.kill()
                await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)
            await asyncio.to_thread(server.start)
            highest = max(known.version for writer in writers for known in writer.known.values())
            found, version = await listed(server)
            assert version >= highest
            for writer in writers:
                writer.settle(found)
            assert found.keys() - {"kube-root-ca.crt"} <= {name for writer in writers for name in writer.known}
        async with server.session() as session:
            follow = asyncio.create_task(watcher.run(session))
            _, created = await request(session, "POST", CONFIG_MAPS, {"metadata": {"name": "end"}})
            assert int(created["metadata"]["resourceVersion"]) > version
            for _ in range(100):
                if "end" in watcher.seen:
                    break
                await asyncio.sleep(0.05)
            follow.cancel()
            await asyncio.gather(follow, return_exceptions=True)
        found, _ = await listed(server)
        assert watcher.seen == found


async def listed(server: ServerProcess) -> tuple[dict[str, Any], int]:
    """The collection by name, and its version."""
    async with server.session() as session:
        status, answer = await request(session, "GET", CONFIG_MAPS)
    assert status == 200, answer
    items = [{"kind": "ConfigMap", "apiVersion": "v1", **item} for item in answer["items"]]
    found = {item["metadata"]["name"]: item for item in items}
    assert len(found) == len(items)
    return found, int(answer["metadata"]["resourceVersion"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path) as running:
        yield running


@pytest.mark.parametrize("damage", ["cut", "garble", "append"])
async def test_a_torn_log_loses_nothing_that_was_acknowledged_before(server: ServerProcess, damage: str) -> None:
    async with server.session() as session:
        for number in range(20):
            status, _ = await request(session, "POST", CONFIG_MAPS, config_map(f"kept-{number}", number))
            assert status == 201
        log = server.data / "apiserver" / "store.db-wal"
        synced = log.stat().st_size
        status, _ = await request(session, "POST", CONFIG_MAPS, config_map("torn", 80))
        assert status == 201
    server.kill()
    content = bytearray(log.read_bytes())
    assert len(content) > synced
    if damage == "cut":
        del content[-700:]
    elif damage == "garble":
        content[-700:] = bytes(byte ^ 0x5A for byte in content[-700:])
    else:
        content += b"\x37\x7f\x06\x82" * 2000
    log.write_bytes(content)
    await asyncio.to_thread(server.start)
    found, version = await listed(server)
    assert {turn_of(found[f"kept-{number}"]) for number in range(20)} == set(range(20))
    assert ("torn" in found) == (damage == "append")
    async with server.session() as session:
        status, created = await request(session, "POST", CONFIG_MAPS, config_map("after", 1))
    assert status == 201 and int(created["metadata"]["resourceVersion"]) > version
