"""The official OpenAI and Anthropic clients through Envoy and the picker to simulated engines."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json

import anthropic
import openai
import pytest

from patience import PATIENCE_S

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


WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_tools(client, stream):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    asked = client.chat.completions.create(
        model="tiny", messages=MESSAGES, tools=tools, tool_choice="required", max_tokens=50, stream=stream
    )
    if stream:
        deltas = [c.choices[0].delta async for c in await asked if c.choices]
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
        name = next(call.function.name for call in calls if call.function.name)
        arguments = "".join(call.function.arguments or "" for call in calls)
    else:
        (call,) = (await asked).choices[0].message.tool_calls
        name, arguments = call.function.name, call.function.arguments
    assert name == "weather"
    assert "city" in json.loads(arguments)


async def test_anthropic_tools(claude):
    tools = [{"name": "weather", "description": "The weather.", "input_schema": WEATHER}]
    message = await claude.messages.create(
        model="tiny", messages=MESSAGES, tools=tools, tool_choice={"type": "any"}, max_tokens=60
    )
    assert message.stop_reason == "tool_use"
    assert {part.type for part in message.content} >= {"tool_use"}


PICTURE = base64.b64encode(bytes(range(256)) * 8192).decode()
"""Two megabytes, about what a photo has."""


async def test_pictures_reach_the_engine_as_they_are(served, client, claude):
    """Whether it can see them is the engine's to say; the gateway routes the request and counts no bytes as tokens."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    content = [{"type": "text", "text": "What is this?"}, picture]
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    for n, asked in enumerate(
        (
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": content}], max_tokens=4),
            claude.messages.create(
                model="tiny",
                messages=[{"role": "user", "content": [{"type": "image", "source": source}]}],
                max_tokens=4,
            ),
        )
    ):
        with contextlib.suppress(openai.BadRequestError, anthropic.BadRequestError):
            await asked
        assert await served.metric("fairlead_gateway_requests_routed_total") == n + 1


async def test_many_streams_at_once_are_each_whole(client, claude):
    async def openai_stream(n: int) -> int:
        stream = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, max_tokens=n, stream=True, extra_body={"ignore_eos": True},
            stream_options={"include_usage": True},
        )  # fmt: skip
        chunks = [chunk async for chunk in stream]
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
        return chunks[-1].usage.completion_tokens

    async def anthropic_stream(n: int) -> int:
        async with claude.messages.stream(model="tiny", messages=MESSAGES, max_tokens=n) as stream:
            return (await stream.get_final_message()).usage.output_tokens

    lengths = range(10, 50)
    assert await asyncio.gather(*(openai_stream(n) for n in lengths)) == list(lengths)
    assert all(got <= n for n, got in zip(lengths, await asyncio.gather(*map(anthropic_stream, lengths)), strict=True))


async def test_headers_tell_the_requests_id(client, claude):
    raw = await client.chat.completions.with_raw_response.create(
        model="tiny", messages=MESSAGES, max_tokens=1, extra_headers={"x-request-id": "mine"}
    )
    assert raw.headers["x-request-id"] == "mine"
    assert raw.parse().usage.completion_tokens == 1
    given = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=1)
    assert given._request_id
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="nobody", messages=MESSAGES)
    assert caught.value.request_id
    message = await claude.messages.with_raw_response.create(model="tiny", messages=MESSAGES, max_tokens=1)
    assert message.headers["x-request-id"]


async def test_a_stream_that_is_closed_midway_is_counted_no_more(stack):
    # Messages have no ignore_eos: only an engine that does not end by itself is still answering when it is looked at.
    await stack.start(2, "--ttft-ms", "5", "--itl-ms", "10", "--answer-tokens", "30000-30001")
    options = {"api_key": "none", "max_retries": 0}
    long = {"model": "tiny", "messages": MESSAGES, "max_tokens": 100_000}
    async with (
        openai.AsyncOpenAI(base_url=stack.url + "/v1", **options) as client,
        anthropic.AsyncAnthropic(base_url=stack.url, **options) as claude,
    ):
        stream = await client.chat.completions.create(**long, stream=True)
        await anext(aiter(stream))
        await stack.until_in_flight(1)
        await stream.close()
        await stack.until_in_flight(0)
        async with claude.messages.stream(**long) as events:
            await anext(aiter(events))
            await stack.until_in_flight(1)
        await stack.until_in_flight(0)
        task = asyncio.create_task(client.chat.completions.create(**long))
        await stack.until_in_flight(1)
        task.cancel()
        await stack.until_in_flight(0)


