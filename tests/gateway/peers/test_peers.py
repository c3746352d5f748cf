"""Pickers that share what they know, over real sockets; one of them is killed."""

import asyncio
import contextlib
import sys

import numpy as np
import pytest

from fairlead.gateway.load import LoadTable
from fairlead.gateway.peers import FolderPeers, LinkState, Peers, StaticPeers, link, listener, socket_in
from fairlead.gateway.peers.messages import VERSION, Beat, Hello, Loads, frame, read_message
from fairlead.gateway.prefix import PrefixTree, PromptBlocks
from fairlead.gateway.route import Completion
from patience import PATIENCE_S

ENDPOINTS = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")


def prompt(first=0, blocks=20):
    return PromptBlocks(np.arange(first, first + blocks, dtype=np.uint64), 16.0, 7)


class Picker:
    """What peers share of one picker."""

    def __init__(self, replica, group="g"):
        self.loads, self.tree, self.ended, self.busy = LoadTable(replica), PrefixTree(), [], []
        self.peers = Peers(self.loads, self.tree, self.ended.append, tree=self.tree, busy=self.busy.append, group=group)
        self.task = None
        for address in ENDPOINTS:
            self.loads.of(address)

    async def join(self, place, discovery):
        where = await self.peers.start(place)
        self.task = asyncio.create_task(self.peers.run(discovery))
        return where

    async def leave(self):
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def pick(self, address, **tokens):
        return self.loads.picked(address, 0.0, **tokens)

    def others(self, address):
        return self.loads.of(address).candidate.others or 0


@pytest.fixture
async def group(tmp_path):
    """Makes pickers that find each other in a folder."""
    made = []

    async def make(*names, **options):
        pickers = [Picker(name, **options) for name in names]
        for one in pickers:
            await one.join(socket_in(tmp_path, one.loads.replica), FolderPeers(tmp_path))
            made.append(one)
        return pickers

    yield make
    for one in made:
        await one.leave()


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - conditions change with what comes over sockets
            await asyncio.sleep(0.005)


async def test_three_pickers_come_to_know_each_others_loads(group):
    a, b, c = await group("a", "b", "c")
    picks = [a.pick(ENDPOINTS[0], prompt_tokens=100, output_tokens=20) for _ in range(3)]
    b.pick(ENDPOINTS[0], prompt_tokens=50)
    await until(lambda: (a.others(ENDPOINTS[0]), b.others(ENDPOINTS[0]), c.others(ENDPOINTS[0])) == (1, 3, 4))
    assert c.loads.of(ENDPOINTS[0]).candidate.in_flight_tokens == 410
    assert c.loads.of(ENDPOINTS[0]).candidate.prefill_backlog_tokens > 0
    for pick in picks:
        a.loads.ended(pick)
    await until(lambda: c.others(ENDPOINTS[0]) == 1)
    assert c.loads.of(ENDPOINTS[0]).candidate.in_flight_tokens == 50
    assert a.peers.replicas == ["b", "c"]
    assert set(c.busy) == {ENDPOINTS[0]}


async def test_one_that_leaves_is_counted_no_more_and_leaves_no_socket(group, tmp_path):
    a, b = await group("a", "b")
    a.pick(ENDPOINTS[0])
    await until(lambda: b.others(ENDPOINTS[0]) == 1)
    await a.leave()
    await until(lambda: b.others(ENDPOINTS[0]) == 0)
    assert [path.name for path in tmp_path.iterdir()] == ["b.peer.sock"]


async def test_one_that_joins_late_hears_of_what_is_there(group):
    (a,) = await group("a")
    a.pick(ENDPOINTS[1], prompt_tokens=10)
    a.peers.prefixes.sent(ENDPOINTS[1], prompt(blocks=300))
    (b,) = await group("b")
    await until(lambda: b.others(ENDPOINTS[1]) == 1)
    await until(lambda: b.tree.match(prompt(blocks=300)) == {ENDPOINTS[1]: 4800})


