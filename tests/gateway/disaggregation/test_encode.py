"""Encode legs: pictures of a chat, each at an encoder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fairlead.gateway.disaggregation import EncodeLegs
from fairlead.gateway.requests import BadBody


def picture(name: str) -> dict:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{name}"}}


def body(*parts: dict) -> bytes:
    content = [{"type": "text", "text": "What are these?"}, *parts]
    messages = [{"role": "system", "content": "[Be brief]"}, {"role": "user", "content": content}]
    return json.dumps({"model": "tiny", "messages": messages, "stream": True, "max_tokens": 9}).encode()


class Encoder:
    """What an engine in that role does: an embedding for each picture, to be fetched at a place that it names."""

    def __init__(self) -> None:
        self.seen: list[dict] = []
        self.ids: list[str] = []
        self.status = 200
        self.address = ""
        self.hangs = False
        self.left = 0

    async def chat(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        self.seen.append(asked)
        self.ids.append(request.headers["x-request-id"])
        if self.hangs:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.left += 1
                raise
        url = asked["messages"][0]["content"][0]["image_url"]["url"]
        return web.json_response({"ec_transfer_params": {url[-1]: {"host": self.address}}}, status=self.status)


@pytest.fixture
async def encoders() -> AsyncIterator[tuple[Encoder, Encoder]]:
    both = Encoder(), Encoder()
    runners = []
    for encoder in both:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", encoder.chat)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        encoder.address = f"127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
    yield both
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def encode() -> AsyncIterator[EncodeLegs]:
    legs = EncodeLegs(answer_s=10.0)
    yield legs
    await legs.close()


async def test_each_picture_goes_to_an_encoder_and_its_place_to_the_next_leg(encoders, encode):
    one, two = encoders
    asked = body(picture("A"), picture("B"), picture("C"), picture("A"))
    done = await encode.run(asked, {"x-request-id": "r", "host": "x"}, [one.address, two.address])
    assert (done.encoded, done.failures) == (3, ())
    fields = json.loads(done.body)
    assert sorted(fields.pop("ec_transfer_params")) == ["A", "B", "C"]
    assert fields == json.loads(asked)
    assert len(one.seen) == 2 and len(two.seen) == 1
    assert sorted(one.ids + two.ids) == ["r-enc-0", "r-enc-1", "r-enc-2"]
    assert one.seen[0] == {
        "model": "tiny", "messages": [{"role": "user", "content": [picture("A")]}], "max_tokens": 1, "stream": False,
    }  # fmt: skip


async def test_an_encoder_that_fails_is_replaced_and_without_any_the_request_goes_on(encoders, encode):
    one, two = encoders
    one.status = 500
    done = await encode.run(body(picture("A")), {}, [one.address, two.address])
    assert (done.encoded, done.failures) == (1, ())
    done = await encode.run(body(picture("A")), {}, ["127.0.0.1:1"])
    assert done.encoded == 0 and len(done.failures) == 1 and done.body == body(picture("A"))
    one.status = 400
    done = await encode.run(body(picture("A")), {}, [one.address, two.address])
    assert done.encoded == 0 and "400" in done.failures[0]


@pytest.mark.parametrize(
    "asked",
    [
        body(),
        b'{"model":"m","prompt":"x"}',
        b'{"model":"m","messages":"x"}',
        b'{"messages":[{"content":[1]}]}',
        body({"type": "image", "source": {}}),
    ],
)
async def test_a_request_without_pictures_asks_nobody(encode, asked):
    assert await encode.run(asked, {}, ["127.0.0.1:1"]) == (asked, 0, ())


async def test_a_client_that_leaves_ends_all_of_it(encoders, encode):
    one, two = encoders
    one.hangs = two.hangs = True
    running = asyncio.create_task(encode.run(body(picture("A"), picture("B")), {}, [one.address, two.address]))
    for _ in range(200):
        if one.seen and two.seen:
            break
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for _ in range(200):
        if one.left + two.left == 2:
            break
        await asyncio.sleep(0.01)
    assert one.left + two.left == 2


async def test_what_is_no_object_is_refused(encode):
    with pytest.raises(BadBody):
        await encode.run(b"[]", {}, ["127.0.0.1:1"])


async def test_an_engine_that_takes_no_pictures_is_left_to_say_so_to_the_client(engine, encode):
    one = await engine("--ttft-ms", "5", "--itl-ms", "1")
    done = await encode.run(body(picture("iVBORw0KGgo=")), {}, [one.address])
    assert done.encoded == 0 and "400" in done.failures[0]
    status, answer = await one.post("/v1/chat/completions", done.body)
    assert status == 400 and b"multimodal" in answer
