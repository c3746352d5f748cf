"""Two pickers behind one Envoy: they decide as one, and one may die."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from fairlead.gateway.envoy import EnvoyOptions, PickerAddress, command, picker_socket, replica_name
from fairlead.gateway.run import picker_admin_socket

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Pair:
    """Two pickers of a stack, each with a folder of its own."""

    stack: object
    folders: list[Path] = field(default_factory=list)
    pickers: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self, engines: int, *arguments: str) -> None:
        stack = self.stack
        await asyncio.gather(*(stack.add_engine(*arguments) for _ in range(engines)))
        stack.publish()
        self.folders = [stack.folder / name for name in ("one", "two")]
        for folder in self.folders:
            folder.mkdir()
            await self.start_picker(folder)
        options = EnvoyOptions(pickers=tuple(PickerAddress(picker_socket(f), replica_name(f)) for f in self.folders))
        stack.envoy = await stack._spawn(*command(stack.folder, stack.port, concurrency=1, options=options))
        await stack.until_ready()

    async def start_picker(self, folder: Path) -> None:
        self.pickers.append(
            await self.stack._spawn(
                sys.executable, "-m", "fairlead.gateway", "--endpoints", str(self.stack.folder / "endpoints.json"),
                "--data", str(folder), "--peers-folder", str(self.stack.folder / "peers"),
            )
        )  # fmt: skip
        for _ in range(400):
            if picker_socket(folder).exists():
                return
            await asyncio.sleep(0.05)
        raise TimeoutError("the picker did not start")


@pytest.fixture
def pair(stack) -> Pair:
    return Pair(stack)


async def _ask(session, stack, **extra):
    async with session.post(stack.url + "/v1/chat/completions", json={**CHAT, **extra}) as response:
        await response.read()
        return response.status


async def _served(session, address):
    async with session.get(f"http://{address}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:request_success_total"))


async def _metric(folder, name):
    connector = aiohttp.UnixConnector(str(picker_admin_socket(folder)))
    async with aiohttp.ClientSession(connector=connector) as session, session.get("http://picker/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def test_two_pickers_hear_of_each_other_share_the_load_and_lose_no_end(pair):
    await pair.start(4, "--ttft-ms", "600", "--itl-ms", "0")
    for _ in range(100):
        if [await _metric(f, "fairlead_gateway_peers ") for f in pair.folders] == [1.0, 1.0]:
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("they do not hear of each other")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        asked = []
        for _ in range(40):
            asked.append(asyncio.create_task(_ask(session, pair.stack, max_tokens=1)))
            await asyncio.sleep(0.03)
        assert Counter(await asyncio.gather(*asked)) == {200: 40}
        served = [await _served(session, address) for _, address in pair.stack.engines]
    assert sum(served) == 40
    assert min(served) >= 4
    routed = [await _metric(f, "fairlead_gateway_requests_routed_total") for f in pair.folders]
    assert sum(routed) == 40 and min(routed) > 0
    for folder in pair.folders:
        for _ in range(100):
            if await _metric(folder, "fairlead_gateway_in_flight_requests") == 0:
                break
            await asyncio.sleep(0.1)
        assert await _metric(folder, "fairlead_gateway_in_flight_requests") == 0
    ended = [await _metric(f, "fairlead_gateway_requests_completed_total") for f in pair.folders]
    assert ended == routed


async def test_the_death_of_one_picker_is_not_noticed_by_clients_for_long(pair):
    await pair.start(2, "--ttft-ms", "5", "--itl-ms", "1")
    async with aiohttp.ClientSession() as session:
        assert [await _ask(session, pair.stack, max_tokens=1) for _ in range(4)] == [200] * 4
        await pair.stack.kill(pair.pickers[0])
        codes = []
        for _ in range(60):
            codes.append(await _ask(session, pair.stack, max_tokens=1))
            await asyncio.sleep(0.05)
    assert set(codes) <= {200, 503}
    assert codes[-20:] == [200] * 20
