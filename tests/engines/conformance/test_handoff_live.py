"""Two running engines hand a request over by nothing but the adapter's functions."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import aiohttp

from engines.conformance.live import running
from fairlead.engines import Meeting, engine_for
from fairlead.engines.prometheus_text import MetricsPage, labels_of

BODY = {
    "model": "m",
    "prompt": " ".join(f"word-{i}" for i in range(120)),
    "max_tokens": 10,
    "ignore_eos": True,
    "seed": 1,
}


async def hand_over(prefill_url: str, decode_url: str) -> tuple[dict, dict, MetricsPage]:
    """Prefill's answer, decode's answer, and decode's metrics after it."""
    handoff = engine_for("simulated").handoff
    meeting = Meeting("127.0.0.1", room=1)
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        request = handoff.prefill_request(BODY, meeting)
        async with session.post(f"{prefill_url}/v1/completions", json=request) as response:
            first = await response.json()
        request = handoff.decode_request(BODY, handoff.take(first), meeting)
        async with session.post(f"{decode_url}/v1/completions", json=request) as response:
            second = await response.json()
        async with session.get(f"{decode_url}/metrics") as response:
            return first, second, MetricsPage(await response.read())


def test_decode_computes_nothing_of_the_prompt_that_prefill_had():
    engine = engine_for("simulated")
    with ExitStack() as stack:
        (prefill_url, _), (decode_url, _) = (
            stack.enter_context(running(engine, role=role)) for role in ("prefill", "decode")
        )
        first, second, metrics = asyncio.run(hand_over(prefill_url, decode_url))
    assert first["usage"]["completion_tokens"] == 1
    assert second["usage"]["completion_tokens"] == 10
    by_source = {
        labels_of(sample)["source"]: sample.value for sample in metrics.samples(b"vllm:prompt_tokens_by_source_total")
    }
    prompt_tokens = second["usage"]["prompt_tokens"]
    assert by_source == {"local_compute": 0, "local_cache_hit": 0, "external_kv_transfer": prompt_tokens}
