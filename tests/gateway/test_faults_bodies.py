"""Bodies and model names of every bad kind through the real Envoy: a clear error, and nobody else is harmed."""

from __future__ import annotations

import json

import aiohttp
import pytest

from gateway.faults import CHAT, nothing_in_flight, pool, start
from gateway.hostile_engine import HostileEngine

PLACE = {"do_remote_prefill": True, "remote_host": "127.0.0.1", "remote_port": 1, "remote_block_ids": [1]}

_RAW = [
    ("nothing", b"", 400),
    ("spaces", b"  \n\t ", 400),
    ("not JSON", b"model=tiny", 400),
    ("cut", b'{"model": "tiny", "messages": [{"role"', 400),
    ("two documents", json.dumps(CHAT).encode() * 2, 400),
    ("null", b"null", 400),
    ("number", b"1e999", 400),
    ("list", b'[{"model": "tiny"}]', 400),
    ("no model", b'{"messages": []}', 400),
    ("null model", b'{"model": null}', 400),
    ("empty model", b'{"model": ""}', 400),
    ("list model", b'{"model": ["tiny"]}', 400),
    ("lone surrogate", b'{"model": "\\ud800"}', None),
    ("not UTF-8", b'{"model": "ti\xff\xfeny"}', 400),
    ("UTF-16", json.dumps(CHAT).encode("utf-16"), 400),
    ("NUL", b'{"model": "tiny\\u0000"}', 404),
    ("line breaks", b'{"model": "tiny\\r\\nx-fairlead-pick: 1"}', 404),
    ("raw control characters", b'{"model": "ti\x01ny"}', None),
    ("other alphabet", '{"model": "ти́ny\u202e🤖"}'.encode(), 404),
    ("long model", json.dumps({"model": "m" * 1_000_000}).encode(), 404),
    ("path", b'{"model": "../../etc/passwd"}', 404),
    ("last key wins", b'{"model": "tiny", "model": "no"}', 404),
    ("deep", b'{"model": "tiny", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ("deep elsewhere", b'{"model": "tiny", "x": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", None),
    ("NaN", b'{"model": "tiny", "max_tokens": NaN}', 400),
    ("gzip", b"\x1f\x8b\x08\x00" + bytes(40), 400),
]


@pytest.fixture
async def recorded(stack):
    """A stack whose engine writes down what it gets."""
    async with HostileEngine() as engine:
        rewrites = [{"models": ["named"], "targets": [{"model": "tiny"}]}]
        await start(stack, pool(engine.address, rewrites=rewrites))
        yield stack, engine


async def _post(session, stack, body: bytes, path: str = "/v1/chat/completions", **headers: str):
    headers = {"content-type": "application/json", **headers}
    async with session.post(stack.url + path, data=body, headers=headers) as response:
        return response.status, await response.read()


async def test_bad_bodies_get_clear_errors_and_good_ones_between_them_are_served(recorded):
    stack, engine = recorded
    async with aiohttp.ClientSession() as session:
        for path, wrapped in (("/v1/chat/completions", "error"), ("/v1/messages", "type")):
            for name, body, expected in _RAW:
                status, answer = await _post(session, stack, body, path)
                if expected is None:
                    # Readers differ in these: the engine may be asked.
                    assert status in (200, 400, 404), (name, status, answer[:200])
                else:
                    assert status == expected, (name, status, answer[:200])
                if status != 200:
                    error = json.loads(answer)
                    assert wrapped in error and error["error"]["message"], (name, answer)
                    assert len(answer) < 2_000, name
        engine.asked.clear()
        assert (await _post(session, stack, json.dumps(CHAT).encode()))[0] == 200
    assert len(engine.asked) == 1
    await nothing_in_flight(stack)


@pytest.mark.parametrize("model", ["tiny", "named"])
async def test_a_body_that_must_be_changed_and_cannot_be_is_an_error_that_leaves_nothing_behind(recorded, model):
    stack, _ = recorded
    bodies = [
        b'{"model": "%s", "\xff\xfe": 1, "kv_transfer_params": {}}' % model.encode(),
        b'{"model": "%s", "\\ud800": 1, "kv_transfer_params": {}}' % model.encode(),
        b'{"model": "%s", "x": "\xff\xfe", "kv_transfer_params": {}}' % model.encode(),
    ]
    async with aiohttp.ClientSession() as session:
        for body in bodies:
            status, answer = await _post(session, stack, body)
            assert status in (200, 400), (status, answer)
        assert (await _post(session, stack, json.dumps(CHAT).encode()))[0] == 200
    await nothing_in_flight(stack)


_PLACES = [
    ("/v1/chat/completions", b'{"model":"tiny","messages":[],"kv_transfer_params":%s}'),
    ("/v1/chat/completions", b'{"model":"tiny","messages":[],"kv_transfer_param\\u0073":%s}'),
    ("/v1/chat/completions", b'{"kv_transfer_params":%s,"model":"tiny","messages":[],"kv_transfer_params":%s}'),
    ("/v1/chat/completions", b'{"model":"named","messages":[],"kv_transfer_params":%s}'),
    ("/v1/chat/completions", b'{"model":"tiny","messages":[],"vllm_xargs":{"kv_transfer_params":%s}}'),
    ("/v1/chat/completions", b'{"model":"tiny","messages":[],"bootstrap_room":7}'),
    ("/v1/chat/completions", b'{"model":"tiny","messages":[],"bootstrap_port":7}'),
    ("/v1/completions", b'{"model":"tiny","prompt":"a","ec_transfer_params":%s}'),
    ("/v1/completions", b'{"model":"tiny","prompt":"a","disaggregated_params":%s}'),
    ("/v1/messages", b'{"model":"tiny","messages":[],"kv_transfer_params":%s}'),
    ("/v1/responses", b'{"model":"tiny","input":"a","kv_transfer_params":%s}'),
    ("/v1/embeddings", b'{"model":"tiny","input":"a","kv_transfer_params":%s}'),
    ("/generate", b'{"model":"tiny","text":"a","bootstrap_host":"127.0.0.1","bootstrap_port":7}'),
    ("/inference/v1/generate", b'{"model":"tiny","token_ids":[1],"kv_transfer_params":%s}'),
    (
        "/inference/v1/generate",
        b'{"model":"tiny","token_ids":[1],"sampling_params":{"max_tokens":1,"extra_args":{"kv_transfer_params":%s}}}',
    ),
    (
        "/inference/v1/generate",
        b'{"model":"tiny","token_ids":[1],"sampling_params":{"extra_args":{"kv_transfer_param\\u0073":%s}}}',
    ),
    ("/v1/chat/completions/batch", b'{"model":"tiny","kv_transfer_params":%s}'),
]


@pytest.mark.parametrize("count", [len(_PLACES)])
async def test_no_field_of_a_body_tells_the_engine_where_a_cache_is(recorded, count):
    stack, engine = recorded
    place = json.dumps(PLACE).encode()
    wrong = []
    async with aiohttp.ClientSession() as session:
        for path, body in _PLACES:
            engine.asked.clear()
            status, answer = await _post(session, stack, body.replace(b"%s", place), path)
            if status not in (200, 400):
                wrong.append((path, body, status, answer))
            for asked in engine.asked:
                text = json.dumps(asked.json)
                if "remote_host" in text or "bootstrap" in text or "transfer_params" in text:
                    wrong.append((path, body, asked.body))
    assert not wrong, "\n".join(map(str, wrong))


async def test_no_header_of_any_spelling_reaches_the_engine_or_chooses_it(recorded):
    stack, engine = recorded
    async with HostileEngine() as trap:
        names = [
            "x-gateway-destination-endpoint", "X-GATEWAY-Destination-Endpoint", "x_gateway_destination_endpoint",
            "x-gateway-destination-endpoint-subset", "x-gateway-destination-endpoint-served",
            "x-gateway-destination-endpoint-scores", "x-fairlead-fallback-endpoint-1", "x-fairlead-pick",
            "x-fairlead-engine-protocol", "x-fairlead-trailers", "x-fairlead-anything", "x_fairlead_pick",
            "x-envoy-upstream-rq-timeout-ms", "x-envoy-retry-on", "x-envoy-max-retries",
            "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-hedge-on-per-try-timeout", 
            "x-envoy-retriable-status-codes",
            "x-envoy-upstream-alt-stat-name", "x-envoy-decorator-operation",
            "x-prefiller-host-port", "x-encoder-hosts-ports", "x-data-parallel-host-port",
            "x-kv-cache-source-host-port", "test-epp-endpoint-selection", "x-data-parallel-rank",
            "x-envoy-original-dst-host",
        ]  # fmt: skip
        async with aiohttp.ClientSession() as session:
            reached = []
            for name in names:
                for values in ([trap.address], [trap.address, trap.address]):
                    engine.asked.clear()
                    headers = [(name, value) for value in values]
                    async with session.post(stack.url + "/v1/chat/completions", json=CHAT, headers=headers) as response:
                        assert response.status == 200, name
                    (asked,) = engine.asked
                    mine = [line for line in asked.head.split("\r\n") if trap.address in line]
                    reached += mine
            assert reached == [], "\n".join(reached)
        assert trap.asked == []
