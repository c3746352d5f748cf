"""KV events, hand-off, adapters, sleep and failures of the simulated server, as processes."""

from __future__ import annotations

import asyncio
import json
import signal

import aiohttp
import pytest
import zmq
import zmq.asyncio

from fairlead.engines.kv_event_stream import read_message, read_replay, sequence_bytes
from fairlead.engines.kv_events import AllBlocksCleared, BlockRemoved, BlockStored, decode_batch
from patience import PATIENCE_S

BODY = {"model": "tiny", "max_tokens": 1, "ignore_eos": True}


async def complete(session, url, prompt, *, headers=None, **fields):
    body = {**BODY, "prompt": prompt, **fields}
    async with session.post(url + "/v1/completions", json=body, headers=headers) as response:
        return response.status, await response.json()


async def metric(session, url, name):
    async with session.get(url + "/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((name + "{", name + " ")))


# KV events


class Subscriber:
    """Keeps the set of blocks that an engine says it has, and everything it heard."""

    def __init__(self, endpoint):
        self.socket = zmq.asyncio.Context.instance().socket(zmq.SUB)
        self.socket.connect(endpoint)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.messages, self.blocks, self.stored = [], {}, []

    async def read(self, timeout_s=0.3):
        while await self.socket.poll(timeout_s * 1000):
            message = read_message(await self.socket.recv_multipart())
            self.messages.append(message)
            self.take(decode_batch(message.payload))

    def take(self, batch):
        for event in batch.events:
            if isinstance(event, BlockStored):
                assert len(event.token_ids) == len(event.block_hashes) * event.block_size
                assert event.parent_block_hash is None or event.parent_block_hash in self.blocks
                self.stored.append(event)
                self.blocks.update(dict.fromkeys(event.block_hashes, event))
            elif isinstance(event, BlockRemoved):
                for each in event.block_hashes:
                    del self.blocks[each]
            elif isinstance(event, AllBlocksCleared):
                self.blocks.clear()


@pytest.mark.parametrize("form", ["map", "array"])
async def test_events_tell_what_the_cache_holds_and_can_be_asked_again(engine, tmp_path, form):
    config = {
        "enable_kv_cache_events": True, "publisher": "zmq", "topic": "kv@127.0.0.1:8000@tiny",
        "endpoint": f"ipc://{tmp_path}/events", "replay_endpoint": f"ipc://{tmp_path}/replay",
    }  # fmt: skip
    subscriber = Subscriber(config["endpoint"])
    one = await engine(
        "--kv-events-config", json.dumps(config), "--kv-events-form", form, "--ttft-ms", "1", "--itl-ms", "1",
        "--num-gpu-blocks", "8", "--enable-lora", "--lora-modules", "style=x",
    )  # fmt: skip
    await asyncio.sleep(0.3)
    async with aiohttp.ClientSession() as session:
        await complete(session, one.url, list(range(40)), max_tokens=20)
        await subscriber.read()
        prompt, answer = subscriber.stored
        assert prompt.token_ids == tuple(range(32))
        assert prompt.parent_block_hash is None
        # 40 tokens of prompt and 20 of answer, of which the last has no KV: the third block is full of both.
        assert answer.token_ids[:8] == tuple(range(32, 40))
        assert answer.parent_block_hash == prompt.block_hashes[-1]
        await complete(session, one.url, list(range(40)))
        await subscriber.read()
        assert len(subscriber.blocks) == 3, "a hit stores nothing"
        await complete(session, one.url, list(range(100, 140)), model="style", cache_salt="s")
        await subscriber.read()
        style = subscriber.stored[-1]
        assert (style.lora_name, style.lora_id) == ("style", 1)
        assert style.extra_keys == (("style", "s"), ("style",))
        await complete(session, one.url, list(range(200, 300)))
        await subscriber.read()
        assert len(subscriber.blocks) <= 8
        async with session.post(one.url + "/reset_prefix_cache"):
            await subscriber.read()
        assert subscriber.blocks == {}
        async with session.get(one.url + "/kv_event_sources") as response:
            assert (await response.json())["0"]["topic"] == config["topic"]
    assert [message.sequence for message in subscriber.messages] == list(range(len(subscriber.messages)))
    assert {message.topic for message in subscriber.messages} == {config["topic"]}
    dealer = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    dealer.connect(config["replay_endpoint"])
    await dealer.send_multipart([b"", sequence_bytes(1)])
    again = []
    while (message := read_replay(await asyncio.wait_for(dealer.recv_multipart(), PATIENCE_S))) is not None:
        again.append(message)
    assert again == subscriber.messages[1:]


async def test_ranks_publish_on_ports_of_their_own(engine, tmp_path):
    config = {"endpoint": "tcp://*:0"}
    one = await engine("--kv-events-config", json.dumps(config), "--data-parallel-size", "2")
    async with aiohttp.ClientSession() as session, session.get(one.url + "/kv_event_sources") as response:
        assert sorted(await response.json()) == ["0", "1"]


@pytest.mark.parametrize("config", ["{", '{"publisher": "kafka"}', '{"endpont": "x"}'])
async def test_a_wrong_event_configuration_is_named(config):
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.simulator.server", "--model", "m", "--kv-events-config", config,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, error = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 2
    assert b"--kv-events-config" in error


# Hand-off


async def test_a_prompt_is_computed_here_and_answered_there(engine):
    prefill = await engine("--role", "prefill", "--ttft-ms", "50", "--itl-ms", "1")
    decode = await engine("--role", "decode", "--ttft-ms", "5", "--itl-ms", "1")
    prompt = list(range(100))
    async with aiohttp.ClientSession() as session:
        wish = {"do_remote_decode": True, "do_remote_prefill": False}
        status, first = await complete(session, prefill.url, prompt, max_tokens=9, kv_transfer_params=wish)
        params = first["kv_transfer_params"]
        assert status == 200
        assert first["usage"]["completion_tokens"] == 1
        assert (params["do_remote_prefill"], params["do_remote_decode"]) == (True, False)
        assert [len(group) for group in params["remote_block_ids"]] == [7]
        assert params["remote_request_id"] == first["id"]
        assert params["remote_num_tokens"] == 100
        assert await metric(session, prefill.url, "vllm:kv_cache_usage_perc") > 0
        status, second = await complete(session, decode.url, prompt, max_tokens=9, kv_transfer_params=params)
        assert status == 200
        assert second["usage"]["completion_tokens"] == 9
        assert second["choices"][0]["text"].startswith(first["choices"][0]["text"])
        # All but the last token of the prompt came over; the prefill engine has its blocks back.
        assert await metric(session, decode.url, "vllm:external_prefix_cache_hits_total") > 90
        for _ in range(50):
            if not await metric(session, prefill.url, "vllm:kv_cache_usage_perc"):
                break
            await asyncio.sleep(0.02)
        assert await metric(session, prefill.url, "vllm:kv_cache_usage_perc") == 0
        status, gone = await complete(session, decode.url, prompt, kv_transfer_params=params)
        assert (status, gone["error"]["message"]) == (500, "Internal server error")


async def test_an_unreachable_prefill_engine_fails_or_is_done_without(engine):
    params = {
        "do_remote_prefill": True, "remote_block_ids": [[1]], "remote_engine_id": "e", "remote_request_id": "r",
        "remote_host": "127.0.0.1", "remote_port": 1, "tp_size": 1,
    }  # fmt: skip
    strict = await engine("--role", "decode", "--ttft-ms", "1", "--itl-ms", "1")
    lenient = await engine(
        "--role", "decode", "--kv-load-failure-policy", "recompute", "--ttft-ms", "1", "--itl-ms", "1"
    )
    async with aiohttp.ClientSession() as session:
        assert (await complete(session, strict.url, "x", kv_transfer_params=params))[0] == 500
        assert (await complete(session, lenient.url, "x", kv_transfer_params=params))[0] == 200
        # Without the fields that say where, vLLM computes the prompt itself.
        assert (await complete(session, strict.url, "x", kv_transfer_params={"do_remote_prefill": True}))[0] == 200


# Adapters


async def test_adapters_come_go_and_are_listed(engine, tmp_path):
    one = await engine("--enable-lora", "--max-loras", "1", "--max-cpu-loras", "2", "--ttft-ms", "1", "--itl-ms", "1")
    async with aiohttp.ClientSession() as session:
        assert (await complete(session, one.url, "x", model="style"))[0] == 404
        for name in ("style", "tone"):
            body = {"lora_name": name, "lora_path": str(tmp_path)}
            async with session.post(one.url + "/v1/load_lora_adapter", json=body) as response:
                assert await response.text() == f"Success: LoRA adapter '{name}' added successfully."
        async with session.get(one.url + "/v1/models") as response:
            cards = {card["id"]: card for card in (await response.json())["data"]}
        assert cards["style"]["parent"] == "tiny"
        assert cards["style"]["root"] == str(tmp_path)
        answers = await asyncio.gather(*(complete(session, one.url, "x", model=name) for name in ("style", "tone") * 3))
        assert [status for status, _ in answers] == [200] * 6
        assert {answer["model"] for _, answer in answers} == {"style", "tone"}
        async with session.post(one.url + "/v1/unload_lora_adapter", json={"lora_name": "style"}) as response:
            assert response.status == 200
        assert (await complete(session, one.url, "x", model="style"))[0] == 404


# Sleep, pause and aborts


@pytest.mark.parametrize("mode", ["abort", "wait", "keep"])
async def test_sleep_and_wake(engine, mode):
    one = await engine("--ttft-ms", "10", "--itl-ms", "10")
    async with aiohttp.ClientSession() as session:
        running = asyncio.create_task(complete(session, one.url, "x", max_tokens=30))
        await asyncio.sleep(0.1)
        async with session.post(one.url + f"/sleep?level=2&mode={mode}") as response:
            assert await response.json() == {"status": "sleeping", "level": 2}
        async with session.get(one.url + "/is_sleeping") as response:
            assert await response.json() == {"is_sleeping": True}
        assert (
            await metric(session, one.url, 'vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="awake"}')
            == 0
        )
        waits = asyncio.create_task(complete(session, one.url, "y"))
        await asyncio.sleep(0.1)
        assert not waits.done()
        async with session.post(one.url + "/wake_up") as response:
            assert await response.json() == {"status": "awake", "tags": None}
        assert (await waits)[0] == 200
        _, answer = await running
        expected = {"abort": "abort", "wait": "length", "keep": "length"}[mode]
        assert answer["choices"][0]["finish_reason"] == expected
        tokens = answer["usage"]["completion_tokens"]
        assert tokens == 30 if expected == "length" else 0 < tokens < 30


async def test_sleep_that_waits_comes_under_a_steady_load(engine):
    one = await engine("--ttft-ms", "5", "--itl-ms", "5")
    ended = False

    async def load(session):
        while not ended:
            assert (await complete(session, one.url, "x", max_tokens=20, ignore_eos=True))[0] == 200

    async with aiohttp.ClientSession() as session:
        first = asyncio.create_task(load(session))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(load(session))
        async with asyncio.timeout(PATIENCE_S), session.post(one.url + "/sleep?mode=wait") as response:
            assert response.status == 200
        async with session.get(one.url + "/is_paused") as response:
            assert await response.json() == {"is_paused": False}
        ended = True
        async with session.post(one.url + "/wake_up") as response:
            assert response.status == 200
        await asyncio.gather(first, second)


async def test_pause_resume_and_abort(engine):
    one = await engine("--ttft-ms", "10", "--itl-ms", "10")
    async with aiohttp.ClientSession() as session:
        async with session.post(one.url + "/pause?mode=wait") as response:
            assert await response.json() == {"status": "paused"}
        waits = asyncio.create_task(complete(session, one.url, "x", request_id="mine", max_tokens=500))
        await asyncio.sleep(0.1)
        assert await metric(session, one.url, "vllm:num_requests_running") == 0
        async with session.post(one.url + "/resume"):
            await asyncio.sleep(0.1)
        async with session.post(one.url + "/abort_requests", json={"request_ids": ["cmpl-mine"]}) as response:
            assert await response.json() == {"status": "aborted", "aborted": 1}
        assert (await waits)[1]["choices"][0]["finish_reason"] == "abort"


async def test_requests_of_one_id_are_aborted_together(engine):
    one = await engine("--ttft-ms", "10", "--itl-ms", "10")
    async with aiohttp.ClientSession() as session:
        long = {"request_id": "same", "max_tokens": 2000, "ignore_eos": True}
        first = asyncio.create_task(complete(session, one.url, "x", **long))
        second = asyncio.create_task(complete(session, one.url, "y", **long))
        assert (await complete(session, one.url, "z", request_id="same", max_tokens=5))[0] == 200
        async with session.post(one.url + "/abort_requests", json={"request_ids": ["cmpl-same"]}):
            answers = await asyncio.gather(first, second)
    assert [answer["choices"][0]["finish_reason"] for _, answer in answers] == ["abort", "abort"]


# Failures


async def test_failures_by_header(engine):
    one = await engine("--ttft-ms", "1", "--itl-ms", "5")

    async def wish(session, failure, **fields):
        body = {**BODY, "prompt": "x", "max_tokens": 20, "stream": True, **fields}
        return await session.post(one.url + "/v1/completions", json=body, headers={"X-Fairlead-Failure": failure})

    async with aiohttp.ClientSession() as session:
        assert (await wish(session, "error=429")).status == 429
        assert (await wish(session, "error=503:0")).status == 200
        assert (await wish(session, "nonsense")).status == 400
        assert (await wish(session, "error=200")).status == 400
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wish(session, "hang"), 0.3)
        truncated = await wish(session, "truncate=5")
        with pytest.raises(aiohttp.ClientError):
            await truncated.read()
        text = await (await wish(session, "corrupt=3")).read()
        events = [line[6:] for line in text.splitlines() if line.startswith(b"data: ")]
        broken = [event for event in events if event != b"[DONE]" and not _is_json(event)]
        assert len(broken) == 1
        assert events[-1] == b"[DONE]"
        assert (await complete(session, one.url, "x"))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await (await wish(session, "crash=3")).read()
    assert await asyncio.wait_for(one.process.wait(), PATIENCE_S) == 70


async def test_failures_by_flag_are_drawn_by_the_seed(engine):
    async def statuses(seed):
        one = await engine("--failure", "error=500:0.5", "--seed", str(seed), "--ttft-ms", "0", "--itl-ms", "0")
        async with aiohttp.ClientSession() as session:
            return [(await complete(session, one.url, "x"))[0] for _ in range(20)]

    one, again, other = [await statuses(seed) for seed in (1, 1, 2)]
    assert one == again != other
    assert set(one) == {200, 500}


async def test_a_slow_start_listens_late_and_ends_on_time(engine):
    one = await engine("--start-delay-s", "0.3")
    assert await one.stop(signal.SIGTERM) == 0


def _is_json(data):
    try:
        json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return False
    return True
