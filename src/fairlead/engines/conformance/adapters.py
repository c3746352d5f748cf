"""The life of an adapter in a running server."""

from __future__ import annotations

from fairlead.engines.conformance.basics import listed_models
from fairlead.engines.conformance.outcome import NotSupported, expect
from fairlead.engines.conformance.target import Target


async def life(target: Target) -> str:
    """Loaded, it is listed and serves under its name, a second load changes nothing; unloaded, it is gone."""
    api, adapter = target.engine.adapters, target.adapter
    if api is None:
        raise NotSupported("it loads no adapters while it runs")
    if adapter is None:
        raise NotSupported("no adapter to load was given")
    reply = await target.call(api.load(adapter))
    loaded = api.loaded(reply.status, reply.body)
    expect(loaded.state == "done", f"load: {loaded.state}: {loaded.reason}")
    expect(adapter.name in await listed_models(target), "it was loaded and is not listed")
    again = await target.call(api.load(adapter))
    expect(api.loaded(again.status, again.body).holds, f"a second load: {api.loaded(again.status, again.body).reason}")
    model = api.model_field(target.model, adapter.name)
    answer = await target.post("/v1/completions", target.completion(target.prompt("adapter"), 4, model=model))
    expect(answer.status == 200, f"a request to it: HTTP {answer.status}: {answer.body[:200]!r}")
    expect(answer.json().get("model") == model, f"the answer is of model {answer.json().get('model')!r}")
    reply = await target.call(api.unload(adapter.name))
    unloaded = api.unloaded(reply.status, reply.body)
    expect(unloaded.state == "done", f"unload: {unloaded.state}: {unloaded.reason}")
    expect(adapter.name not in await listed_models(target), "it was unloaded and is still listed")
    return f"{adapter.name} came and went"
