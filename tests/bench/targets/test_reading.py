"""Answers are read as the official SDKs read them, and whatever else servers make of the APIs."""

from __future__ import annotations

import json

import anthropic
import httpx
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.targets.readers import readers
from fairlead.bench.targets.reading import Reading, Unreadable
from fairlead.bench.worker.events import Events

NONE: dict[str, str] = {}


def read(api: str, events: list, options: dict[str, str] = NONE) -> tuple[Reading, list[int]]:
    """A stream of values (or bytes); the reading, and the tokens of each."""
    into, event = Reading(True), readers(api, options).event
    assert event is not None
    data = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    return into, [event(d, into) for d in data]


def whole(api: str, body, options: dict[str, str] = NONE) -> tuple[Reading, int]:
    into = Reading(True)
    return into, readers(api, options).whole(body if isinstance(body, bytes) else json.dumps(body).encode(), into)


def chunk(delta: dict | None = None, finish: str | None = None, index: int = 0, **more) -> dict:
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    return {**base, "choices": choices, **more}


def usage(prompt: int, output: int, **more) -> dict:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output, **more}}


def sse(events: list[dict], end: bytes = b"data: [DONE]\n\n", name: bool = False) -> bytes:
    said = b""
    for event in events:
        said += b"event: " + event["type"].encode() + b"\n" if name else b""
        said += b"data: " + json.dumps(event).encode() + b"\n\n"
    return said + end


def as_stream(body: bytes, library=httpx):
    answer = library.Response(200, content=body, headers={"content-type": "text/event-stream"})
    return library.Client(transport=library.MockTransport(lambda request: answer))


CONTENT = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=8), max_size=6)


@given(CONTENT, st.booleans(), st.integers(1, 300))
def test_a_chat_as_openais_sdk_reads_it(texts, cached, cut):
    details = {"prompt_tokens_details": {"cached_tokens": 3}} if cached else {}
    events = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in texts)]
    events += [chunk({}, "length"), chunk(None, **usage(7, len(texts), **details))]
    body = sse(events)
    client = openai.OpenAI(base_url="http://x", api_key="k", http_client=as_stream(body))
    theirs = list(client.chat.completions.create(model="m", messages=[], stream=True))
    into, event, feed = Reading(True), readers("chat", {}).event, Events()
    tokens = [event(data, into) for at in range(0, len(body), cut) for data in feed.feed(body[at : at + cut])]
    assert into.kept() == "".join(c.choices[0].delta.content or "" for c in theirs if c.choices)
    assert sum(tokens) == into.events == sum(bool(c.choices and c.choices[0].delta.content) for c in theirs)
    assert (into.prompt_tokens, into.output_tokens) == (7, theirs[-1].usage.completion_tokens)
    assert into.cached_tokens == (3 if cached else -1)
    assert into.finish == "length" and into.done


def test_a_message_as_anthropics_sdk_reads_it():
    start = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None,
             "stop_sequence": None}  # fmt: skip
    events = [
        {"type": "message_start", "message": {**start, "usage": {"input_tokens": 5, "output_tokens": 1,
         "cache_read_input_tokens": 20, "cache_creation_input_tokens": 4}}},
        {"type": "content_block_start", "index": 0,
         "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hé"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "llo"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
         "usage": {"output_tokens": 6}},
        {"type": "message_stop"},
    ]  # fmt: skip
    client = anthropic.Anthropic(
        base_url="http://x", api_key="k", http_client=as_stream(sse(events, b"", True), httpx2)
    )
    with client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as stream:
        theirs = stream.get_final_message()
    into, tokens = read("messages", events)
    assert into.kept() == theirs.content[1].text == "Héllo"
    assert tokens == [0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0]
    asked = theirs.usage
    whole_prompt = asked.input_tokens + asked.cache_read_input_tokens + asked.cache_creation_input_tokens
    assert (into.prompt_tokens, into.cached_tokens, into.output_tokens) == (whole_prompt, 20, asked.output_tokens)
    assert into.finish == theirs.stop_reason and into.done
    into, count = whole("messages", theirs.model_dump_json().encode())
    assert (into.kept(), into.prompt_tokens, into.output_tokens, count) == ("Héllo", 29, 6, 6)


