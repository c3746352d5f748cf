"""Bodies are what an SDK would send, whatever was said before; heads go where they should, with the right key."""

from __future__ import annotations

import json

import anthropic
import httpx
import httpx2
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.config import RawRequest, Target, Tensor
from fairlead.bench.session import Session, Turn
from fairlead.bench.targets.sending import Sending, Server
from fairlead.bench.targets.writing import peer, writer

URL = "http://engine:8000"
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
APIS = ("chat", "completions", "responses", "messages", "triton-generate")


def bodies(target: Target, session: Session, answers: list[str], **known) -> list[bytes]:
    """Of each turn, filled in as a worker does it."""
    job = writer(target, 0, ["one"], **known).prepare(session, 7, 0, 1.5)
    quoted = [msgspec.json.encode(answer)[1:-1] for answer in answers]
    filled = []
    for at, turn in enumerate(job.turns):
        assert len(turn.pieces) == at + 1
        filled.append(b"".join(p for pair in zip(turn.pieces, [*quoted[:at], b""], strict=True) for p in pair))
    return filled


def said(session: Session, answers: list[str], upto: int) -> list[dict[str, str]]:
    messages = []
    for at in range(upto + 1):
        text = session.turns[at].text
        messages.append({"role": "user", "content": session.shared + text if at == 0 else text})
        if at < upto:
            messages.append({"role": "assistant", "content": answers[at]})
    return messages


@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS, st.data(), st.sampled_from(APIS))
def test_any_answers_leave_a_body_that_says_them(texts, shared, data, api):
    answers = [data.draw(TEXTS) for _ in texts]
    session = Session([Turn(text, 5, 9) for text in texts], shared=shared)
    for at, body in enumerate(bodies(Target(url=URL, model="m", api=api), session, answers)):
        value, messages = json.loads(body), said(session, answers, at)
        if api in ("chat", "messages"):
            assert value["messages"] == messages
        elif api == "responses":
            assert value["input"] == messages
        else:
            assert value["prompt" if api == "completions" else "text_input"] == "".join(m["content"] for m in messages)


def test_a_text_with_the_mark_in_it_is_no_place_for_an_answer():
    one = writer(Target(url=URL, model="m"), 0, [])
    session = Session([Turn(f"before {one._mark} after", 1, 1), Turn("second", 1, 1)])
    second = one.prepare(session, 0, 0, 0.0).turns[1]
    assert len(second.pieces) == 2
    assert "answer" in json.loads(b"said".join(second.pieces))["messages"][0]["content"]


def sent_by(call, library=httpx):
    """What an SDK sends for a call: the request, and its body."""
    seen = []

    def answer(request):
        seen.append(request)
        return library.Response(200, json={})

    call(library.Client(transport=library.MockTransport(answer)))
    return seen[0], json.loads(seen[0].content)


def fields(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode().split("\r\n")
    assert lines.pop() == "Content-Length: "
    return first, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_chat_is_what_openais_sdk_sends(monkeypatch):
    monkeypatch.setenv("KEY", "secret")
    session = Session([Turn("hello", 5, 9), Turn("result", 3, 4, role="tool")], shared="You are brief. ")
    call = {"id": "call00001", "type": "function", "function": {"name": "tool", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "You are brief. hello"},
        {"role": "assistant", "content": "hi", "tool_calls": [call]},
        {"role": "tool", "content": "result", "tool_call_id": "call00001"},
    ]
    request, theirs = sent_by(
        lambda http: openai.OpenAI(base_url=f"{URL}/v1", api_key="secret", http_client=http).chat.completions.create(
            model="m", messages=messages, max_tokens=4, stream=True, stream_options={"include_usage": True},
            extra_body={"ignore_eos": True, "temperature": 0},
        )
    )  # fmt: skip
    target = Target(url=URL + "/v1", model="m", key_env="KEY", parameters={"temperature": 0})
    assert json.loads(bodies(target, session, ["hi"])[1]) == theirs
    line, headers = fields(writer(target, 0, []).prepare(session, 0, 0, 0.0).head)
    assert line == f"POST {request.url.path} HTTP/1.1"
    for name in ("authorization", "host", "content-type"):
        assert headers[name] == request.headers[name]


def test_messages_are_what_anthropics_sdk_sends(monkeypatch):
    monkeypatch.setenv("KEY", "secret")
    session = Session([Turn("hello", 5, 9), Turn("result", 3, None, role="tool")])
    use = [{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "call00001", "name": "tool", "input": {}}]
    result = {"type": "tool_result", "tool_use_id": "call00001", "content": "result"}
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": use},
        {"role": "user", "content": [result]},
    ]
    request, theirs = sent_by(
        lambda http: anthropic.Anthropic(base_url=URL, api_key="secret", http_client=http).messages.create(
            model="m", messages=messages, max_tokens=4096, stream=True, tool_choice={"type": "none"},
            tools=[{"name": "tool", "input_schema": {"type": "object"}}],
        ),
        httpx2,
    )  # fmt: skip
    target = Target(url=URL, model="m", api="messages", key_env="KEY")
    assert json.loads(bodies(target, session, ["hi"])[1]) == theirs
    line, headers = fields(writer(target, 0, []).prepare(session, 0, 0, 0.0).head)
    assert line == f"POST {request.url.path} HTTP/1.1"
    for name in ("authorization", "host"):
        assert headers[name] == request.headers[name]
    assert headers["x-api-key"] == "secret"  # for others that have this API
    own = Target(url="https://api.anthropic.com", model="m", api="messages", key_env="KEY")
    assert "x-api-key" not in fields(writer(own, 0, []).prepare(session, 0, 0, 0.0).head)[1]


