"""That metrics move with the load: counters by exactly what was asked, gauges up with a stream and down without."""

from __future__ import annotations

from fairlead.engines.conformance.open_inference import infer
from fairlead.engines.conformance.outcome import NotSupported, expect
from fairlead.engines.conformance.target import Target
from fairlead.engines.signals import EngineSignals, HistogramSignal

_REQUESTS = 3
_TOKENS = 6
_LONG_TOKENS = 1500


async def counters(target: Target) -> str:
    """Requests, tokens and histograms grow by what the answers say was used."""
    before = await target.signals()
    prompt_tokens = generated = 0
    for index in range(_REQUESTS):
        if target.engine.api == "open-inference":
            await infer(target)
            continue
        reply = await target.post("/v1/completions", target.completion(target.prompt(f"counters-{index}"), _TOKENS))
        expect(reply.status == 200, f"POST /v1/completions: HTTP {reply.status}")
        usage = reply.json().get("usage") or {}
        prompt_tokens += usage.get("prompt_tokens", 0)
        generated += usage.get("completion_tokens", 0)
    expected = {
        "succeeded_requests_total": _REQUESTS,
        "prompt_tokens_total": prompt_tokens,
        "generation_tokens_total": generated,
        "ttft": _REQUESTS,
        "e2e": _REQUESTS,
        "queue": _REQUESTS,
        "itl": 1,
    }
    known = {name: growth for name, growth in expected.items() if growth and _counter(before, name) is not None}
    if not known:
        raise NotSupported("its metrics have none of: " + ", ".join(expected))
    after = await target.until(
        lambda now: all(_growth(before, now, name) >= growth for name, growth in known.items()),
        f"counters did not grow by {known}",
    )
    for name, growth in known.items():
        # How many gaps between tokens a request has is the engine's affair (speculation, streaming intervals).
        if name != "itl":
            grew = _growth(before, after, name)
            expect(grew == growth, f"{name} grew by {grew:g}, not by {growth}")
    return ", ".join(f"{name} +{growth}" for name, growth in known.items())


async def abort_frees(target: Target) -> str:
    """A stream is running while it is read; when its client leaves, the request and its blocks are gone."""
    before = await target.signals()
    if before.running_requests is None:
        raise NotSupported("its metrics have no running requests")
    body = target.completion(target.prompt("abort"), _LONG_TOKENS)
    async with target.stream("/v1/completions", body) as lines:
        await anext(lines)
        during = await target.until(
            lambda now: (now.running_requests or 0) > (before.running_requests or 0), "running_requests did not rise"
        )
        # The next reading of the metrics must not find it finished: it is to be aborted.
        await anext(lines)
    after = await target.until(
        lambda now: (now.running_requests or 0) <= (before.running_requests or 0), "running_requests did not fall"
    )
    made = _growth(before, after, "generation_tokens_total")
    expect(made < _LONG_TOKENS, f"the request made all its {_LONG_TOKENS} tokens after its client had left")
    if before.kv_cache_usage_ratio is not None:
        await target.until(
            lambda now: (now.kv_cache_usage_ratio or 0.0) <= (before.kv_cache_usage_ratio or 0.0) + 1e-9,
            "kv_cache_usage_ratio did not fall",
        )
    return f"running {before.running_requests} -> {during.running_requests} -> {after.running_requests}"


def _counter(signals: EngineSignals, name: str) -> float | None:
    value: float | HistogramSignal | None = getattr(signals, name)
    return value.count if isinstance(value, HistogramSignal) else value


def _growth(before: EngineSignals, after: EngineSignals, name: str) -> float:
    return (_counter(after, name) or 0.0) - (_counter(before, name) or 0.0)
