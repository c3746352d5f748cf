"""The subscriber against real sockets: in-process publishers, processes that die, and the simulated engine."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
import zmq

from fairlead.clock import VirtualClock
from fairlead.engines.kv_events import BlockRemoved
from fairlead.gateway.prefix import events
from fairlead.gateway.prefix.combined import CombinedIndex
from fairlead.gateway.prefix.events import KvEventSubscriber, default_endpoint
from fairlead.gateway.prefix.precise import PreciseIndex
from fairlead.gateway.prefix.tree import PrefixTree
from gateway.conftest import free_port
from gateway.prefix.publishers import Publisher, publisher_process, stored
from gateway.prefix.simulated import SimulatedEngine
from gateway.prefix.test_precise import tokenized
from patience import PATIENCE_S

EIGHT = tuple(range(1, 9))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the condition changes in callbacks
            await asyncio.sleep(0.01)


@pytest.fixture
async def index() -> PreciseIndex:
    return PreciseIndex(VirtualClock())


@pytest.fixture
async def subscriber(index: PreciseIndex) -> AsyncIterator[KvEventSubscriber]:
    one = KvEventSubscriber(index)
    yield one
    one.close()


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    one = Publisher()
    yield one
    one.close()


async def synced(publisher: Publisher, subscriber: KvEventSubscriber) -> None:
    """Until the subscription has reached the publisher, which throws away what comes earlier."""
    before = subscriber.counts.messages
    while subscriber.counts.messages == before:
        publisher.send()
        await asyncio.sleep(0.02)
    number = publisher.number
    await until(lambda: subscriber.counts.messages - before >= 1 and number)
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("form", ["map", "array"])
async def test_events_reach_the_index(index, subscriber, form) -> None:
    publisher = Publisher(form, b"kv@1.2.3.4:8000@model")
    subscriber.follow("a:1", publisher.endpoint)
    await synced(publisher, subscriber)
    publisher.send(stored(*EIGHT))
    await until(lambda: index.match(tokenized(*EIGHT)) == {"a:1": 8})
    publisher.send(BlockRemoved((1,)))
    await until(lambda: index.match(tokenized(*EIGHT)) == {"a:1": 4})
    publisher.close()


async def test_what_was_published_before_is_asked_for(index, subscriber, publisher) -> None:
    publisher.send(stored(*EIGHT))
    subscriber.follow("a:1", publisher.endpoint, publisher.replay_endpoint)
    await until(lambda: index.match(tokenized(*EIGHT)) == {"a:1": 8})
    assert index.is_complete("a:1") and publisher.asked == [0]


async def test_an_engine_that_has_published_nothing_is_known_to_hold_nothing(index, subscriber, publisher) -> None:
    subscriber.follow("a:1", publisher.endpoint, publisher.replay_endpoint)
    await until(lambda: index.is_complete("a:1"))
    assert index.match(tokenized(*EIGHT)) == {}


async def test_a_late_start_without_replay_is_incomplete(index, subscriber, publisher) -> None:
    publisher.send(stored(*EIGHT))
    subscriber.follow("a:1", publisher.endpoint)
    await synced(publisher, subscriber)
    assert index.follows("a:1") and not index.is_complete("a:1")


async def test_lost_messages_are_replayed_in_order(index, subscriber, publisher) -> None:
    subscriber.follow("a:1", publisher.endpoint, publisher.replay_endpoint)
    await synced(publisher, subscriber)
    publisher.send(stored(*EIGHT), lose=True)
    publisher.send(BlockRemoved((1,)), lose=True)
    publisher.send(stored(*EIGHT, *EIGHT, first_hash=50))
    publisher.send()
    await until(lambda: index.held_blocks("a:1") == 5)
    assert index.is_complete("a:1") and subscriber.counts.lost == 0
    publisher.send(BlockRemoved(tuple(range(60))))
    await until(lambda: index.held_blocks("a:1") == 0)


async def test_what_cannot_be_replayed_is_forgotten(index, subscriber, publisher) -> None:
    """Among the lost messages may have been removals."""
    subscriber.follow("a:1", publisher.endpoint, publisher.replay_endpoint)
    await synced(publisher, subscriber)
    publisher.send(stored(*EIGHT))
    await until(lambda: index.held_blocks("a:1"))
    publisher.send(BlockRemoved((0,)), lose=True)
    publisher.kept.clear()
    publisher.send(stored(*range(20, 24), first_hash=7))
    await until(lambda: index.match(tokenized(*range(20, 24))) == {"a:1": 4})
    assert index.match(tokenized(*EIGHT)) == {} and not index.is_complete("a:1")
    assert subscriber.counts.lost == 1


async def test_a_replay_that_never_answers_is_given_up(index, subscriber, publisher, monkeypatch) -> None:
    monkeypatch.setattr(events, "REPLAY_TIMEOUT_S", 0.3)
    publisher.answers = False
    subscriber.follow("a:1", publisher.endpoint, publisher.replay_endpoint)
    await until(lambda: publisher.asked)
    publisher.send(stored(*EIGHT))
    await until(lambda: index.match(tokenized(*EIGHT)) == {"a:1": 8})


@pytest.mark.parametrize("replay", ["tcp://127.0.0.1:1", "tcp://no such host:1", "nonsense"])
async def test_a_replay_socket_that_is_not_there_costs_the_replay_alone(
    index, subscriber, publisher, monkeypatch, replay
) -> None:
    monkeypatch.setattr(events, "REPLAY_TIMEOUT_S", 0.2)
    subscriber.follow("a:1", publisher.endpoint, replay)
    await synced(publisher, subscriber)
    publisher.send(stored(*EIGHT))
    await until(lambda: index.match(tokenized(*EIGHT)) == {"a:1": 8})


async def test_a_sequence_that_starts_again_is_a_new_engine(index, subscriber, publisher) -> None:
    subscriber.follow("a:1", publisher.endpoint)
    await synced(publisher, subscriber)
    publisher.send(stored(*EIGHT))
    await until(lambda: index.held_blocks("a:1"))
    publisher.number = 0
    publisher.send(stored(*range(20, 24)))
    await until(lambda: index.match(tokenized(*range(20, 24))) == {"a:1": 4})
    assert index.match(tokenized(*EIGHT)) == {} and index.is_complete("a:1")
    assert subscriber.counts.restarts == 1


async def test_garbage_is_counted_and_read_past(index, subscriber, publisher) -> None:
    subscriber.follow("a:1", publisher.endpoint)
    await synced(publisher, subscriber)
    publisher.socket.send_multipart((b"", b"short", b""))
    publisher.socket.send_multipart((b"one frame",))
    publisher.socket.send_multipart((b"",) * 50)
    for _ in range(50):
        publisher.send(payload=os.urandom(30))
    publisher.send(payload=b"\x93\xcb" + bytes(8) + b"\x91\x92\xa8Whatever\x01\xc0")
    publisher.send(stored(*EIGHT))
    await until(lambda: index.match(tokenized(*EIGHT)) == {"a:1": 8})
    assert subscriber.counts.malformed >= 50 and not index.is_complete("a:1")


async def test_a_killed_engine_is_forgotten_and_its_successor_followed(subscriber, index) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    process = await publisher_process(endpoint)
    subscriber.follow("a:1", endpoint)

    async def say(*tokens: int) -> None:
        assert process.stdin is not None
        while index.match(tokenized(*tokens)) != {"a:1": len(tokens)}:
            process.stdin.write(b"%s\n" % b" ".join(b"%d" % token for token in tokens))
            await process.stdin.drain()
            await asyncio.sleep(0.05)

    async with asyncio.timeout(60):
        await say(*EIGHT)
        process.kill()
        await process.wait()
        await until(lambda: index.held_blocks("a:1") == 0)
        assert subscriber.counts.disconnects == 1 and not index.is_complete("a:1")
        process = await publisher_process(endpoint)
        await say(*range(20, 24))
        assert index.match(tokenized(*EIGHT)) == {}
        process.kill()
        await process.wait()


async def test_a_restart_empties_the_approximate_index_too(publisher) -> None:
    combined = CombinedIndex(PrefixTree(), PreciseIndex(VirtualClock()))
    subscriber = KvEventSubscriber(combined)
    subscriber.follow("a:1", publisher.endpoint)
    await synced(publisher, subscriber)
    combined.sent("a:1", tokenized(*range(100)))
    publisher.number = 0
    publisher.send()
    await until(lambda: subscriber.counts.restarts)
    assert combined.match(tokenized(*range(100))) == {}
    subscriber.close()


async def test_ranks_publish_on_ports_of_their_own(index, subscriber) -> None:
    context = zmq.Context()
    base = next(port for port in (free_port() for _ in itertools.count()) if port % 2 == 0)
    sockets = [context.socket(zmq.PUB) for _ in range(2)]
    for rank, socket in enumerate(sockets):
        socket.bind(f"tcp://127.0.0.1:{base + rank}")
    subscriber.follow("a:1", f"tcp://127.0.0.1:{base}", ranks=2)
    publishers = []
    for rank, socket in enumerate(sockets):
        one = Publisher()
        one.socket = socket
        publishers.append(one)
        while (index._ranks.get(("a:1", rank))) is None:
            one.send(rank=rank)
            await asyncio.sleep(0.02)
    publishers[1].send(stored(*EIGHT), rank=1)
    await until(lambda: index.match(tokenized(*EIGHT)) == {"a:1": 8})
    for one in publishers:
        one.close()
    context.destroy(linger=0)


async def test_engines_may_connect_to_the_gateway(index, subscriber) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    subscriber.listen(endpoint)
    with pytest.raises(OSError, match="KV events at"):
        subscriber.listen(endpoint)
    engines = [Publisher(topic=b"kv@10.0.0.%d:8000@model" % n) for n in range(3)]
    for number, engine in enumerate(engines):
        engine.socket.connect(endpoint)
        while not index.follows(f"10.0.0.{number}:8000"):
            engine.send(rank=0)
            await asyncio.sleep(0.02)
    stranger = Publisher(topic=b"kv@nonsense")
    stranger.socket.connect(endpoint)
    while not subscriber.counts.malformed:
        stranger.send()
        await asyncio.sleep(0.02)
    engines[1].send(stored(*EIGHT), rank=0)
    await until(lambda: index.match(tokenized(*EIGHT)) == {"10.0.0.1:8000": 8})
    for engine in (*engines, stranger):
        engine.close()


async def test_following_the_registry(index, subscriber, publisher, caplog) -> None:
    subscriber.follow_all({"a:1": (publisher.endpoint, None, 1), "b:1": ("nonsense", None, 1)})
    assert subscriber.followed == ["a:1"] and "KV events of b:1 at nonsense" in caplog.text
    await synced(publisher, subscriber)
    publisher.send(stored(*EIGHT))
    await until(lambda: index.held_blocks("a:1"))
    subscriber.follow_all({"a:1": (publisher.endpoint, None, 1)})
    assert index.held_blocks("a:1")
    subscriber.follow_all({"a:1": (publisher.endpoint, publisher.replay_endpoint, 1)})
    await until(lambda: index.held_blocks("a:1") and index.is_complete("a:1"))
    subscriber.follow_all({})
    assert not index.follows("a:1") and subscriber.followed == []
    with pytest.raises(ValueError, match="nonsense"):
        subscriber.follow("a:1", "nonsense")


async def test_nothing_is_done_while_nothing_comes(subscriber, publisher, monkeypatch) -> None:
    turns = []
    turn = events._Reader._turn
    monkeypatch.setattr(events._Reader, "_turn", lambda self: (turns.append(self), turn(self)))
    subscriber.follow("a:1", publisher.endpoint, publisher.replay_endpoint)
    await synced(publisher, subscriber)
    turns.clear()
    await asyncio.sleep(0.2)
    assert len(turns) < 20


async def test_hundreds_of_endpoints(index, subscriber, publisher) -> None:
    for number in range(300):
        subscriber.follow(f"a:{number}", publisher.endpoint, publisher.replay_endpoint)
    publisher.send(stored(*EIGHT))
    await until(lambda: len(index.match(tokenized(*EIGHT))) == 300)


def test_where_events_come_from_unless_told_otherwise() -> None:
    assert default_endpoint("10.0.0.7:8000") == "tcp://10.0.0.7:5557"
    assert default_endpoint("[fd00::1]:8000") == "tcp://[fd00::1]:5557"


@pytest.mark.parametrize("form", ["map", "array"])
async def test_the_simulated_engine_is_known_exactly(tmp_path, index, subscriber, form) -> None:
    async with SimulatedEngine(tmp_path, "--kv-events-form", form) as engine:
        subscriber.follow("a:1", engine.events_endpoint, engine.replay_endpoint)
        await until(lambda: index.is_complete("a:1"))
        tokens = list(range(1000, 1100))
        async with aiohttp.ClientSession() as session:
            body = {"model": "tiny", "prompt": tokens, "max_tokens": 40}
            async with session.post(engine.url + "/v1/completions", json=body) as response:
                assert response.status == 200, await response.text()
            await until(lambda: index.match(tokenized(*tokens)) == {"a:1": 96})
            async with session.post(engine.url + "/reset_prefix_cache") as response:
                assert response.status == 200
            await until(lambda: index.held_blocks("a:1") == 0)
            assert index.is_complete("a:1")
            async with session.post(engine.url + "/v1/completions", json=body) as response:
                assert response.status == 200
            await until(lambda: index.match(tokenized(*tokens)) == {"a:1": 96})
        await engine.kill()
        await until(lambda: index.held_blocks("a:1") == 0)
        await engine.start()
        async with (
            aiohttp.ClientSession() as session,
            session.post(engine.url + "/v1/completions", json=body) as response,
        ):
            assert response.status == 200
        await until(lambda: index.match(tokenized(*tokens)) == {"a:1": 96} and index.is_complete("a:1"))