async def test_prompts_are_known_to_all(group):
    a, b = await group("a", "b")
    await until(lambda: a.peers.replicas == ["b"] and b.peers.replicas == ["a"] and a.peers._outbox.open)
    a.peers.prefixes.sent(ENDPOINTS[2], prompt(5))
    await until(lambda: b.tree.match(prompt(5)) == {ENDPOINTS[2]: 320})
    assert b.peers.prefixes.match(prompt(5)) == a.peers.prefixes.match(prompt(5))
    b.peers.prefixes.forget(ENDPOINTS[2])
    assert b.tree.match(prompt(5)) == {}


async def test_ends_that_come_to_the_wrong_picker_are_handed_over(group):
    a, b = await group("a", "b")
    pick = a.pick(ENDPOINTS[0])
    await until(lambda: b.peers.replicas == ["a"])
    end = Completion(pick, 200, 1.5, first_byte_s=0.1, prompt_tokens=7, served=ENDPOINTS[0])
    assert b.peers.is_foreign(pick)
    assert not a.peers.is_foreign(pick)
    assert b.peers.forward(end)
    await until(lambda: a.ended == [end])
    more = [Completion(pick, 200, float(n)) for n in range(100)]
    assert all([b.peers.forward(one) for one in more])
    await until(lambda: a.ended[1:] == more)
    assert not b.peers.forward(Completion("gone-1", 200, 1.0))
    assert b.peers.lost_ends == 1
    assert b.ended == []


async def test_a_burst_over_two_pickers_is_spread_as_if_by_one(group):
    a, b = await group("a", "b")
    await until(lambda: a.peers.replicas and b.peers.replicas)
    rounds, at_once = 40, 4
    for _ in range(rounds):
        for picker in (a, b):
            for _ in range(at_once):
                loads = picker.loads
                best = min(ENDPOINTS, key=lambda e: (loads.of(e).candidate.in_flight + picker.others(e),
                                                     loads.of(e).candidate.last_pick))  # fmt: skip
                picker.pick(best)
        await until(lambda: sum(map(a.others, ENDPOINTS)) == len(b.loads._by_pick))
        await until(lambda: sum(map(b.others, ENDPOINTS)) == len(a.loads._by_pick))
    spread = [len(a.loads.of(e).in_flight) + len(b.loads.of(e).in_flight) for e in ENDPOINTS]
    assert sum(spread) == rounds * 2 * at_once
    assert max(spread) - min(spread) <= 2 * at_once / len(ENDPOINTS) + 1


async def test_pickers_of_other_gateways_are_left_alone(group):
    (a,) = await group("a", group="one")
    (b,) = await group("b", group="two")
    await until(lambda: LinkState.OTHER in a.peers.places.values() and LinkState.OTHER in b.peers.places.values())
    assert LinkState.SELF in a.peers.places.values()
    a.pick(ENDPOINTS[0])
    assert a.peers.replicas == b.peers.replicas == []


async def test_over_tcp_and_under_two_names():
    a, b = Picker("a"), Picker("b")
    where = await a.join("127.0.0.1:0", StaticPeers(()))
    await b.join("127.0.0.1:0", StaticPeers((where, where.replace("127.0.0.1", "localhost"))))
    a.pick(ENDPOINTS[0])
    await until(lambda: b.others(ENDPOINTS[0]) == 1)
    await until(lambda: sorted(b.peers.places.values()) == [LinkState.KNOWN, LinkState.LISTENING])
    await a.leave()
    await until(lambda: b.others(ENDPOINTS[0]) == 0)
    await b.leave()


