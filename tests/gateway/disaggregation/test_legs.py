"""Prefill legs between real processes, and what happens when one of them dies, hangs or refuses."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from fairlead.engines import engine_for
from fairlead.gateway.disaggregation import Leg, LegRequest, LegSettings, PrefillLegs, Split
from fairlead.gateway.pick import Pick, Query
from fairlead.gateway.requests import Api

VLLM = engine_for("simulated").handoff
assert VLLM is not None
QUICK = ("--ttft-ms", "5", "--itl-ms", "1")
SLOW = ("--ttft-ms", "3000", "--itl-ms", "1")
RUNNING = "vllm:num_requests_running"
KV_USAGE = "vllm:kv_cache_usage_perc"
FETCHED = "vllm:external_prefix_cache_hits_total"
TEXT = "word " * 200
MESSAGES = [{"role": "user", "content": TEXT}]

REQUESTS = {
    Api.CHAT: ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 5, "stream": True}),
    Api.COMPLETIONS: ("/v1/completions", {"prompt": TEXT, "max_tokens": 5}),
    Api.RESPONSES: ("/v1/responses", {"input": TEXT, "max_output_tokens": 5}),
    Api.ANTHROPIC: ("/v1/messages", {"messages": MESSAGES, "max_tokens": 5}),
}


def request(api: Api = Api.COMPLETIONS, decode: str = "127.0.0.1:9", **fields: object) -> LegRequest:
    path, body = REQUESTS[api]
    encoded = json.dumps({"model": "tiny", **body, **fields}).encode()
    return LegRequest(api, path, encoded, {"x-request-id": "r", "host": "x"}, Query("tiny", prompt_tokens=250), decode)


def to(*addresses: str) -> Split:
    return Split(Pick(addresses[0], addresses[1:], ""), dict.fromkeys(addresses, 0), "test")


def in_flight(picker, *engines) -> list[int]:
    return [picker.loads.of(e.address).candidate.in_flight for e in engines]


@pytest.mark.parametrize("api", REQUESTS)
async def test_a_prompt_is_computed_there_and_answered_here(engine, legs, picker, api):
    prefill = await engine("--role", "prefill", *QUICK)
    decode = await engine("--role", "decode", *QUICK)
    asked = request(api)
    leg = await legs.run(asked, to(prefill.address), VLLM)
    assert (leg.prefill, leg.failures) == (prefill.address, ())
    assert leg.prompt_tokens is not None and leg.prompt_tokens > 200
    assert leg.took_s > 0 and in_flight(picker, prefill) == [0]
    assert await prefill.metric(KV_USAGE) > 0
    status, answer = await decode.post(asked.path, leg.body)
    assert status == 200
    whole_status, whole = await decode.post(asked.path, asked.body)
    assert whole_status == 200 and _texts(whole) == _texts(answer)
    assert await decode.metric(FETCHED) > 200
    await prefill.until(KV_USAGE, lambda usage: usage == 0)


def _texts(answer: bytes) -> list[str]:
    """Words of an answer in any form, streamed or not."""
    lines = [line.removeprefix("data: ") for line in answer.decode().splitlines() if line.startswith(("data: {", "{"))]
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            found.extend(v for k, v in value.items() if k in ("text", "content") and isinstance(v, str))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    for line in lines:
        walk(json.loads(line))
    return found


async def test_kill_of_the_prefill_engine_within_its_leg_moves_the_leg(engine, legs, picker):
    dying = await engine("--role", "prefill", *SLOW)
    other = await engine("--role", "prefill", *QUICK)
    decode = await engine("--role", "decode", *QUICK)
    asked = request()
    running = asyncio.create_task(legs.run(asked, to(dying.address, other.address), VLLM))
    await dying.until(RUNNING, lambda n: n == 1)
    assert in_flight(picker, dying, other) == [1, 0]
    await dying.kill()
    leg = await running
    assert leg.prefill == other.address
    assert dying.address in leg.failures[0]
    assert (await decode.post(asked.path, leg.body))[0] == 200
    assert in_flight(picker, dying, other) == [0, 0]
    assert picker.loads.of(other.address).reachable


async def test_without_any_prefill_engine_the_request_is_answered_in_one_piece(engine, legs, picker):
    dying = await engine("--role", "prefill", *SLOW)
    decode = await engine("--role", "decode", *QUICK)
    asked = request(kv_transfer_params={"do_remote_prefill": True, "remote_host": "client's"})
    running = asyncio.create_task(legs.run(asked, to(dying.address), VLLM))
    await dying.until(RUNNING, lambda n: n == 1)
    await dying.kill()
    leg = await running
    assert leg.prefill == "" and len(leg.failures) == 1
    assert b"client's" not in leg.body
    assert (await decode.post(asked.path, leg.body))[0] == 200
    assert await decode.metric(FETCHED) == 0


async def test_a_leg_in_which_every_endpoint_is_gone_ends_at_once(legs, picker):
    leg = await legs.run(request(), to("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"), VLLM)
    assert leg.prefill == "" and len(leg.failures) == LegSettings().attempts
    assert leg.body == request().body
    assert not picker.loads.of("127.0.0.1:1").reachable


async def test_an_engine_that_hangs_is_waited_for_as_long_as_is_set(engine, picker):
    hung = await engine("--role", "prefill", *QUICK)
    await hung.kill(signal.SIGSTOP)
    legs = PrefillLegs(picker, settings=LegSettings(answer_s=0.3, watch_s=0.05))
    leg = await legs.run(request(), to(hung.address), VLLM)
    assert leg.prefill == "" and "in time" in leg.failures[0]
    assert in_flight(picker, hung) == [0]
    await legs.close()


async def test_an_engine_that_others_find_dead_is_not_waited_for(engine, legs, picker):
    hung = await engine("--role", "prefill", *QUICK)
    other = await engine("--role", "prefill", *QUICK)
    await hung.kill(signal.SIGSTOP)
    running = asyncio.create_task(legs.run(request(), to(hung.address, other.address), VLLM))
    for _ in range(10):
        await asyncio.sleep(0)  # The leg is begun.
    assert in_flight(picker, hung) == [1]
    picker.loads.of(hung.address).candidate.reachable = False
    leg = await running
    assert leg.prefill == other.address and "dead" in leg.failures[0]


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_an_engine_that_fails_is_passed_over(engine, legs, status):
    failing = await engine("--role", "prefill", *QUICK, "--failure", f"error={status}:1")
    other = await engine("--role", "prefill", *QUICK)
    leg = await legs.run(request(), to(failing.address, other.address), VLLM)
    assert leg.prefill == other.address and str(status) in leg.failures[0]


async def test_an_engine_without_a_connector_is_passed_over(engine, legs):
    plain = await engine(*QUICK)
    leg = await legs.run(request(), to(plain.address), VLLM)
    assert leg.prefill == "" and "kv_transfer_params" in leg.failures[0]


async def test_what_the_prefill_engine_refuses_the_answering_engine_refuses_in_its_own_words(engine, legs):
    prefill = await engine("--role", "prefill", *QUICK)
    other = await engine("--role", "prefill", *QUICK)
    decode = await engine("--role", "decode", *QUICK)
    asked = request(temperature=-7)
    leg = await legs.run(asked, to(prefill.address, other.address), VLLM)
    assert leg.prefill == "" and len(leg.failures) == 1 and "400" in leg.failures[0]
    status, answer = await decode.post(asked.path, leg.body)
    assert status == 400 and b"temperature" in answer


async def leaves(running: asyncio.Task[Leg]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_client_that_leaves_ends_a_long_leg(engine, picker):
    prefill = await engine("--role", "prefill", *SLOW)
    legs = PrefillLegs(picker, settings=LegSettings(finish_s=0.0))
    running = asyncio.create_task(legs.run(request(), to(prefill.address), VLLM))
    await prefill.until(RUNNING, lambda n: n == 1)
    await leaves(running)
    await prefill.until(RUNNING, lambda n: n == 0)
    assert in_flight(picker, prefill) == [0]
    await legs.close()


@pytest.mark.parametrize("api", REQUESTS)
async def test_a_client_that_leaves_within_a_leg_that_is_almost_done_leaves_nothing_held(engine, legs, picker, api):
    prefill = await engine("--role", "prefill", "--ttft-ms", "400", "--itl-ms", "1")
    decode = await engine("--role", "decode", *QUICK)
    running = asyncio.create_task(legs.run(request(api, decode.address), to(prefill.address), VLLM))
    await prefill.until(RUNNING, lambda n: n == 1)
    await leaves(running)
    assert await prefill.metric(KV_USAGE) > 0
    await prefill.until(KV_USAGE, lambda usage: usage == 0)
    await decode.until(FETCHED, lambda tokens: tokens > 200)
    await decode.until(RUNNING, lambda n: n == 0)
    assert in_flight(picker, prefill) == [0]


@pytest.mark.parametrize("api", REQUESTS)
async def test_a_client_that_leaves_between_the_legs_leaves_nothing_held(engine, legs, api):
    prefill = await engine("--role", "prefill", *QUICK)
    decode = await engine("--role", "decode", *QUICK)
    asked = request(api, decode.address)
    leg = await legs.run(asked, to(prefill.address), VLLM)
    assert await prefill.metric(KV_USAGE) > 0
    legs.release(asked, leg)
    await prefill.until(KV_USAGE, lambda usage: usage == 0)
    await decode.until(RUNNING, lambda n: n == 0)


async def test_closing_ends_legs_and_what_winds_down(engine, legs, picker):
    prefill = await engine("--role", "prefill", *SLOW)
    running = [asyncio.create_task(legs.run(request(), to(prefill.address), VLLM)) for _ in range(2)]
    await prefill.until(RUNNING, lambda n: n >= 1)
    await leaves(running[0])
    await legs.close()
    await asyncio.wait((running[1],), timeout=5)
    assert running[1].done()
    await prefill.until(RUNNING, lambda n: n == 0)
    assert in_flight(picker, prefill) == [0]


async def test_what_cannot_be_split_asks_nobody(legs):
    leg = await legs.run(request(n=3), to("127.0.0.1:1"), VLLM)
    assert leg == Leg(request(n=3).body, failures=("there are several answers",))


async def test_many_legs_at_once_lose_nothing_when_an_engine_dies(engine, legs, picker):
    dying = await engine("--role", "prefill", "--ttft-ms", "100", "--itl-ms", "1")
    other = await engine("--role", "prefill", *QUICK)
    # What the dead engine had computed and nobody fetched is lost; an engine with this policy computes it anew.
    decode = await engine("--role", "decode", "--kv-load-failure-policy", "recompute", *QUICK)
    statuses = []

    async def one(number: int) -> None:
        asked = request(prompt=f"{number} {TEXT}")
        leg = await legs.run(asked, to(dying.address, other.address), VLLM)
        statuses.append((await decode.post(asked.path, leg.body))[0])

    running = [asyncio.create_task(one(number)) for number in range(30)]
    await dying.until(RUNNING, lambda n: n > 5)
    await dying.kill()
    await asyncio.gather(*running)
    assert statuses == [200] * 30
    assert in_flight(picker, dying, other) == [0, 0]
