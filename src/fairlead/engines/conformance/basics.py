"""Probes, the list of models, and how the server refuses what it cannot serve."""

from __future__ import annotations

from fairlead.engines.conformance.outcome import NotSupported, expect
from fairlead.engines.conformance.target import Reply, Target


async def ready(target: Target) -> str:
    """The readiness page, and the liveness page where there is one."""
    paths = [target.engine.readiness.path]
    if target.engine.liveness_path:
        paths.append(target.engine.liveness_path)
    for path in paths:
        reply = await target.get(path)
        expect(reply.status == 200, f"GET {path}: HTTP {reply.status}, not 200")
    return ", ".join(paths)


async def models(target: Target) -> str:
    """Every name is in /v1/models."""
    listed = await listed_models(target)
    missing = [name for name in target.names or (target.model,) if name not in listed]
    expect(not missing, f"/v1/models lists {sorted(listed)}, not {missing}")
    return ", ".join(sorted(listed))


async def listed_models(target: Target) -> set[str]:
    """The ids in /v1/models. Raises CheckFailed."""
    reply = await target.get("/v1/models")
    expect(reply.status == 200, f"GET /v1/models: HTTP {reply.status}, not 200")
    entries = reply.json().get("data")
    expect(isinstance(entries, list), "GET /v1/models: no list under `data`")
    return {str(entry.get("id")) for entry in entries or ()}


async def unknown_model(target: Target) -> str:
    """A model that is not served: 404 with an error that names it."""
    if not target.engine.knows_names:
        raise NotSupported("it serves its model under every name")
    name = f"{target.nonce}-no-such-model"
    reply = await target.post("/v1/completions", target.completion("x", 1, model=name))
    expect(reply.status == 404, f"HTTP {reply.status}, not 404")
    message = _error_message(reply)
    expect(name in message, f"an error that does not name the model: {message!r}")
    return message


async def malformed_json(target: Target) -> str:
    """A body that is no JSON: 400 with an error, and the server goes on."""
    reply = await target.send("POST", "/v1/completions", b'{"model": ')
    expect(reply.status in (400, 422), f"HTTP {reply.status}, not 400")
    message = _error_message(reply)
    await ready(target)
    return f"HTTP {reply.status}: {message[:80]}"


def _error_message(reply: Reply) -> str:
    """The words of an error body, in the shape of OpenAI (`error.message`). Raises CheckFailed."""
    error = reply.json().get("error")
    message = error.get("message") if isinstance(error, dict) else error
    expect(isinstance(message, str) and bool(message), f"an error body without error.message: {reply.body[:200]!r}")
    return " ".join(str(message).split())
