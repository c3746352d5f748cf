"""The first token of a new engine, by the page of a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.replicas.made import pod
from fairlead.bench.replicas.first_tokens import FirstTokens, page_of
from fairlead.bench.server_side.page import Address
from patience import PATIENCE_S


class Engine:
    """Says what vLLM does, with as many tokens as the test wants; `None`: something else."""

    def __init__(self) -> None:
        self.tokens: int | None = 0
        self.ready = False
        self.looks = 0
        self.served: list[float] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            self.looks += 1
            text = "<p>no metrics</p>\n"
            if self.tokens is not None:
                text = (
                    f'vllm:num_requests_running{{}} 0\nvllm:generation_tokens_total{{model_name="m"}} {self.tokens}\n'
                )
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
            writer.write((head + text).encode())

    async def looked_at(self) -> None:
        """Until a look has begun and ended from now on."""
        until = self.looks + 2
        async with asyncio.timeout(PATIENCE_S):
            while self.looks < until:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def followed() -> AsyncIterator[Engine]:
    engine, firsts = Engine(), FirstTokens()
    server = await asyncio.start_server(engine.answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    for _ in range(2):  # told twice, followed once
        firsts.follow("u", Address(host, port, "/metrics"), lambda: engine.ready, engine.served.append)
    try:
        yield engine
    finally:
        await firsts.close()
        server.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.bench.replicas.first_tokens.EVERY_S", 0.01)


async def test_tokens_to_warm_up_do_not_count_and_the_first_one_after_them_does() -> None:
    async with followed() as engine:
        await engine.looked_at()
        engine.tokens = 7
        await engine.looked_at()
        engine.ready = True
        await engine.looked_at()
        assert engine.served == []
        engine.tokens = 8
        async with asyncio.timeout(PATIENCE_S):
            while not engine.served:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        looks = engine.looks
        await asyncio.sleep(0.05)
        assert (len(engine.served), engine.looks) == (1, looks), "nobody looks any more"


async def test_a_page_that_says_nothing_of_tokens_and_none_at_all_say_nothing() -> None:
    async with followed() as engine:
        engine.tokens, engine.ready = None, True
        await engine.looked_at()
        assert engine.served == []
    firsts = FirstTokens()
    firsts.follow("u", Address("127.0.0.1", 1, "/metrics"), lambda: True, engine.served.append)
    await asyncio.sleep(0.05)
    firsts.forget("u")
    firsts.forget("other")
    await firsts.close()
    assert engine.served == []


def test_a_pod_is_asked_at_the_port_that_is_named_http_or_its_first() -> None:
    ports = [{"name": "grpc", "containerPort": 9000}, {"name": "http", "containerPort": 8000}]
    asked = pod(spec={"containers": [{"name": "c", "ports": ports}]}, ip="10.0.0.7")
    assert page_of(asked) == Address("10.0.0.7", 8000, "/metrics")
    first = pod(spec={"containers": [{"name": "c", "ports": ports[:1]}]}, ip="10.0.0.7")
    assert page_of(first) == Address("10.0.0.7", 9000, "/metrics")
    assert page_of(pod(spec={"containers": [{"name": "c", "ports": ports}]})) is None
    assert page_of(pod(ip="10.0.0.7")) is None
