"""The official OpenAI and Anthropic clients through Envoy and the picker to simulated engines."""

from __future__ import annotations

import anthropic
import openai
import pytest

MESSAGES = [{"role": "user", "content": "Tell me about the sea."}]


@pytest.fixture
async def served(stack):
    await stack.start(2, "--ttft-ms", "5", "--itl-ms", "1")
    return stack


@pytest.fixture
async def client(served):
    async with openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0) as one:
        yield one


@pytest.fixture
async def claude(served):
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key="none", max_retries=0) as one:
        yield one


async def test_openai_chat_whole_and_streamed(client):
    whole = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=7)
    assert whole.usage.completion_tokens == 7
    stream = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=7, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage.completion_tokens == 7
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def test_openai_completions_embeddings_responses_and_models(client):
    done = await client.completions.create(model="alias", prompt="Once upon", max_tokens=3)
    assert done.usage.completion_tokens == 3
    vectors = await client.embeddings.create(model="tiny", input=["one", "two"])
    assert len(vectors.data) == 2
    response = await client.responses.create(model="tiny", input="Hello", max_output_tokens=16)
    assert response.usage.output_tokens == 16
    async with client.responses.stream(model="tiny", input="Hello", max_output_tokens=16) as stream:
        kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.completed"
    assert {m.id async for m in client.models.list()} == {"tiny", "alias"}
    assert (await client.models.retrieve("tiny")).id == "tiny"


async def test_openai_errors_are_the_clients_own_exceptions(client):
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await client.chat.completions.create(model="nobody", messages=MESSAGES)
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nobody")
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="", messages=MESSAGES)


async def test_anthropic_messages_whole_streamed_and_counted(claude):
    whole = await claude.messages.create(model="tiny", messages=MESSAGES, max_tokens=9)
    assert whole.usage.output_tokens == 9
    async with claude.messages.stream(model="tiny", messages=MESSAGES, max_tokens=9) as stream:
        text = [piece async for piece in stream.text_stream]
        final = await stream.get_final_message()
    assert text
    assert final.usage.output_tokens == 9
    counted = await claude.messages.count_tokens(model="tiny", messages=MESSAGES)
    assert counted.input_tokens == whole.usage.input_tokens


async def test_anthropic_errors_have_its_form(claude):
    with pytest.raises(anthropic.NotFoundError) as caught:
        await claude.messages.create(model="nobody", messages=MESSAGES, max_tokens=9)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as refused:
        await claude.messages.create(model="", messages=MESSAGES, max_tokens=9)
    assert refused.value.body["error"]["type"] == "invalid_request_error"
