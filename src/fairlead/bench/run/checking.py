"""Looking at the targets before a run: better a word about a wrong field than a run of failures."""

from __future__ import annotations

import asyncio

from fairlead.bench.config import Benchmark
from fairlead.bench.run.coordinator import RunFailed
from fairlead.bench.run.stop import Stop
from fairlead.bench.targets.preflight import Preflight, preflight


async def checked(config: Benchmark, stop: Stop) -> tuple[Preflight, ...]:
    """What one request to each target has found. Raises RunFailed, with the fields to correct, for targets that cannot
    be asked, and when asked to stop; ValueError and OSError as `preflight` does."""
    checking = asyncio.ensure_future(_all(config))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((checking, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not checking.done():
            raise RunFailed(f"ended by {stop.why} before it began")
        known = await checking
    finally:
        checking.cancel()
        stopping.cancel()
    fatal = [
        f"targets.{number}.{problem}" for number, one in enumerate(known) for problem in one.problems if problem.fatal
    ]
    if fatal:
        raise RunFailed("\n".join(fatal))
    return known


async def _all(config: Benchmark) -> tuple[Preflight, ...]:
    return tuple(await asyncio.gather(*(preflight(target) for target in config.targets)))
