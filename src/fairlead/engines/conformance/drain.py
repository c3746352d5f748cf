"""What SIGTERM does, against what the adapter says of it. Ends the server."""

from __future__ import annotations

import os
import signal

from fairlead.engines.conformance.outcome import CheckFailed, NotSupported, expect
from fairlead.engines.conformance.target import POLL_S, Target

_TOKENS = 400

_TURN_S = 0.5


async def streams_finish(target: Target) -> str:
    """A stream under way when SIGTERM comes ends with [DONE], and a new request is treated as the adapter says."""
    if target.process_id is None:
        raise NotSupported("no process id was given (--pid)")
    if not target.engine.drain.finishes_streams:
        raise NotSupported("it does not promise to finish streams")
    events, done, new_request, health = 0, False, "", ""
    async with target.stream("/v1/completions", target.completion(target.prompt("drain"), _TOKENS)) as lines:
        await anext(lines)
        os.kill(target.process_id, signal.SIGTERM)
        new_request = await _new_request(target)
        health = await _health(target)
        async for line in lines:
            events += line != "[DONE]"
            done = done or line == "[DONE]"
    expect(done, f"the stream ended without [DONE], {events} events after SIGTERM")
    expected = target.engine.drain.new_requests
    expect(new_request == expected, f"a new request was {new_request}, the adapter says {expected}")
    expect(
        health == target.engine.drain.health,
        f"the readiness page {health}, the adapter says it {target.engine.drain.health}",
    )
    return f"{events} events after SIGTERM, a new request was {new_request}, the readiness page {health}"


async def _new_request(target: Target) -> str:
    try:
        reply = await target.post("/v1/completions", target.completion(target.prompt("after"), 1))
    except CheckFailed:
        return "not accepted"
    return "served" if reply.status == 200 else "refused"


async def _health(target: Target) -> str:
    """What becomes of the readiness page, given a moment to change."""
    deadline_s = target.clock.monotonic_s() + _TURN_S
    while True:
        try:
            reply = await target.get(target.engine.readiness.path)
        except CheckFailed:
            return "closes"
        if reply.status != 200:
            return "turns"
        if target.clock.monotonic_s() >= deadline_s:
            return "stays"
        await target.clock.sleep(POLL_S)