def test_responses_and_embeddings():
    session = Session([Turn("hello", 5, 9)])
    body = json.loads(bodies(Target(url=URL, model="m", api="responses"), session, [])[0])
    hello = [{"role": "user", "content": "hello"}]
    assert body == {"model": "m", "input": hello, "max_output_tokens": 9, "stream": True}
    vllm = json.loads(bodies(Target(url=URL, model="m", api="responses"), session, [], server=Server(kind="vllm"))[0])
    assert vllm == {**body, "ignore_eos": True}
    body = json.loads(bodies(Target(url=URL, model="m", api="embeddings"), session, [])[0])
    assert body == {"model": "m", "input": "hello"}
    assert not peer(Target(url=URL, api="embeddings")).stream


@pytest.mark.parametrize(
    ("kind", "field", "forced"),
    [("vllm", "max_tokens", True), ("openai", "max_completion_tokens", False), ("ollama", "max_tokens", False),
     ("sglang", "max_tokens", True), ("", "max_tokens", True)],
)  # fmt: skip
def test_optional_fields_by_what_the_server_is(kind, field, forced):
    session = Session([Turn("hello", 5, 9)])
    body = json.loads(bodies(Target(url=URL, model="m"), session, [], server=Server(kind=kind))[0])
    assert body[field] == 9 and ("ignore_eos" in body) == forced
    body = json.loads(bodies(Target(url=URL, model="m", force_length=False), session, [], server=Server(kind=kind))[0])
    assert "ignore_eos" not in body


def test_what_a_probe_found_is_sent():
    sent = Sending(length_field="max_completion_tokens", usage=True, continuous_usage=True)
    body = json.loads(bodies(Target(url=URL, model="m"), Session([Turn("x", 1, 2)]), [], sent=sent)[0])
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert body["max_completion_tokens"] == 2 and "ignore_eos" not in body
    body = json.loads(bodies(Target(url=URL), Session([Turn("x", 1, None)]), [], sent=Sending(usage=False))[0])
    assert set(body) == {"model", "messages", "stream"}


def test_an_adapter_is_the_model_and_has_its_path():
    session = Session([Turn("hello", 5, 9)], adapter="one")
    job = writer(Target(url=URL, model="m", api="triton-generate"), 3, ["one"]).prepare(session, 0, 0, 0.0)
    assert job.adapter == 0 and job.target == 3
    assert job.head.startswith(b"POST /v2/models/one/generate_stream HTTP/1.1\r\n")
    assert json.loads(bodies(Target(url=URL, model="m"), session, [])[0])["model"] == "one"


@pytest.mark.parametrize(
    ("url", "more", "path"),
    [
        ("http://h", {}, "/v1/chat/completions"),
        ("http://h/", {}, "/v1/chat/completions"),
        ("http://h/v1", {}, "/v1/chat/completions"),
        ("http://h/v1/", {}, "/v1/chat/completions"),
        ("http://h/v1/chat/completions", {}, "/v1/chat/completions"),
        ("http://h/team/model", {}, "/team/model/v1/chat/completions"),
        ("http://h/x?version=3", {}, "/x/v1/chat/completions?version=3"),
        ("http://h/x", {"path": "/deployments/${model}/chat?v=1"}, "/deployments/a%2Fb/chat?v=1"),
        ("http://h", {"api": "triton-generate", "stream": False}, "/v2/models/a%2Fb/generate"),
        ("http://h/v2", {"api": "open-inference", "tensors": ()}, "/v2/models/a%2Fb/infer"),
        ("http://h/own", {"api": "raw"}, "/own"),
    ],
)
def test_paths(url, more, path):
    target = Target(url=url, model="a/b", **more)
    head = writer(target, 0, []).prepare(Session([]), 0, 0, 0.0).head
    assert head.startswith(f"POST {path} HTTP/1.1\r\nHost: h\r\n".encode())


