"""The real vLLM on CPU behind the gateway (`make test-real`).

FAIRLEAD_REAL_VLLM is a program that installs vLLM and prints `VLLM=<command>` and `MODEL=<folder>`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Kubectl, Platform, start_up, stop_up

INSTALLER = Path(
    os.environ.get("FAIRLEAD_REAL_VLLM") or Path(__file__).parents[2].parent / "shared" / "tools" / "real-vllm"
)
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not INSTALLER.exists(), reason=f"no installer of vLLM at {INSTALLER}"),
]


@pytest.fixture(scope="module")
def vllm() -> dict[str, str]:
    done = subprocess.run([str(INSTALLER)], capture_output=True, text=True, timeout=1500, check=True)
    return dict(line.split("=", 1) for line in done.stdout.split() if "=" in line)


@pytest.fixture(scope="module")
def platform_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("vllm")
    yield start_up(data, "--nodes", "1")
    stop_up(data)


@pytest.mark.timeout(900)
def test_vllm_streams_a_chat_answer_through_the_gateway(platform_of_its_own: Platform, vllm: dict[str, str]) -> None:
    kubectl = Kubectl(platform_of_its_own.kubeconfig)
    service = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": "real"},
        "spec": {
            "model": {"name": "tiny", "source": vllm["MODEL"]},
            "runtime": "vllm",
            "command": [vllm["VLLM"], "serve"],
            "args": ["--load-format", "dummy", "--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"],
            "env": [
                {"name": "HF_HUB_OFFLINE", "value": "1"},
                {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
                {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"},
            ],
        },
    }
    kubectl.run("apply", "-f", "-", stdin=json.dumps(service))
    kubectl.wait_for("condition=Ready", "modelservice/real", timeout=400)
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "the quick brown fox"}],
        "max_tokens": 32,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    events = stream(str(platform_of_its_own.gateway), body)
    texts = [e["choices"][0]["delta"].get("content") for e in events if e.get("choices")]
    assert sum(t is not None for t in texts) >= 30
    assert events[-1]["usage"]["completion_tokens"] == 32


def stream(gateway: str, body: dict[str, object]) -> list[dict[str, object]]:
    request = urllib.request.Request(
        f"{gateway}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 15
    while True:
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                lines = [line[6:].strip() for line in response if line.startswith(b"data: ")]
            assert lines[-1] == b"[DONE]"
            return [json.loads(line) for line in lines[:-1]]
        except urllib.error.HTTPError as refused:
            assert refused.code == 503 and time.monotonic() < deadline, refused.read()
            time.sleep(0.2)
