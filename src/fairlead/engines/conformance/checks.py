"""The list of checks, and the examination that runs them one after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import aiohttp

from fairlead.engines.conformance import adapters, answers, basics, cache, drain, load, open_inference, rest
from fairlead.engines.conformance.outcome import CheckFailed, NotSupported, Result
from fairlead.engines.conformance.target import REQUEST_TIMEOUT_S, Run, Target

CHECK_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a server, for servers of one protocol or of all."""

    name: str
    run: Run
    api: Literal["openai", "open-inference", "any"] = "openai"


CHECKS: tuple[Check, ...] = (
    Check("ready and alive", basics.ready, "any"),
    Check("models are listed under every name", basics.models),
    Check("completion", answers.completion),
    Check("completion, streamed", answers.completion_stream),
    Check("chat", answers.chat),
    Check("chat, streamed", answers.chat_stream),
    Check("unknown model is refused", basics.unknown_model),
    Check("malformed JSON is refused", basics.malformed_json),
    Check("model metadata", open_inference.metadata, "open-inference"),
    Check("inference", open_inference.inference, "open-inference"),
    Check("unknown model is refused", open_inference.unknown_model, "open-inference"),
    Check("counters follow requests", load.counters, "any"),
    Check("running requests are counted, aborted ones freed", load.abort_frees),
    Check("prefix cache hits are counted", cache.prefix_hits),
    Check("cache events tell what is stored", cache.events),
    Check("adapter is loaded, listed, served and unloaded", adapters.life),
    Check("sleeps and wakes", rest.sleep_and_wake),
    Check("streams finish after SIGTERM", drain.streams_finish),
)


async def examine(target: Target) -> AsyncIterator[Result]:
    """Every check that fits the server's protocol, in order; none of them takes longer than `CHECK_TIMEOUT_S`."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        target.session = session
        for check in CHECKS:
            if check.api in ("any", target.engine.api):
                yield await _result(check, target)


async def _result(check: Check, target: Target) -> Result:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return Result(check.name, "pass", await check.run(target) or "")
    except NotSupported as missing:
        return Result(check.name, "not supported", str(missing))
    except CheckFailed as failed:
        return Result(check.name, "fail", str(failed))
    except (aiohttp.ClientError, OSError) as error:
        return Result(check.name, "fail", f"{type(error).__name__}: {error}")
    except TimeoutError:
        return Result(check.name, "fail", "no end within the time of a request or check")