def test_credentials_and_headers(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("from-file\n")
    monkeypatch.setenv("TOKEN", "t")

    def headers(**more) -> dict[str, str]:
        return fields(writer(Target(**{"url": URL, **more}), 0, []).prepare(Session([]), 0, 0, 0.0).head)[1]

    assert headers(key_file=str(tmp_path / "key"))["authorization"] == "Bearer from-file"
    azure = headers(key_file=str(tmp_path / "key"), key_header="api-key")
    assert azure["api-key"] == "from-file" and "authorization" not in azure
    assert headers(url="http://me:a%40b@engine:8000")["authorization"] == "Basic bWU6YUBi"
    assert headers(url="http://me:x@engine:8000")["host"] == "engine:8000"
    assert headers(headers={"authorization": "Token ${TOKEN}"})["authorization"] == "Token t"
    assert headers(headers={"host": "other"})["host"] == "other"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"url": "engine:8000"}, "url is 'engine:8000': write http://"),
        ({"url": "http://h:99999"}, "Port out of range"),
        ({"key_env": "NO_SUCH_KEY"}, "key_env is taken from NO_SUCH_KEY"),
        ({"key_file": "/no/such/key"}, "key_file is '/no/such/key': No such file"),
        ({"headers": {"A": "${NO_SUCH_KEY}"}}, "headers.A is taken from NO_SUCH_KEY"),
        ({"headers": {"A": "x\r\nB: y"}}, "the value of header A"),
        ({"headers": {"A b": "x"}}, "no name of a header"),
        ({"headers": {"content-length": "3"}}, "the load generator's own"),
        ({"path": "v1"}, "begins with a slash"),
        ({"api": "open-inference"}, "tensors is not given"),
        ({"api": "open-inference", "tensors": (Tensor(name="x", datatype="F32"),)}, "datatype is 'F32'"),
        ({"api": "open-inference", "tensors": (Tensor(name="x", datatype="FP32", shape=(0,)),)}, "shape is [0]"),
        ({"api": "open-inference", "tensors": (Tensor(name="x", datatype="BYTES"),)}, "BYTES has text alone"),
        ({"api": "raw", "raw": RawRequest(body='{"a": ${promt}}')}, "${promt}: there are"),
        ({"api": "raw", "raw": RawRequest(body='{"a": "${prompt}"')}, "raw.body is not JSON"),
        ({"api": "raw", "raw": RawRequest(body='"${prompt}${prompt}"')}, "more than once"),
    ],
)
def test_what_cannot_be_asked_says_why(wrong, told):
    with pytest.raises(ValueError) as error:
        writer(Target(**{"url": URL, **wrong}), 0, [])
    assert told in str(error.value)


def test_no_secret_is_in_a_message(monkeypatch):
    monkeypatch.setenv("KEY", "sec\nret")
    with pytest.raises(ValueError) as error:
        writer(Target(url=URL, key_env="KEY"), 0, [])
    assert "ret" not in str(error.value).replace("secret", "")


@given(TEXTS, TEXTS, st.integers(1, 99))
def test_a_template_is_filled_with_json(text, answer, tokens):
    raw = RawRequest(body='{"q": ["${model}: ${prompt}!"], "n": ${output_tokens}}')
    session = Session([Turn(text, 1, tokens), Turn("again", 1, tokens)])
    first, second = (json.loads(b) for b in bodies(Target(url=URL, model='m"', api="raw", raw=raw), session, [answer]))
    assert first == {"q": [f'm": {text}!'], "n": tokens}
    assert second == {"q": [f'm": {text}{answer}again!'], "n": tokens}


def test_tensors_have_the_values_that_are_asked_for():
    inputs = (
        Tensor(name="text", datatype="BYTES", values="text"),
        Tensor(name="input_ids", datatype="INT64", shape=(1, -1), values="token_ids", low=5, high=9),
        Tensor(name="attention_mask", datatype="INT64", shape=(1, -1), values="ones"),
        Tensor(name="flags", datatype="BOOL", shape=(4,)),
        Tensor(name="x", datatype="FP32", shape=(2, 3), low=-1, high=1),
    )
    target = Target(url=URL, model="m", api="open-inference", tensors=inputs)
    one, two = (writer(target, 0, []).prepare(Session([Turn("hi", 6, None)]), n, 0, 0.0).turns[0] for n in (1, 2))
    text, ids, mask, flags, x = json.loads(one.pieces[0])["inputs"]
    assert text == {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hi"]}
    assert ids["shape"] == [1, 6] and len(ids["data"]) == 6 and set(ids["data"]) <= set(range(5, 10))
    assert mask["data"] == [1] * 6 and all(type(v) is bool for v in flags["data"])
    assert x["shape"] == [2, 3] and len(x["data"]) == 6 and all(-1 <= v <= 1 for v in x["data"])
    assert one.pieces != two.pieces  # no two requests are alike, and each is the same every time
    again = writer(target, 0, []).prepare(Session([Turn("hi", 6, None)]), 1, 0, 0.0).turns[0]
    assert one.pieces == again.pieces


def test_generate_by_what_the_model_takes():
    session = Session([Turn("hi", 6, 3)])
    target = Target(url=URL, model="m", api="triton-generate")
    assert json.loads(bodies(target, session, [])[0]) == {"text_input": "hi", "stream": True, "max_tokens": 3}
    sampling = Server(kind="triton", tensors=(Tensor(name="sampling_parameters", datatype="BYTES", values="text"),))
    assert json.loads(bodies(target, session, [], server=sampling)[0]) == {
        "text_input": "hi", "stream": True, "exclude_input_in_output": True,
        "parameters": {"max_tokens": 3, "ignore_eos": True},
    }  # fmt: skip
