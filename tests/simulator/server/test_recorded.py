"""Side by side with the real vLLM 0.32: more than 500 requests that it was asked, and what it answered.

Errors are equal in their content, but for six whose message lists every branch of a large union (`loose`); answers that
succeed have the same fields of the same types, except where the text of a model without training shows (empty deltas).
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from simulator.server.recorded import DATA, RECORDED, ask

# The cases are one conversation with one server: adapters that one loads, a later one lists.
pytestmark = pytest.mark.xdist_group("recorded")

# The model of the recording said nothing that can be shown, or more than the simulated one does.
OTHER_TEXT = frozenset(
    (
        "chat: stop list", "chat: logprobs streamed", "completion: logprobs", "completion: logprobs streamed",
        "completion: echo logprobs", "completion: prompt_logprobs", "completion: return_tokens_as_token_ids",
        "chat: prompt_logprobs", "response: text format", "response: streamed", "message: streamed", "message: tools",
        "chat: tools required streamed", "chat: tools named streamed", "completion: response_format json_schema",
        "completion: logprobs 0", "completion: logprobs true",
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    lora = tmp_path_factory.mktemp("lora")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "fairlead.simulator.server", "--port", "0", "--model", "tiny",
            "--served-model-name", "alias", "--max-model-len", "2048", "--num-gpu-blocks-override", "512",
            "--tokenizer", str(DATA / "model"), "--enable-lora", "--max-loras", "2", "--max-cpu-loras", "4",
            "--lora-modules", f"one={lora}", "--ttft-ms", "1", "--itl-ms", "1", "--tool-call-probability", "0",
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    yield int(process.stdout.readline().split()[-1]), str(lora)
    process.kill()
    process.wait()
    process.stdout.close()


def _shape(value):
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return "null" if value is None else type(value).__name__


def _without_text(shape):
    """What is left when texts that may be empty are put aside."""
    if isinstance(shape, dict):
        loose = ("content", "delta", "bytes", "top_logprobs", "output", "stop_reason", "incomplete_details")
        return {name: _without_text(each) for name, each in shape.items() if name not in loose}
    return [_without_text(each) for each in shape] if isinstance(shape, list) else shape


@pytest.mark.parametrize("case", RECORDED, ids=[case["name"] for case in RECORDED])
def test_answers_as_vllm_does(server, case):
    port, lora = server
    response, text = ask(port, lora, case)
    assert response.status == case["status"], text
    assert response.getheader("Allow") == case.get("allow")
    if case["status"] >= 400 and "answer" in case:
        ours, theirs = json.loads(text), case["answer"]
        if case.get("loose"):
            ours["error"]["message"] = theirs["error"]["message"]
        assert ours == theirs
        return
    if case["content_type"] is not None:
        assert response.getheader("Content-Type") == case["content_type"]
    if case["name"] in OTHER_TEXT:
        return
    if "shape" in case:
        assert _without_text(_shape(json.loads(text))) == _without_text(case["shape"])
    elif "events" in case:
        events = [_shape(json.loads(line[6:])) for line in text.splitlines() if line.startswith("data: {")]
        ours = [_without_text(event) for event in events]
        assert [event for event in map(_without_text, case["events"]) if event not in ours] == []
    elif "text" in case:
        assert text == case["text"]
