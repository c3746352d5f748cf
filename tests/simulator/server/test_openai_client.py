"""The official OpenAI client against the simulated server: it reads every answer and event into its own types."""

from __future__ import annotations

import json

import pytest
from openai import AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError

MESSAGES = [{"role": "user", "content": "Tell me about caches, and about how they forget what they once knew."}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}, "days": {"type": "integer"}},
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    }
]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
    "required": ["name", "tags"],
    "additionalProperties": False,
}


@pytest.fixture
async def client(engine):
    one = await engine("--ttft-ms", "1", "--itl-ms", "1", "--enable-prompt-tokens-details")
    async with AsyncOpenAI(base_url=one.url + "/v1", api_key="none", max_retries=0) as opened:
        yield opened


async def test_chat_whole_and_streamed(client):
    whole = await client.chat.completions.create(model="tiny", messages=MESSAGES, seed=3)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    stream = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, seed=3, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    # The last token of an answer that ends by itself has no text.
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) == whole.usage.completion_tokens - 1
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0


async def test_choices_differ_and_end_for_themselves(client):
    whole = await client.chat.completions.create(model="tiny", messages=MESSAGES, n=3, seed=1)
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, n=3, seed=1, stream=True)
    streamed, ended = ["", "", ""], []
    async for chunk in stream:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ended.append(choice.index)
    assert streamed == texts
    assert sorted(ended) == [0, 1, 2]


async def test_logprobs_cover_every_token(client):
    whole = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=4, max_tokens=6, extra_body={"ignore_eos": True}
    )
    content = whole.choices[0].logprobs.content
    assert "".join(entry.token for entry in content) == whole.choices[0].message.content
    for entry in content:
        assert bytes(entry.bytes).decode() == entry.token
        assert [top.logprob for top in entry.top_logprobs] == sorted(
            (t.logprob for t in entry.top_logprobs), reverse=True
        )
        assert len({top.token for top in entry.top_logprobs}) == 4
        assert entry.top_logprobs[0].token == entry.token
        assert entry.logprob <= 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_required_tool_is_called_with_arguments_of_its_schema(client, stream):
    wish = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS, "tool_choice": "required", "max_tokens": 200}
    if stream:
        name, arguments, reason = "", "", None
        async for chunk in await client.chat.completions.create(**wish, stream=True):
            choice = chunk.choices[0]
            for call in choice.delta.tool_calls or ():
                name += call.function.name or ""
                arguments += call.function.arguments or ""
            reason = choice.finish_reason or reason
    else:
        choice = (await client.chat.completions.create(**wish)).choices[0]
        (call,) = choice.message.tool_calls
        name, arguments, reason = call.function.name, call.function.arguments, choice.finish_reason
    assert (name, reason) == ("weather", "tool_calls")
    content = json.loads(arguments)
    assert content["city"] in ("Rome", "Oslo")
    assert isinstance(content["days"], int)


async def test_json_schema_object_choice_and_regex(client):
    async def ask(**extra):
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=300, **extra)
        assert answer.choices[0].finish_reason == "stop"
        return answer.choices[0].message.content

    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    content = json.loads(await ask(response_format=schema))
    assert isinstance(content["name"], str)
    assert len(content["tags"]) >= 2
    assert isinstance(json.loads(await ask(response_format={"type": "json_object"})), dict)
    assert await ask(extra_body={"structured_outputs": {"choice": ["yes", "no"]}}) in ("yes", "no")
    assert len(await ask(extra_body={"structured_outputs": {"regex": "[a-f]{4}-[0-9]{2}"}})) == 7


async def test_completions_of_batches_and_token_ids(client):
    answer = await client.completions.create(model="tiny", prompt=["one", "two"], n=2, max_tokens=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage.completion_tokens <= 20
    echoed = await client.completions.create(model="tiny", prompt="one two", echo=True, max_tokens=3, logprobs=2)
    assert echoed.choices[0].text.startswith("one two")
    assert echoed.choices[0].logprobs.token_logprobs[0] is None
    assert "".join(echoed.choices[0].logprobs.tokens) == echoed.choices[0].text
    ids = await client.completions.create(model="tiny", prompt=[1, 2, 3], max_tokens=2)
    assert ids.usage.prompt_tokens == 3


async def test_responses_whole_and_streamed(client):
    whole = await client.responses.create(model="tiny", input="Tell me about caches.")
    assert whole.status == "completed"
    assert whole.usage.output_tokens > 0
    kinds, text = [], ""
    async for event in await client.responses.create(model="tiny", input="Tell me about caches.", stream=True):
        kinds.append(event.type)
        assert event.sequence_number == len(kinds) - 1
        if event.type == "response.output_text.delta":
            text += event.delta
    assert text == whole.output_text
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip


async def test_responses_call_a_function(client):
    tools = [{"type": "function", "name": "weather", "parameters": TOOLS[0]["function"]["parameters"]}]
    whole = await client.responses.create(model="tiny", input="?", tools=tools, tool_choice="required")
    assert whole.output[0].type == "function_call"
    assert json.loads(whole.output[0].arguments)["city"] in ("Rome", "Oslo")
    arguments = ""
    async for event in await client.responses.create(
        model="tiny", input="?", tools=tools, tool_choice="required", stream=True
    ):
        if event.type == "response.function_call_arguments.delta":
            arguments += event.delta
    assert arguments == whole.output[0].arguments


async def test_embeddings_are_equal_for_equal_texts(client):
    answer = await client.embeddings.create(model="tiny", input=["a", "b", "a"], dimensions=32)
    one, other, again = (entry.embedding for entry in answer.data)
    assert one == again != other
    assert len(one) == 32
    assert sum(value * value for value in one) == pytest.approx(1, abs=1e-5)


async def test_errors_are_the_clients_own(client):
    with pytest.raises(NotFoundError, match="does not exist"):
        await client.chat.completions.create(model="other", messages=MESSAGES)
    with pytest.raises(BadRequestError, match="maximum context length"):
        await client.completions.create(model="tiny", prompt=[1] * 200_000, max_tokens=5)
    with pytest.raises(InternalServerError):
        await client.completions.create(model="tiny", prompt="x", extra_headers={"X-Fairlead-Failure": "error=503"})


async def test_an_answer_in_the_next_turn_is_found_in_the_cache(client):
    first = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=200, extra_body={"ignore_eos": True}
    )
    said = {"role": "assistant", "content": first.choices[0].message.content}
    second = await client.chat.completions.create(
        model="tiny", messages=[*MESSAGES, said, {"role": "user", "content": "Go on."}]
    )
    # Prompt and answer but the last token, whose KV nobody has computed, in full blocks of 16.
    known = first.usage.prompt_tokens + 200 - 1
    assert second.usage.prompt_tokens_details.cached_tokens == known // 16 * 16
