"""What tests of faults have in common."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from patience import PATIENCE_S

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
CHAT_PATH = "/v1/chat/completions"


async def eventually(true: Callable[[], Awaitable[Any]], timeout_s: float = PATIENCE_S) -> None:
    """Wait for what is not announced. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not await true():  # noqa: ASYNC110 - the condition lives in another process
            await asyncio.sleep(0.05)


async def nothing_in_flight(stack, timeout_s: float = PATIENCE_S) -> None:
    """Every request that went out has been told to be over."""

    async def is_so() -> bool:
        return await stack.metric("fairlead_gateway_in_flight_requests") == 0

    await eventually(is_so, timeout_s)


def publish(stack, *pools: dict) -> None:
    """Replace the endpoints file."""
    fresh = stack.folder / "endpoints.new"
    fresh.write_text(json.dumps({"pools": pools}))
    fresh.replace(stack.folder / "endpoints.json")


def pool(*endpoints: str, key: str = "default/tiny", **fields: Any) -> dict:
    return {"key": key, "models": ["tiny"], "runtime": "vllm", "endpoints": list(endpoints), **fields}


async def start(stack, *pools: dict) -> None:
    """Picker and Envoy for these pools."""
    publish(stack, *pools)
    await asyncio.gather(stack.start_picker(), stack.start_envoy())
    await stack.until_ready()


def many() -> aiohttp.ClientSession:
    """A client without a limit of connections."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def ask(session: aiohttp.ClientSession, stack, path: str = CHAT_PATH, **extra: Any) -> tuple[int, Any]:
    """Status and body; status 0 where the connection ended first."""
    headers = extra.pop("headers", None)
    try:
        async with session.post(stack.url + path, json={**CHAT, **extra}, headers=headers) as response:
            body = await response.read()
            try:
                return response.status, json.loads(body)
            except ValueError:
                return response.status, body
    except aiohttp.ClientError as error:
        return 0, str(error)


async def stream(session: aiohttp.ClientSession, stack, path: str = CHAT_PATH, **extra: Any) -> tuple[int, int, bool]:
    """Status (0: the connection ended), data lines that came, whether the last was the end."""
    status, lines, complete = 0, 0, False
    try:
        async with session.post(stack.url + path, json={**CHAT, "stream": True, **extra}) as response:
            status = response.status
            async for line in response.content:
                if line.startswith(b"data: "):
                    lines += 1
                    complete = line == b"data: [DONE]\n"
        return status, lines, complete
    except aiohttp.ClientError:
        return status, lines, False


def resident_mb(process: asyncio.subprocess.Process) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def is_error(answer: Any) -> bool:
    """An error in OpenAI's form."""
    return isinstance(answer, dict) and bool(answer.get("error", {}).get("message"))


def open_files(process: asyncio.subprocess.Process) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