PROGRAM = """
import asyncio, sys
from pathlib import Path
from fairlead.gateway.load import LoadTable
from fairlead.gateway.peers import FolderPeers, Peers, socket_in
from fairlead.gateway.prefix import PrefixTree

async def main(folder):
    loads, tree = LoadTable("victim"), PrefixTree()
    for n in range(5):
        loads.picked(sys.argv[2], 0.0, prompt_tokens=10)
    peers = Peers(loads, tree, print, tree=tree, group="g")
    await peers.start(socket_in(folder, "victim"))
    await peers.run(FolderPeers(folder))

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_killed_picker_is_counted_no_more_and_its_socket_is_cleared_away(group, tmp_path, monkeypatch):
    monkeypatch.setattr(link, "MIN_RETRY_S", 0.01)
    (a,) = await group("a")
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, str(tmp_path), ENDPOINTS[0])
    try:
        await until(lambda: a.others(ENDPOINTS[0]) == 5)
        victim.kill()
        await victim.wait()
        await until(lambda: a.others(ENDPOINTS[0]) == 0)
        assert a.loads.of(ENDPOINTS[0]).candidate.in_flight_tokens == 0
        assert a.peers.replicas == []
        await until(lambda: not (tmp_path / "victim.peer.sock").exists())
        await until(lambda: len(a.peers.places) == 1)
    finally:
        if victim.returncode is None:
            victim.kill()
            await victim.wait()


async def test_a_peer_that_falls_silent_is_counted_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(link, "SILENCE_S", 0.2)

    async def mute(reader, writer):
        with contextlib.suppress(EOFError, OSError):
            await read_message(reader)
            writer.write(frame(Hello(VERSION, "g", "mute")))
            writer.write(frame(Loads(True, [(ENDPOINTS[0], 9, 90, 90.0)])))
            await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    a = Picker("a")
    await a.join("127.0.0.1:0", StaticPeers((f"127.0.0.1:{server.sockets[0].getsockname()[1]}",)))
    await until(lambda: a.others(ENDPOINTS[0]) == 9)
    await until(lambda: a.others(ENDPOINTS[0]) == 0)
    await a.leave()
    server.close()


GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x05hello",
    frame(Beat()),
    frame(Hello(VERSION, "g", "x")) + b"\x00\x00\x00\x01\xc1",
    frame(Hello(VERSION, "g", "x")) + frame(Loads(True, [(ENDPOINTS[0], -1, 0, 0.0)])),
    frame(Hello(VERSION, "g", "x")) + frame(Loads(True, [(ENDPOINTS[0], 1, 2**60, float("nan"))])),
    frame(Hello(VERSION + 1, "g", "x")) + frame(Loads(True, [(ENDPOINTS[0], 3, 3, 3.0)])),
]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_from_either_side_changes_nothing(garbage, monkeypatch):
    monkeypatch.setattr(link, "MIN_RETRY_S", 0.01)
    monkeypatch.setattr(link, "MAX_RETRY_S", 0.02)
    calls = 0

    async def babble(reader, writer):
        nonlocal calls
        calls += 1
        writer.write(garbage)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    a, b = Picker("a"), Picker("b")
    where = await a.join("127.0.0.1:0", StaticPeers((f"127.0.0.1:{server.sockets[0].getsockname()[1]}",)))
    await b.join("127.0.0.1:0", StaticPeers((where,)))
    reader, writer = await asyncio.open_connection(*where.split(":"))
    writer.write(garbage)
    writer.write_eof()
    await until(lambda: calls >= 3)
    await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    a.pick(ENDPOINTS[1])
    await until(lambda: b.others(ENDPOINTS[1]) == 1)
    assert [a.others(e) for e in ENDPOINTS] == [0, 0, 0, 0]
    await a.leave()
    await b.leave()
    server.close()


async def test_a_peer_that_does_not_read_holds_nobody_up_and_is_made_good_later(monkeypatch):
    monkeypatch.setattr(listener, "MAX_BUFFERED_BYTES", 50_000)
    a = Picker("a")
    where = await a.join("127.0.0.1:0", StaticPeers(()))
    host, port = where.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(frame(Hello(VERSION, "g", "slow")))
    await until(lambda: a.peers._outbox.open)
    (peer,) = a.peers._listener._peers
    for n in range(400):
        a.peers.prefixes.sent(ENDPOINTS[0], prompt(n, blocks=8000))
        if n % 20 == 0:
            await asyncio.sleep(0.03)
        if peer.behind:
            break
    assert peer.behind
    a.pick(ENDPOINTS[3])
    await asyncio.sleep(0.06)
    seen = None
    async with asyncio.timeout(PATIENCE_S):
        while not (isinstance(seen, Loads) and seen.whole and seen.loads and not peer.behind):
            seen = await read_message(reader)
    assert seen.loads[0][:2] == [ENDPOINTS[3], 1] or seen.loads[0][:2] == (ENDPOINTS[3], 1)
    writer.close()
    await a.leave()
