"""Asks a live server for a bounded time what a calibration needs: requests alone, together, and at random times.

The server speaks the OpenAI completions API with prompts of token ids, as vLLM does; prompts are random ids, so that no
prefix cache can hide their cost.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.simulator.calibration.observation import Observation

_ROUND_S = 10.0
"""Short against the time in which a shared machine changes, long against a request."""

_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":(\d+)')


class ProbeError(RuntimeError):
    """The server does not answer as it must; the message says what it said."""


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """What to send. Lengths are in tokens, drawn log-uniformly between their bounds; `vocabulary` bounds token ids."""

    duration_s: float = 60.0
    min_prompt: int = 16
    max_prompt: int = 1024
    min_output: int = 8
    max_output: int = 96
    max_concurrency: int = 16
    vocabulary: tuple[int, int] = (10, 500)
    seed: int = 0


class Probe:
    """Runs a plan against one server and one model; `run` gives the observations in order of sending."""

    def __init__(
        self,
        url: str,
        model: str,
        plan: ProbePlan,
        *,
        clock: Clock = SYSTEM,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        self._url = url.rstrip("/") + "/v1/completions"
        self._model = model
        self._plan = plan
        self._clock = clock
        self._on_progress = on_progress
        self._random = random.Random(plan.seed)
        self._found: list[Observation] = []
        self._unusable = 0
        self._began_s = 0.0
        self._part = 0

    async def run(self) -> tuple[list[Observation], int]:
        """Raises ProbeError. Also returns how many requests could not be used."""
        self._began_s = self._clock.monotonic_s()
        duration_s = self._plan.duration_s
        timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            await self._warm_up(session)
            self._began_s = self._clock.monotonic_s()
            # The same again and again, with other requests: some rounds can be judged by the others.
            rounds = max(2, round(duration_s / _ROUND_S))
            for self._part in range(rounds):
                await self._round(session, self._part * duration_s / rounds, duration_s / rounds)
        return sorted(self._found, key=lambda o: o.sent_s), self._unusable

    async def _round(self, session: aiohttp.ClientSession, begin_s: float, duration_s: float) -> None:
        """Requests one by one, as many as allowed together, and at two rates that the server can bear."""
        await self._closed_loop(session, 1, until_s=begin_s + 0.2 * duration_s)
        users = self._plan.max_concurrency
        capacity_per_s = await self._closed_loop(session, users, until_s=begin_s + 0.4 * duration_s)
        for share, until in ((0.3, 0.7), (0.6, 1.0)):
            await self._open_loop(session, share * capacity_per_s, until_s=begin_s + until * duration_s)

    async def _warm_up(self, session: aiohttp.ClientSession) -> None:
        for _ in range(3):
            await self._ask(session)
        self._found.clear()
        self._unusable = 0

    async def _closed_loop(self, session: aiohttp.ClientSession, users: int, *, until_s: float) -> float:
        """`users` that each ask again as soon as they have their answer; returns answers per second."""
        began_s, before = self._elapsed_s(), len(self._found)

        async def user() -> None:
            while self._elapsed_s() < until_s:
                await self._ask(session)

        await asyncio.gather(*(user() for _ in range(users)))
        return (len(self._found) - before) / max(1e-3, self._elapsed_s() - began_s)

    async def _open_loop(self, session: aiohttp.ClientSession, rate_per_s: float, *, until_s: float) -> None:
        """Poisson arrivals, whatever the answers take."""
        tasks: list[asyncio.Task[None]] = []
        next_s = self._elapsed_s()
        while True:
            next_s += self._random.expovariate(max(rate_per_s, 0.1))
            if next_s >= until_s:
                break
            await self._clock.sleep(max(0.0, next_s - self._elapsed_s()))
            tasks.append(asyncio.create_task(self._ask(session)))
        await asyncio.gather(*tasks)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        plan = self._plan
        prompt = self._length(plan.min_prompt, plan.max_prompt)
        output = self._length(plan.min_output, plan.max_output)
        body = msgspec.json.encode(
            {
                "model": self._model,
                "prompt": [self._random.randrange(*plan.vocabulary) for _ in range(prompt)],
                "max_tokens": output,
                "ignore_eos": True,
                "temperature": 0.0,
                "stream": True,
                "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            }
        )
        sent_s = self._clock.monotonic_s()
        try:
            async with session.post(self._url, data=body, headers={"Content-Type": "application/json"}) as response:
                if response.status != 200:
                    raise ProbeError(f"{self._url} answers {response.status}: {(await response.text())[:300]}")
                times = await self._token_times(response)
        except aiohttp.ClientError as error:
            raise ProbeError(f"{self._url} does not answer: {error}") from error
        if len(times) == output:
            self._found.append(Observation(sent_s, prompt, tuple(times), self._part))
        else:
            self._unusable += 1
        if self._on_progress is not None:
            self._on_progress(min(1.0, self._elapsed_s() / plan.duration_s))

    async def _token_times(self, response: aiohttp.ClientResponse) -> list[float]:
        """When each token came. A busy server puts several into one event; the usage in it says how many."""
        times: list[float] = []
        async for line in response.content:
            if line.startswith(b"data: {") and b'"choices":[{' in line:
                found = _COMPLETION_TOKENS.search(line)
                count = int(found[1]) if found else len(times) + 1
                times += [self._clock.monotonic_s()] * (count - len(times))
        return times

    def _length(self, low: int, high: int) -> int:
        return round(low * math.exp(self._random.uniform(0.0, math.log(high / low))))

    def _elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._began_s
