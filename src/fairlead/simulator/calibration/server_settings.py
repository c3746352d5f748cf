"""What a live server says of its own limits, as settings of the engine model."""

from __future__ import annotations

from dataclasses import replace

import aiohttp

from fairlead.engines import UnknownRuntime, engine_for
from fairlead.simulator.calibration.probe import ProbeError
from fairlead.simulator.engine import EngineSettings


async def settings_of_server(url: str, runtime: str, base: EngineSettings) -> EngineSettings:
    """`base` with the cache that the server's metrics name; what they do not say stays. Raises ProbeError."""
    try:
        engine = engine_for(runtime)
    except UnknownRuntime as error:
        raise ProbeError(str(error)) from error
    address = url.rstrip("/") + engine.metrics_path
    try:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(address) as response:
            signals = engine.signals(await response.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ProbeError(f"{address} does not answer: {error or type(error).__name__}") from error
    if not signals.kv_block_tokens or not signals.kv_cache_capacity_tokens:
        return base
    return replace(
        base,
        block_tokens=signals.kv_block_tokens,
        num_blocks=signals.kv_cache_capacity_tokens // signals.kv_block_tokens,
    )
