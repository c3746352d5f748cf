"""Sleep: that the engine gives its memory back when told, says so, and serves again when woken."""

from __future__ import annotations

from fairlead.engines.conformance.outcome import NotSupported, expect
from fairlead.engines.conformance.target import Target


async def sleep_and_wake(target: Target) -> str:
    """Asleep, the metrics say so (where they can); awake again, it answers."""
    api = target.engine.sleeping
    if api is None:
        raise NotSupported("it does not sleep")
    reply = await target.call(api.sleep())
    if reply.status in (404, 405):
        raise NotSupported(f"it was started without: HTTP {reply.status}")
    expect(reply.status == 200, f"sleep: HTTP {reply.status}: {reply.body[:200]!r}")
    said = (await target.signals()).is_sleeping
    if said is not None:
        await target.until(lambda now: now.is_sleeping is True, "the metrics did not say that it sleeps")
    reply = await target.call(api.wake())
    expect(reply.status == 200, f"wake: HTTP {reply.status}: {reply.body[:200]!r}")
    if said is not None:
        await target.until(lambda now: now.is_sleeping is False, "the metrics did not say that it is awake")
    answer = await target.post("/v1/completions", target.completion(target.prompt("awake"), 2))
    expect(answer.status == 200, f"a request after waking: HTTP {answer.status}: {answer.body[:200]!r}")
    return "asleep and awake" if said is not None else "asleep and awake; its metrics do not say"
