"""Reading a body once."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.requests import Api, BadBody, parse

JSON_APIS = [api for api in Api if api not in (Api.PATH, Api.FORM)]


def encoded(**fields) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


@pytest.mark.parametrize("api", JSON_APIS)
def test_fields_of_wrong_types_are_left_for_the_engine_to_refuse(api):
    body = b'{"messages": [{"role": 3, "content": {}}, 7], "model": "m", "stream": "x", "n": {}, "max_tokens": [1],'
    body += b'"tools": 1, "user": 2, "prompt": {"a": 1}, "input": false, "system": 3, "metadata": 1, "text": null}'
    request = parse(api, body)
    assert (request.model, request.stream, request.choices, request.max_output_tokens) == ("m", False, 1, None)


@pytest.mark.parametrize("api", [api for api in JSON_APIS if api is not Api.GENERATE])
@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "no body"),
        (b" \n", None, "no body"),
        (b"\xff\xfe", None, "UTF-16"),
        ('{"model": "m"}'.encode("utf-16"), None, "UTF-16"),
        (b'{"model": "m"', None, "not JSON"),
        (b'{"model": "m"} {}', None, "not JSON"),
        (b'{"model": "m", "x": NaN}', None, "not JSON"),
        (b'{"model": "m", "x": 01}', None, "not JSON"),
        (b'{"model": "m",}', None, "not JSON"),
        (b"{'model': 'm'}", None, "not JSON"),
        (b'{"model": "m", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", None, "too deeply"),
        (b'{"model": "m", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", None, "too deeply"),
        (b'{"model": "m", "prompt": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, None, "too deeply"),
        (b"[]", None, "object"),
        (b'"model"', None, "object"),
        (b"{}", "model", "names no model"),
        (b'{"Model": "m"}', "model", "names no model"),
        (b'{"model": null}', "model", "names no model"),
        (b'{"model": ""}', "model", "names no model"),
        (b'{"model": 3}', "model", "must be a string"),
        (b'{"model": ["m"]}', "model", "must be a string"),
        (b'{"model": "m", "model": null}', "model", "names no model"),
        (b'{"model": "\xff"}', None, "not JSON"),
        (b'{"model": "\\ud800"}', None, "not JSON"),
    ],
)
def test_bad_bodies_say_what_is_wrong(api, body, param, words):
    with pytest.raises(BadBody, match=words) as caught:
        parse(api, body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'\xef\xbb\xbf{"model": "m"}', "m"),
        (b'{"model": "a", "model": "b"}', "b"),
        (b'{"mod\\u0065l": "m"}', "m"),
        (b'{"x": {"model": "inner"}, "model": "m", "y": "\\"model\\": \\"text\\""}', "m"),
        (b'{"model": "m", "x": 1e99999, "y": ' + b"9" * 100_000 + b"}", "m"),
        (b'{"model": "m", "x": "\xff"}', "m"),
        ('{"model": "模型/ü"}'.encode(), "模型/ü"),
        (b'{"model": "' + b"m" * 100_000 + b'"}', "m" * 100_000),
    ],
)
def test_odd_bodies_that_still_name_a_model(body, model):
    assert parse(Api.CHAT, body).model == model


def test_a_generate_body_may_leave_the_model_out():
    request = parse(Api.GENERATE, b'{"input_ids": [1, 2, 3], "sampling_params": {"max_new_tokens": 8, "n": 2}}')
    assert (request.model, request.token_ids, request.max_output_tokens, request.choices) == ("", (1, 2, 3), 8, 2)
    request = parse(Api.GENERATE, b'{"model": "m", "token_ids": [5], "sampling_params": {"max_tokens": 4}}')
    assert (request.model, request.token_ids, request.max_output_tokens) == ("m", (5,), 4)
    assert bytes(parse(Api.GENERATE, b'{"text": "Hello", "stream": true}').prompt) == b"Hello"


@pytest.mark.parametrize(
    ("prompt", "first", "ids", "answers", "tokens"),
    [
        ("text", b"text", None, 1, 1),
        (["one", "two"], b"one", None, 2, 2),
        ([1, 2, 3], b"[1, 2, 3]", (1, 2, 3), 1, 3),
        ([[1, 2], [3]], b"[1, 2]", (1, 2), 2, 3),
        ([], b"", None, 1, 0),
        ([[]], b"[]", None, 1, 1),
        ("", b"", None, 1, 0),
        ([1.5, 2], b"1.5", None, 2, 2),
        ([{"prompt": "x"}], b'{"prompt": "x"}', None, 1, 4),
    ],
)
def test_forms_of_a_prompt(prompt, first, ids, answers, tokens):
    for api, field in ((Api.COMPLETIONS, "prompt"), (Api.EMBEDDINGS, "input")):
        request = parse(api, encoded(**{field: prompt}))
        assert bytes(request.prompt) == first
        assert (request.token_ids, request.choices, request.prompt_tokens) == (ids, answers, tokens)


def test_pairs_of_texts_are_the_prompt_of_scores_and_ranks():
    request = parse(Api.OTHER, encoded(query="which?", documents=["a", "b"], top_n=3))
    assert bytes(request.prompt) == b'"which?"["a", "b"]'
    assert bytes(parse(Api.OTHER, encoded(text_1="a", text_2=["b"])).prompt) == b'"a"["b"]'
    assert bytes(parse(Api.OTHER, encoded(input="classify me")).prompt) == b"classify me"


@pytest.mark.parametrize(
    ("fields", "limit", "choices"),
    [
        ({"max_tokens": 5}, 5, 1),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7, 1),
        ({"max_tokens": None}, None, 1),
        ({"max_tokens": 3.0, "n": "4"}, 3, 4),
        ({"max_tokens": -1, "n": 0}, None, 1),
        ({"max_tokens": 10**15, "n": -3}, 1 << 31, 1),
        ({"max_tokens": 10**40}, None, 1),
        ({"max_tokens": "inf"}, None, 1),
        ({"max_tokens": True}, None, 1),
    ],
)
def test_limits(fields, limit, choices):
    request = parse(Api.CHAT, encoded(**fields))
    assert (request.max_output_tokens, request.choices) == (limit, choices)


def test_sessions():
    def session(api: Api, **fields) -> str:
        return parse(api, encoded(**fields)).session

    assert session(Api.CHAT, user="u") == "u"
    assert session(Api.CHAT, user="u", prompt_cache_key="k") == "k"
    assert session(Api.RESPONSES, conversation={"id": "conv_1"}, previous_response_id="r") == "conv_1"
    assert session(Api.RESPONSES, conversation="conv_2", user="u") == "conv_2"
    assert session(Api.RESPONSES, conversation=None, user=["u"]) == ""
    long = session(Api.CHAT, user="u" * 1000)
    assert len(long) == 32 and long != session(Api.CHAT, user="u" * 1001)


def test_what_does_not_shape_the_prompt_stays_out_of_it():
    messages = [{"role": "user", "content": "Hi"}]
    one = parse(Api.CHAT, encoded(messages=messages, temperature=0.1, stream=True, seed=4))
    two = parse(Api.CHAT, encoded(temperature=0.9, messages=messages, response_format={"type": "json_object"}))
    assert bytes(one.prompt) == bytes(two.prompt)


def test_a_conversation_that_goes_on_begins_as_it_began():
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    longer = [*messages, {"role": "user", "content": "[more]"}]
    one, two = (bytes(parse(Api.CHAT, encoded(messages=m, tools=[])).prompt) for m in (messages, longer))
    assert two.startswith(one[:-1])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    (
        "stream", "n", "cache_salt", "user", "max_tokens", "messages", "tools", "documents", "prompt",
        "input", "instructions", "system", "metadata", "conversation", "sampling_params", "token_ids", "input_ids",
        "text", "query", "max_completion_tokens", "max_output_tokens", "prompt_cache_key",
    )
)  # fmt: skip


@given(
    api=st.sampled_from(JSON_APIS),
    fields=st.dictionaries(FIELDS, JSON_VALUES, max_size=6),
    model=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20),
    ascii_only=st.booleans(),
)
def test_any_object_with_a_model_is_read(api, fields, model, ascii_only):
    body = json.dumps({**fields, "model": model}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    request = parse(api, body)
    assert request.model == model
    assert request.prompt_tokens >= 0 and request.choices >= 1
    assert request.max_output_tokens is None or request.max_output_tokens >= 1
    assert len(request.session) <= 256 and len(request.salt) <= 256


@given(api=st.sampled_from(list(Api)), body=st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(api, body):
    try:
        parse(api, body)
    except BadBody as error:
        assert str(error)


SAMPLE = encoded(
    messages=[{"role": "user", "content": [{"type": "text", "text": "ä", "cache_control": {}}, {"type": "image"}]}],
    tools=[{}], prompt=["a"], system=[{"text": "s"}], n=1, user="u", metadata={"user_id": "x"}, token_ids=[1],
)  # fmt: skip


@given(api=st.sampled_from(JSON_APIS), at=st.integers(0, len(SAMPLE) - 1), byte=st.binary(max_size=2))
def test_a_damaged_body_is_read_or_refused(api, at, byte):
    body = SAMPLE[:at] + byte + SAMPLE[at + 1 :]
    try:
        request = parse(api, body)
    except BadBody:
        return
    with contextlib.suppress(UnicodeDecodeError):  # Skipped text is not checked for UTF-8: the engine will.
        assert request.model == (json.loads(body).get("model") or "")