@pytest.mark.parametrize(
    ("outputs", "tokens"),
    [([1, 2, 3], [1, 1, 1]), ([3, 4, 9], [3, 1, 5]), ([2, None, 5], [2, 1, 1]), ([None, None, 7], [1, 1, 1]),
     ([7], [7]), ([0, 0], [1, 1])],
)  # fmt: skip
def test_tokens_of_an_event_by_usage_in_it(outputs, tokens):
    events = [chunk({"content": "x"}, **(usage(4, n) if n is not None else {"usage": None})) for n in outputs]
    into, found = read("chat", events)
    assert found == tokens
    assert into.output_tokens == next((n for n in reversed(outputs) if n is not None), -1)


def test_tokens_that_came_without_text_belong_to_the_next_event():
    shown = [chunk({"content": ""}, **usage(4, 0)), chunk({"content": ""}, **usage(4, 2))]
    into, tokens = read("chat", [*shown, chunk({"content": "x"}, **usage(4, 3)), chunk(None, **usage(4, 4)), b"[DONE]"])
    assert tokens == [0, 0, 3, 0, 0] and into.output_tokens == 4


@pytest.mark.parametrize(
    ("event", "text", "tokens"),
    [
        (chunk({"reasoning_content": "hm"}), "", 1),
        (chunk({"reasoning": "hm", "reasoning_content": "hm"}), "", 1),
        (chunk({"content": "x", "reasoning": "hm"}), "x", 1),
        (chunk({"refusal": "no"}), "", 1),
        (chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}), "", 1),
        (chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}), "", 1),
        (chunk({"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}), "", 0),
        (chunk({"function_call": {"arguments": "{"}}), "", 1),
        (chunk({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "ab", 1),
        (chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), "", 1),
        (chunk({"content": "other"}, index=1), "", 1),
        (chunk({"content": None}), "", 0),
        ({"choices": [{"index": 0, "text": "x", "finish_reason": None}]}, "x", 1),
        ({"choices": [], "prompt_filter_results": [{}]}, "", 0),
        ({"choices": None}, "", 0),
    ],
)
def test_what_counts_as_text_and_what_a_later_turn_repeats(event, text, tokens):
    into, found = read("chat", [event])
    assert (into.kept(), found) == (text, [tokens])


@pytest.mark.parametrize(
    "more",
    [
        usage(5, 8, prompt_cache_hit_tokens=2),
        {"x_groq": usage(5, 8, prompt_tokens_details={"cached_tokens": 2})},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop",
                      **usage(5, 8, prompt_tokens_details={"cached_tokens": 2})}]},
    ],
)  # fmt: skip
def test_usage_wherever_servers_put_it(more):
    first, _ = read("chat", [chunk({"content": ""}, **more), chunk({"content": "x"})])
    last, tokens = read(
        "chat", [chunk({"content": "x"}), chunk({"content": "y"}), chunk({}, "stop", **more), b"[DONE]"]
    )
    twice, _ = read("chat", [chunk({"content": "x"}), chunk(None, **more), chunk(None, **more), b"[DONE]", b"[DONE]"])
    for into in (first, last, twice):
        assert (into.prompt_tokens, into.output_tokens, into.cached_tokens) == (5, 8, 2)
    assert tokens == [1, 1, 0, 0] and last.done


@pytest.mark.parametrize(
    ("api", "event"),
    [
        ("chat", {"error": {"message": "boom", "code": 500}}),
        ("chat", {"object": "error", "message": "boom"}),
        ("responses", {"type": "error", "message": "boom"}),
        ("responses", {"type": "response.failed", "response": {"status": "failed", "error": {"message": "boom"}}}),
        ("responses", {"error": {"message": "boom"}}),
        ("messages", {"type": "error", "error": {"type": "overloaded_error", "message": "boom"}}),
        ("messages", {"error": {"message": "boom"}}),
        ("triton-generate", {"error": "boom"}),
        ("raw", {"error": "boom"}),
    ],
)
def test_errors_inside_streams(api, event):
    options = {"text": "/text"} if api == "raw" else {}
    into, tokens = read(api, [event], options)
    assert "boom" in into.error and tokens == [0]
    if api != "responses" or event.get("type") != "error":
        whole_event = event.get("response", event)
        assert "boom" in whole(api, whole_event, options)[0].error


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "messages", "triton-generate"])
@pytest.mark.parametrize(
    "data", [b"", b"{", b"null x", b"[1]", b'{"choices": 3, "type": 3, "text_output": 3}', b"\xff"]
)
def test_what_is_no_event_is_unreadable(api, data):
    with pytest.raises(Unreadable):
        read(api, [data])
    with pytest.raises(Unreadable):
        whole(api, data)


