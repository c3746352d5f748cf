"""Bodies edited in place, against Python's own JSON reader."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.requests import (
    HANDOFF_FIELDS,
    BadBody,
    parse,
    rewrite_model,
    set_fields,
    top_level,
    without_places,
)
from fairlead.gateway.requests.inference_request import Api


def test_every_other_byte_stays():
    body = b' {"a" : {"model":"m"}, "s":"\\"model\\":\\"m\\"" ,"model"\n:\t"m" , "x":[ 1e5 ,{"model":"m"}] } \n'
    assert rewrite_model(body, "m", "n") == body.replace(b'\t"m"', b'\t"n"')


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m"}', b'{"model":"a\\"b"}'),
        (b'{"model":"m","model":"m"}', b'{"model":"m","model":"a\\"b"}'),
        (b'{"model":"m","model":"other"}', b'{"model":"m","model":"other"}'),
        (b'{"mod\\u0065l":"\\u006d"}', b'{"mod\\u0065l":"a\\"b"}'),
        (b'\xef\xbb\xbf{"model":"m"}', b'\xef\xbb\xbf{"model":"a\\"b"}'),
        (b'{"Model":"m"}', b'{"Model":"m"}'),
        (b'{"x":1}', b'{"x":1}'),
    ],
)
def test_models_that_are_hard_to_find(body, expected):
    assert rewrite_model(body, "m", 'a"b') == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a":1', b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"])
def test_what_is_no_object_is_refused(body):
    for edit in (lambda: rewrite_model(body, "m", "n"), lambda: set_fields(body, {"a": 1}), lambda: top_level(body)):
        with pytest.raises(BadBody):
            edit()


@pytest.mark.parametrize(
    ("body", "fields", "without", "expected"),
    [
        (b"{}", {"a": 1}, (), b'{"a":1}'),
        (b"{ }", {"a": 1, "b": None}, (), b'{ "a":1,"b":null}'),
        (b' {"x":1} ', {"a": [1]}, (), b' {"x":1,"a":[1]} '),
        (b'{"x":"{"}', {"a": 1}, (), b'{"x":"{","a":1}'),
        (b'{"a":1,"b":2}', {"b": 3, "a": 4}, (), b'{"a":4,"b":3}'),
        (b'{"a":1,"a":2}', {"a": 3}, (), b'{"a":1,"a":3}'),
        (b'{"a":1,"b":2,"c":3}', {}, ("b",), b'{"a":1,"c":3}'),
        (b'{"a":1,"b":2,"c":3}', {}, ("a", "c"), b'{"b":2}'),
        (b'{"a":1 , "b" : {"b":1} }', {}, ("b",), b'{"a":1 }'),
        (b'{"a":1}', {"b": 2}, ("a",), b'{"b":2}'),
        (b'{"a":1,"x":0,"a":2}', {}, ("a",), b'{"x":0}'),
        (b'{"\\u0061":1,"x":0}', {}, ("a",), b'{"x":0}'),
        (b'{"b":{"a":1}}', {}, ("a",), b'{"b":{"a":1}}'),
    ],
)
def test_fields_are_set_and_removed(body, fields, without, expected):
    assert set_fields(body, fields, without) == expected


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
KEYS = st.sampled_from(("model", "Model", "a", "b", "stream", "mod\u0065l2")) | TEXT
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXT | st.sampled_from(('"model":"m"', "m", "}{", ",")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
SPACES = st.text(" \t\r\n", max_size=2)


@st.composite
def bodies(draw) -> bytes:
    """Objects with repeated keys, spaces and escapes wherever JSON allows them."""

    def spelt(key: str) -> str:
        text = json.dumps(key, ensure_ascii=draw(st.booleans()))
        if key.isalpha() and key.isascii() and draw(st.booleans()):
            at = draw(st.integers(0, len(key) - 1))
            text = f'"{key[:at]}\\u{ord(key[at]):04X}{key[at + 1 :]}"'
        return text

    members = draw(st.lists(st.tuples(KEYS, VALUES), max_size=6))
    texts = []
    for key, value in members:
        spaces = [draw(SPACES) for _ in range(4)]
        written = json.dumps(value, ensure_ascii=draw(st.booleans()))
        texts.append(f"{spaces[0]}{spelt(key)}{spaces[1]}:{spaces[2]}{written}{spaces[3]}")
    inner = ",".join(texts) or draw(SPACES)
    return f"{draw(SPACES)}{{{inner}}}{draw(SPACES)}".encode()


@given(body=bodies(), new=TEXT)
def test_the_model_alone_is_renamed(body, new):
    before = json.loads(body)
    old = before.get("model")
    after = rewrite_model(body, old if isinstance(old, str) else "?", new)
    assert json.loads(after) == ({**before, "model": new} if isinstance(old, str) else before)
    if not isinstance(old, str):
        assert after == body
    if isinstance(old, str) and old and new:
        with contextlib.suppress(BadBody):  # An earlier `model` that is no string is reason to refuse.
            assert parse(Api.OTHER, after).model == new


@given(
    body=bodies(),
    fields=st.dictionaries(KEYS, VALUES, max_size=3),
    without=st.lists(KEYS.filter(lambda k: '"' not in k), max_size=2),
)
def test_setting_fields_is_what_it_is_for_an_object(body, fields, without):
    expected = {key: value for key, value in json.loads(body).items() if key not in without} | fields
    assert json.loads(set_fields(body, fields, without)) == expected


@given(body=bodies())
def test_the_top_level_is_the_object(body):
    assert {key: json.loads(bytes(raw)) for key, raw in top_level(body).items()} == json.loads(body)


@pytest.mark.parametrize("name", HANDOFF_FIELDS)
def test_places_of_caches_that_a_client_names_are_seen_and_taken_out(name):
    body = json.dumps({"model": "m", name: {"remote_host": "10.0.0.9"}, "prompt": "kv_transfer_params"}).encode()
    assert b"10.0.0.9" not in without_places(body)
    assert json.loads(without_places(body)) == {"model": "m", "prompt": "kv_transfer_params"}
    assert parse(Api.COMPLETIONS, body).names_places
    assert not parse(Api.COMPLETIONS, without_places(body)).names_places


@pytest.mark.parametrize(
    ("api", "body", "expected"),
    [
        (Api.CHAT, b'{"model":"m","vllm_xargs":{"a":1,"kv_transfer_params":{"remote_host":"x"}}}',
         {"model": "m", "vllm_xargs": {"a": 1}}),
        (Api.GENERATE, b'{"sampling_params":{"n":2,"extra_args":{"kv_transfer_param\\u0073":{}}},"token_ids":[1]}',
         {"sampling_params": {"n": 2, "extra_args": {}}, "token_ids": [1]}),
    ],
)  # fmt: skip
def test_places_among_an_engines_extra_arguments_are_seen_and_taken_out(api, body, expected):
    assert parse(api, body).names_places
    assert json.loads(without_places(body)) == expected
    assert not parse(api, without_places(body)).names_places


@pytest.mark.parametrize("extra", ["1", "[]", "null", '"kv_transfer_params"', "{}"])
def test_other_extra_arguments_are_left_alone(extra):
    body = f'{{"model":"m","vllm_xargs":{extra},"sampling_params":{{"extra_args":{extra}}}}}'.encode()
    assert not parse(Api.CHAT, body).names_places
    assert not parse(Api.GENERATE, body).names_places
    assert without_places(body) == body
