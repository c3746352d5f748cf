"""Bodies as the official SDKs send them, taken off the wire."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator

import anthropic
import openai
import pytest
from aiohttp import web

from fairlead.gateway.requests import Api, InferenceRequest, find, parse, rewrite_model

PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 20_000
TOOL = {
    "name": "weather",
    "description": "Of a place",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
}
OPENAI_TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Of a place", "parameters": TOOL["input_schema"]},
}


class Wire:
    """A server that keeps what it is sent and refuses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[str, bytes]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.seen.append((request.path, await request.read()))
        return web.json_response({"error": {"message": "no", "type": "x"}}, status=418)

    def read(self) -> InferenceRequest:
        path, body = self.seen.pop()
        found = find(path)
        assert found is not None and found.methods == ("POST",)
        return parse(found.api, body)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    app = web.Application(client_max_size=1 << 24)
    runner = web.AppRunner(app)
    wire = Wire("")
    app.router.add_route("*", "/{path:.*}", wire.take)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    wire.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield wire
    await runner.cleanup()


@pytest.fixture
def openai_client(wire: Wire) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=wire.url + "/v1", api_key="k", max_retries=0)


@pytest.fixture
def anthropic_client(wire: Wire) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=wire.url, api_key="k", max_retries=0)


refused = contextlib.suppress(openai.APIStatusError, anthropic.APIStatusError)


async def test_chat(wire, openai_client):
    with refused:
        await openai_client.chat.completions.create(
            model="m",
            messages=[{"role": "system", "content": "Be brief – ja?"}, {"role": "user", "content": "Hi"}],
            tools=[OPENAI_TOOL],
            stream=True,
            stream_options={"include_usage": True},
            max_completion_tokens=7,
            n=2,
            prompt_cache_key="conversation-1",
            temperature=0.5,
            extra_body={"cache_salt": "tenant"},
        )
    request = wire.read()
    assert (request.api, request.model, request.stream) == (Api.CHAT, "m", True)
    assert (request.max_output_tokens, request.choices) == (7, 2)
    assert (request.salt, request.session) == ("tenant", "conversation-1")
    prompt = bytes(request.prompt)
    assert prompt.startswith(b'[{"type":"function"') and prompt.endswith(b'"content":"Hi"}]')
    assert b"temperature" not in prompt and b"stream" not in prompt
    assert 20 < request.prompt_tokens < 120


async def test_a_picture_counts_as_a_picture(wire, openai_client):
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    with refused:
        await openai_client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    request = wire.read()
    assert request.media == 1
    assert len(request.prompt) < 300
    assert 900 < request.prompt_tokens < 1200


async def test_completions(wire, openai_client):
    with refused:
        await openai_client.completions.create(model="m", prompt="Once upon a time", max_tokens=5, user="u")
    request = wire.read()
    assert bytes(request.prompt) == b"Once upon a time"
    assert (request.max_output_tokens, request.session, request.token_ids) == (5, "u", None)
    with refused:
        await openai_client.completions.create(model="m", prompt=[11, 22, 33], n=2)
    request = wire.read()
    assert (request.token_ids, request.prompt_tokens, request.choices) == ((11, 22, 33), 3, 2)


async def test_responses(wire, openai_client):
    with refused:
        await openai_client.responses.create(
            model="m", instructions="Be brief", input="Hi", max_output_tokens=9, previous_response_id="resp_1"
        )
    request = wire.read()
    assert bytes(request.prompt) == b'"Be brief""Hi"'
    assert (request.max_output_tokens, request.session) == (9, "resp_1")
    parts = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": PICTURE, "detail": "auto"}]
    with refused:
        await openai_client.responses.create(model="m", input=[{"role": "user", "content": parts}])
    request = wire.read()
    assert request.media == 1 and len(request.prompt) < 300


async def test_embeddings(wire, openai_client):
    with refused:
        await openai_client.embeddings.create(model="m", input=["one", "two", "three"])
    request = wire.read()
    assert (request.api, request.choices, bytes(request.prompt)) == (Api.EMBEDDINGS, 3, b"one")


async def test_audio_is_a_form(wire, openai_client):
    sound = ("a.wav", io.BytesIO(b'RIFF\r\n--\r\nname="model"\r\n\r\nother\r\n' * 1000))
    with refused:
        await openai_client.audio.transcriptions.create(model="whisper", file=sound, language="de")
    path, body = wire.seen[-1]
    assert path == "/v1/audio/transcriptions"
    request = wire.read()
    assert (request.api, request.model) == (Api.FORM, "whisper")
    renamed = rewrite_model(body, "whisper", "w2")
    assert parse(Api.FORM, renamed).model == "w2"
    assert renamed.replace(b"w2", b"whisper", 1) == body


async def test_anthropic_messages(wire, anthropic_client):
    with refused:
        await anthropic_client.messages.create(
            model="claude",
            max_tokens=100,
            system=[{"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral"}}],
            tools=[TOOL],
            messages=[{"role": "user", "content": "Hi"}],
            metadata={"user_id": "user_1_session_2"},
            stream=True,
        )
    request = wire.read()
    assert (request.api, request.model, request.stream) == (Api.ANTHROPIC, "claude", True)
    assert (request.max_output_tokens, request.session) == (100, "user_1_session_2")
    prompt = bytes(request.prompt)
    assert prompt.index(b"Be brief") < prompt.index(b'"weather"') < prompt.index(b'"Hi"')


async def test_counting_tokens_computes_no_prompt(wire, anthropic_client):
    with refused:
        await anthropic_client.messages.count_tokens(model="claude", messages=[{"role": "user", "content": "Hi"}])
    request = wire.read()
    assert (request.api, request.model, request.prompt_tokens, len(request.prompt)) == (Api.TOKENS, "claude", 0, 0)


async def test_a_moving_cache_mark_keeps_the_beginning_of_an_anthropic_conversation(wire, anthropic_client):
    def marked(text: str) -> list[dict]:
        return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "5m"}}]

    def result(text: str, **mark: object) -> dict:
        return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": text, **mark}]}

    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "weather", "input": {}}]}
    first = [{"role": "user", "content": "Hi"}, call, result("fine", cache_control={"type": "ephemeral"})]
    second = [*first[:2], result("fine"), {"role": "assistant", "content": "Sun"}]
    second.append({"role": "user", "content": marked("Thanks")})
    prompts = []
    for messages in (first, second):
        with refused:
            await anthropic_client.messages.create(model="claude", max_tokens=100, messages=messages)
        prompts.append(bytes(wire.read().prompt))
    assert b"ephemeral" not in prompts[0] + prompts[1]
    assert prompts[1].startswith(prompts[0][:-1])
