"""Conversations as prefixes."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.requests.content import Text, conversation, system_text


def raw(value, **options) -> msgspec.Raw:
    return msgspec.json.decode(json.dumps(value, **options).encode(), type=msgspec.Raw)


def read(messages, **options) -> Text:
    body = b'{"messages":' + json.dumps(messages, **options).encode() + b"}"
    value = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["messages"]
    text = conversation(value, body)
    marked = memoryview(b"\xef\xbb\xbf" + body)[3:]
    value = msgspec.json.decode(marked, type=dict[str, msgspec.Raw])["messages"]
    assert bytes(conversation(value, marked).raw) == bytes(text.raw)
    return Text(bytes(text.raw), text.tokens, text.media)


def message(*parts, role="user") -> dict:
    return {"role": role, "content": list(parts)}


def words(text: str, **more) -> dict:
    return {"type": "text", "text": text, **more}


def test_text_passes_as_it_is():
    for messages in ([{"role": "user", "content": "a [b]"}], [message(words("a"))], "text", {}, 3, [], [1], [[]]):
        assert read(messages).raw == json.dumps(messages).encode()
        assert read(messages).media == 0


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}},
        {"type": "input_audio", "input_audio": {"data": "A" * 50_000, "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64," + "A" * 50_000}},
        {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 50_000},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 50_000}},
        {"type": "document", "source": {"type": "base64", "data": "A" * 50_000}},
    ],
)
def test_media_are_digests_and_count_by_kind(part):
    text = read([message(words("see"), part), {"role": "assistant", "content": "[ok]"}])
    assert text.media == 1
    assert len(text.raw) < 250 and text.raw.endswith(b'{"role": "assistant", "content": "[ok]"}]')
    assert 700 < text.tokens < 4200
    other = json.loads(json.dumps(part).replace("AAAA", "BAAA", 1))
    assert read([message(words("see"), part)]) == read([message(words("see"), part)])
    assert read([message(words("see"), part)]).raw != read([message(words("see"), other)]).raw


def test_media_within_a_tool_result():
    picture = {"type": "image", "source": {"type": "base64", "data": "A" * 9000}}
    text = read([message({"type": "tool_result", "content": [picture, words("it")]}, words("and", cache_control={}))])
    assert text.media == 1 and len(text.raw) < 300
    assert b"cache_control" not in text.raw


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
def test_cache_marks_leave_no_trace(separators):
    plain = [message(words("one"), words("two")), message(words("three", x=1))]
    marked = json.loads(json.dumps(plain))
    marked[0]["content"][1] = {"cache_control": {"type": "ephemeral"}, **marked[0]["content"][1]}
    marked[1]["content"][0]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    assert read(marked, separators=separators).raw == read(plain, separators=separators).raw


def test_system_without_the_line_that_changes_with_each_request():
    line = words("x-anthropic-billing-header: cc_version=1; cch=42;")
    assert bytes(system_text(raw([line, words("Be brief")])).raw) == json.dumps(words("Be brief")).encode()
    assert bytes(system_text(raw("Be brief")).raw) == b'"Be brief"'
    assert bytes(system_text(raw([words("Be brief")])).raw) == json.dumps([words("Be brief")]).encode()


PARTS = st.one_of(
    st.builds(words, st.text(max_size=20)),
    st.builds(lambda t: words(t, cache_control={"type": "ephemeral"}), st.text(max_size=20)),
    st.builds(lambda d: {"type": "image", "source": {"data": d}}, st.text(max_size=20)),
    st.builds(lambda t: {"type": "tool_result", "content": [words(t)]}, st.text(max_size=20)),
)
MESSAGES = st.lists(
    st.builds(lambda c: {"role": "user", "content": c}, st.text(max_size=20) | st.lists(PARTS, max_size=4)), max_size=5
)


@given(start=MESSAGES, more=MESSAGES)
def test_equal_beginnings_are_equal_prefixes(start, more):
    one, two = read(start).raw, read(start + more).raw
    assert two.startswith(one[:-1])
    json.loads(one), json.loads(two)


def test_long_conversations_are_read_like_short_ones():
    messages = [{"role": "user", "content": "word " * 10_000}]
    assert read(messages).raw == json.dumps(messages).encode()
    longer = [*messages, message(words("[x]", cache_control={}), words("two"))]
    assert read(longer).raw == json.dumps([*messages, message(words("[x]"), words("two"))]).encode()