async def test_a_client_that_waits_no_longer_is_counted_no_more(stack):
    await stack.start(1, "--ttft-ms", "60000")
    async with openai.AsyncOpenAI(base_url=stack.url + "/v1", api_key="none", max_retries=0, timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=1)
    await stack.until_in_flight(0)


@pytest.fixture
async def patient(stack):
    """Clients that try again as the gateway says, of a gateway whose pool is still empty."""
    stack.publish()
    await asyncio.gather(stack.start_picker(), stack.start_envoy())
    await stack.until_ready()
    options = {"api_key": "none", "max_retries": 5}
    async with (
        openai.AsyncOpenAI(base_url=stack.url + "/v1", **options) as one,
        anthropic.AsyncAnthropic(base_url=stack.url, **options) as other,
    ):
        yield one, other


async def test_clients_come_again_when_told_that_there_is_no_endpoint_yet(stack, patient):
    client, claude = patient
    asked = [
        asyncio.create_task(one.with_raw_response.create(model="tiny", messages=MESSAGES, max_tokens=3))
        for one in (client.chat.completions, claude.messages)
    ]
    async with asyncio.timeout(PATIENCE_S):
        while await stack.metric("fairlead_gateway_requests_answered_total") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await stack.add_engine("--ttft-ms", "0", "--itl-ms", "0")
    stack.publish()
    for answer in await asyncio.gather(*asked):
        assert answer.status_code == 200
        assert answer.retries_taken >= 1


FULL = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- {type: queue-scorer}
- {type: concurrency-detector, parameters: {maxConcurrency: 1}}
flowControl:
  defaultRequestTTL: 100ms
  saturationDetector: {pluginRef: concurrency-detector}
"""


async def test_clients_come_again_when_told_that_the_pool_is_full(stack, patient):
    client, claude = patient
    await stack.add_engine("--ttft-ms", "0", "--itl-ms", "10")
    (stack.folder / "full.yaml").write_text(FULL)
    pool = {"key": "default/tiny", "models": ["tiny"], "runtime": "simulated", "config": "full.yaml"}
    pool["endpoints"] = [address for _, address in stack.engines]
    (stack.folder / "endpoints.json").write_text(json.dumps({"pools": [pool]}))
    await stack.until('fairlead_gateway_endpoints{pool="default/tiny",state="ok"}', 1)
    stream = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=100_000, stream=True, extra_body={"ignore_eos": True}
    )
    await anext(aiter(stream))
    asked = [
        asyncio.create_task(one.with_raw_response.create(model="tiny", messages=MESSAGES, max_tokens=3))
        for one in (client.chat.completions, claude.messages)
    ]
    async with asyncio.timeout(PATIENCE_S):
        while await stack.metric('fairlead_gateway_requests_answered_total{code="429"') < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await stream.close()
    for answer in await asyncio.gather(*asked):
        assert answer.status_code == 200
        assert answer.retries_taken >= 1
    # Who does not come again gets its own kind of error.
    stream = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=100_000, stream=True, extra_body={"ignore_eos": True}
    )
    await anext(aiter(stream))
    with pytest.raises(openai.RateLimitError):
        await client.with_options(max_retries=0).chat.completions.create(model="tiny", messages=MESSAGES)
    with pytest.raises(anthropic.RateLimitError) as caught:
        await claude.with_options(max_retries=0).messages.create(model="tiny", messages=MESSAGES, max_tokens=1)
    assert caught.value.body["error"]["type"] == "rate_limit_error"
    await stream.close()