@pytest.mark.parametrize(
    "api", ["chat", "completions", "responses", "messages", "triton-generate", "embeddings", "open-inference"]
)
def test_an_object_of_another_kind_is_no_answer(api):
    with pytest.raises(Unreadable):
        whole(api, {"detail": "a page of something else"})


def test_responses():
    done = {"status": "completed", "output": [], "usage": {"input_tokens": 4, "output_tokens": 3,
            "input_tokens_details": {"cached_tokens": 2}}}  # fmt: skip
    events = [
        {"type": "response.created", "response": {"status": "in_progress", "usage": None, "output": []}},
        {"type": "response.reasoning_text.delta", "delta": "hm"},
        {"type": "response.output_text.delta", "delta": "he"},
        {"type": "response.output_text.delta", "delta": "llo"},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"type": "response.output_text.done", "text": "hello"},
        {"type": "response.completed", "response": done},
    ]
    into, tokens = read("responses", events)
    assert tokens == [0, 1, 1, 1, 1, 0, 0] and into.kept() == "hello" and into.done and into.finish == "stop"
    assert (into.prompt_tokens, into.output_tokens, into.cached_tokens) == (4, 3, 2)
    # As vLLM and as OpenAI end what was cut at its length.
    for kind in ("response.completed", "response.incomplete"):
        cut = {**done, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        assert read("responses", [{"type": kind, "response": cut}])[0].finish == "length"
    message = {"type": "message", "content": [{"type": "output_text", "text": "hello"}]}
    reasoning = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": None}
    into, count = whole("responses", {**done, "output": [reasoning, message]})
    assert into.kept() == "hello" and count == 3 and into.done


def test_generate_streams_end_with_http():
    into, tokens = read("triton-generate", [{"text_output": "a"}, {"text_output": ""}, {"text_output": "b"}])
    assert tokens == [1, 0, 1] and into.kept() == "ab" and into.finish and not into.done
    counted = [{"text_output": "a", "num_input_tokens": 4, "num_output_tokens": 2}] * 2
    into, tokens = read("triton-generate", counted)
    assert tokens == [2, 2] and (into.prompt_tokens, into.output_tokens) == (4, 4)
    into, count = whole("triton-generate", {"text_output": ["a"], "num_output_tokens": 5})
    assert count == 5 and into.done


def test_tensors_and_embeddings_have_no_tokens():
    assert whole("open-inference", {"model_name": "m", "outputs": []})[0].done
    assert "boom" in whole("open-inference", {"error": "boom"})[0].error
    into, count = whole("embeddings", {"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 3}})
    assert (into.prompt_tokens, count, into.done) == (3, 0, True)
    for body in ({"data": []}, {"data": None}):
        with pytest.raises(Unreadable):
            whole("embeddings", body)


def test_a_template_of_ones_own_is_read_by_pointers():
    options = {"text": "/a~1b/0/t~0", "prompt_tokens": "/n/in", "output_tokens": "/n/out"}
    into, tokens = read("raw", [{"a/b": [{"t~": "x"}]}, {"n": {"in": 3, "out": 2}}, {"a/b": []}, b"[DONE]"], options)
    assert tokens == [1, 0, 0, 0] and into.kept() == "x" and (into.prompt_tokens, into.output_tokens) == (3, 2)
    into, count = whole("raw", {"a/b": [{"t~": "xy"}], "n": {"out": 4}}, options)
    assert count == 4 and into.kept() == "xy" and into.done
    assert whole("raw", b"not JSON, and nobody asks")[0].done
    assert not readers("raw", {}).has_text
    with pytest.raises(Unreadable):
        whole("raw", b"not JSON", options)
    with pytest.raises(ValueError, match="no JSON pointer"):
        readers("raw", {"text": "choices"})


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@given(cut=st.integers(1, 40))
def test_line_ends_comments_and_names_of_events(ends, cut):
    text = b'\xef\xbb\xbf: hello\n\nevent: x\ndata: {"choices":\ndata: []}\nid: 3\n\nretry: 10\n\ndata:[DONE]\n\n'
    body = text.replace(b"\n", ends)
    feed = Events()
    found = [data for at in range(0, len(body), cut) for data in feed.feed(body[at : at + cut])]
    # A lone CR may be half of a CR LF: what is after it decides.
    found += feed.feed(b"\n") if ends == b"\r" else []
    assert found == [b'{"choices":\n[]}', b"[DONE]"]


def test_a_mark_of_byte_order_in_front_is_no_name():
    assert Events().feed(b"\xef\xbb\xbfdata: x\n\n") == [b"x"]
