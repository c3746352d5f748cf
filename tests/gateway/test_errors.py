"""The gateway's own errors, as the official SDKs read them."""

import json

import anthropic
import openai
import pytest
from aiohttp import web

from fairlead.gateway import errors
from fairlead.gateway.errors import Reply, Shape, shape_of, shaped

ALL = [
    errors.bad_request("`model` is missing.", "model"),
    errors.model_needed(3),
    errors.unknown_model("m" * 5000, 2),
    errors.unknown_path("GET", "/x"),
    errors.method_not_allowed("GET", "/v1/messages", "POST"),
    errors.not_in_cache("m"),
    errors.too_large(100),
    errors.dropped("rejected-saturated", "The pool is saturated.", 0.2),
    errors.dropped("evicted-priority", "A request with a higher priority took its place.", 3.1),
    errors.dropped("rejected-shutting-down", "The gateway shuts down.", 1, 503),
    errors.internal(),
    errors.unavailable("Memory is full.", "gateway_memory", 1),
    errors.no_endpoints("No replica is ready.", 5),
    errors.timed_out("No replica came in time."),
]


@pytest.mark.parametrize("reply", ALL, ids=lambda r: f"{r.status}-{r.reason}")
def test_every_error_has_each_form(reply):
    message = json.loads(reply.body)["error"]["message"]
    assert message.endswith(".") and len(message) < 600
    assert json.loads(shaped(reply, Shape.OPEN_INFERENCE).body) == {"error": message}
    form = json.loads(shaped(reply, Shape.ANTHROPIC).body)
    assert (form["type"], form["error"]["message"]) == ("error", message)
    assert shaped(reply, Shape.ANTHROPIC).headers == reply.headers
    assert shaped(reply, Shape.OPENAI) is reply


def test_refusals_carry_when_to_come_back_and_why():
    assert dict(ALL[7].headers) == {"retry-after": "1", "x-llm-d-request-dropped-reason": "rejected-saturated"}
    assert ALL[8].headers["retry-after"] == "4"
    assert ALL[12].headers["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"
    assert "x-llm-d-request-dropped-reason" not in ALL[11].headers
    assert ALL[4].headers == {"allow": "POST"}


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/messages", Shape.ANTHROPIC),
        ("/v1/messages/count_tokens", Shape.ANTHROPIC),
        ("/v1/chat/completions", Shape.OPENAI),
        ("/v2/rerank", Shape.OPENAI),
        ("/v2/models/m/infer", Shape.OPEN_INFERENCE),
        ("/v2/health/ready", Shape.OPEN_INFERENCE),
        ("/v2", Shape.OPEN_INFERENCE),
        ("/v1/models/m:predict", Shape.OPEN_INFERENCE),
        ("/v1/models/m", Shape.OPENAI),
    ],
)
def test_the_path_tells_the_form(path, shape):
    assert shape_of(path) is shape


def test_answers_keep_their_form():
    page = errors.answer({"object": "list"}, "models")
    assert shaped(page, Shape.ANTHROPIC) is page


@pytest.fixture
async def refusing():
    """A server that gives one reply to everything, in the form of the path."""
    state: dict[str, Reply] = {}

    async def refuse(request: web.Request) -> web.Response:
        reply = shaped(state["reply"], shape_of(request.path))
        return web.Response(
            status=reply.status, body=reply.body, headers=dict(reply.headers), content_type="application/json"
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", state
    await runner.cleanup()


async def test_the_sdks_raise_what_the_status_says(refusing):
    url, state = refusing
    one = openai.AsyncOpenAI(base_url=url + "/v1", api_key="k", max_retries=0)
    two = anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0)
    messages = [{"role": "user", "content": "Hi"}]
    state["reply"] = ALL[7]
    with pytest.raises(openai.RateLimitError, match="saturated") as limited:
        await one.chat.completions.create(model="m", messages=messages)
    assert limited.value.code == "rejected_saturated"
    with pytest.raises(anthropic.RateLimitError, match="saturated"):
        await two.messages.create(model="m", max_tokens=1, messages=messages)
    state["reply"] = errors.unknown_model("m", 1)
    with pytest.raises(openai.NotFoundError) as missing:
        await one.chat.completions.create(model="m", messages=messages)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(anthropic.NotFoundError):
        await two.messages.create(model="m", max_tokens=1, messages=messages)
    state["reply"] = errors.no_endpoints("No replica is ready.", 1)
    with pytest.raises(openai.InternalServerError):
        await one.chat.completions.create(model="m", messages=messages)
    with pytest.raises(anthropic.InternalServerError, match="No replica"):
        await two.messages.create(model="m", max_tokens=1, messages=messages)
