from __future__ import annotations

import json

import aiohttp
import pytest

from fairlead.gateway.prefix.event_sources import EventSource, EventSourceError, ask_source, source_of
from gateway.conftest import free_port
from gateway.prefix.simulated import SimulatedEngine


def answer(*configs: dict) -> bytes:
    return json.dumps({rank: config for rank, config in enumerate(configs)}).encode()


def test_wildcards_stand_for_the_engine_s_host() -> None:
    config = {"endpoint": "tcp://*:5557", "replay_endpoint": "tcp://*:5558", "topic": "t", "buffer_steps": 1}
    other = {"endpoint": "tcp://*:5558", "replay_endpoint": "tcp://*:5559"}
    expected = EventSource("tcp://10.0.0.1:5557", "tcp://10.0.0.1:5558", 2)
    assert source_of("10.0.0.1:8000", answer(config, other)) == expected
    assert source_of("[fd00::1]:8000", answer({})) == EventSource("tcp://[fd00::1]:5557", None, 1)


@pytest.mark.parametrize(
    "config", [{"enable_kv_cache_events": False}, {"publisher": "null"}, {"endpoint": "tcp://gateway:5557"}]
)
def test_engines_that_publish_nothing_here(config) -> None:
    assert source_of("10.0.0.1:8000", answer(config)) is None
    assert source_of("10.0.0.1:8000", b"{}") is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a": {}}', b'{"0": {"endpoint": 5}}', b'{"1": {}}'])
def test_answers_that_are_none(body) -> None:
    with pytest.raises(EventSourceError, match=r"kv_event_sources of 10\.0\.0\.1:8000"):
        source_of("10.0.0.1:8000", body)


async def test_the_simulated_engine_says_where(tmp_path) -> None:
    async with aiohttp.ClientSession() as session:
        async with SimulatedEngine(tmp_path) as engine:
            found = await ask_source(session, engine.url.removeprefix("http://"))
        assert found == EventSource(engine.events_endpoint, engine.replay_endpoint, 1)
        with pytest.raises(OSError, match="does not answer"):
            await ask_source(session, f"127.0.0.1:{free_port()}")
