"""Real vLLM engines of two roles on CPU: the prompt is computed by one, its KV blocks move, the other answers.

`make test-real`. The connector is NIXL over UCX, as on clusters; shared memory and TCP take the place of RDMA.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Kubectl, Platform, start_up, stop_up
from e2e.real_vllm import MARKS, installed, with_nixl, with_weights
from e2e.test_model_service import post

pytestmark = [*MARKS, pytest.mark.timeout(900), pytest.mark.xdist_group("real-prefill-decode")]

LONG = "fox dog jumps lazy quick over brown world hello says and the to " * 100
SOURCES = "vllm:prompt_tokens_by_source_total"


def role(name: str, core: int, variables: dict[str, str]) -> dict[str, Any]:
    """Each has a core: engines that wait for each other's threads take seconds for a token."""
    own = {**variables, "VLLM_CPU_OMP_THREADS_BIND": str(core % (os.cpu_count() or 1))}
    return {"name": name, "replicas": 1, "env": [{"name": key, "value": value} for key, value in own.items()]}


def service(vllm: dict[str, str], model: Path, nixl: Path) -> dict[str, Any]:
    variables = {
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "PYTHONPATH": str(nixl),
    }  # fmt: skip
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": "split"},
        "spec": {
            "model": {"name": "tiny", "source": str(model)},
            "runtime": "vllm",
            "roles": [role("prefill", 0, variables), role("decode", 1, variables)],
            # Of the machine's memory, which others use too: without it an engine wants nearly all to be free.
            "kvCache": {"memoryPercent": 20},
            "command": [vllm["VLLM"], "serve"],
            "args": ["--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"],
        },
    }


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, Kubectl]]:
    vllm = installed()
    nixl, model = with_nixl(vllm), with_weights(vllm, tmp_path_factory.mktemp("model"))
    data = tmp_path_factory.mktemp("split")
    platform = start_up(data, "--nodes", "1")
    try:
        kubectl = Kubectl(platform.kubeconfig)
        kubectl.run("apply", "-f", "-", stdin=json.dumps(service(vllm, model, nixl)))
        kubectl.wait_for("condition=Ready", "modelservice/split", timeout=700)
        yield platform, kubectl
    finally:
        stop_up(data)


def addresses(kubectl: Kubectl) -> dict[str, str]:
    """Role -> base URL of its engine."""
    pods = kubectl.json("get", "pods", "-l", "fairlead.dev/model-service=split")["items"]
    return {p["metadata"]["labels"]["fairlead.dev/role"]: f"http://{p['status']['podIP']}:8000" for p in pods}


def metrics(base: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{base}/metrics", timeout=20) as response:
        lines = [line for line in response.read().decode().splitlines() if line.startswith("vllm:")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def risen(before: dict[str, float], after: dict[str, float], name: str, label: str = "") -> float:
    return sum(v - before.get(k, 0.0) for k, v in after.items() if k.startswith(name) and label in k)


def asked(base: str, prompt: str, tokens: int = 24) -> dict[str, Any]:
    """The answer's only choice, and how many tokens the prompt has."""
    body = {
        "model": "tiny",
        "prompt": prompt,
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "logprobs": 0,
    }
    status, answer = post(base, "/v1/completions", body, timeout_s=120)
    assert status == 200, answer
    return {**answer["choices"][0], "prompt_tokens": answer["usage"]["prompt_tokens"]}


@contextmanager
def answers_under_way(gateway: str, count: int = 2) -> Iterator[None]:
    """Long answers to short prompts: those who decode would be delayed by somebody's long prompt."""
    stop, begun = threading.Event(), threading.Barrier(count + 1)
    body = {"model": "tiny", "prompt": "hello", "max_tokens": 2000, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(
        f"{gateway}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )

    def read() -> None:
        with urllib.request.urlopen(request, timeout=120) as response:
            for n, _ in enumerate(response):
                if n == 20:
                    begun.wait(60)
                if stop.is_set():
                    return

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        begun.wait(60)
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def test_the_prompt_is_computed_at_one_engine_and_answered_by_the_other(split: tuple[Platform, Kubectl]) -> None:
    platform, kubectl = split
    at = addresses(kubectl)
    for n in range(10):
        prompt = f"{n} {LONG}"
        with answers_under_way(platform.gateway):
            before = {role: metrics(base) for role, base in at.items()}
            answer = asked(platform.gateway, prompt)
            after = {role: metrics(base) for role, base in at.items()}
        # Where both ways seem to take as long the picker may leave a request whole.
        if risen(before["decode"], after["decode"], "vllm:nixl_bytes_transferred_sum"):
            break
    tokens = answer["prompt_tokens"]
    assert tokens > 1000
    assert risen(before["prefill"], after["prefill"], SOURCES, 'source="local_compute"') == tokens
    assert risen(before["prefill"], after["prefill"], "vllm:generation_tokens_total") == 1
    # The blocks came from the other engine, and no token of the prompt was computed again.
    assert risen(before["decode"], after["decode"], SOURCES, 'source="external_kv_transfer"') == tokens
    assert risen(before["decode"], after["decode"], SOURCES, 'source="local_compute"') == 0
    # Two layers, K and V, two heads of 64 numbers of four bytes: 2 KiB a token.
    assert risen(before["decode"], after["decode"], "vllm:nixl_bytes_transferred_sum") >= 2048 * tokens

    # What one engine says that does both, and that it would say something else if the prompt's beginning were another.
    whole = asked(at["prefill"], prompt)
    assert answer["text"] == whole["text"]
    assert answer["logprobs"]["token_logprobs"] == pytest.approx(whole["logprobs"]["token_logprobs"], abs=1e-3)
    assert asked(at["prefill"], f"another {LONG}")["text"] != whole["text"]


def test_a_short_prompt_is_computed_where_it_is_answered(split: tuple[Platform, Kubectl]) -> None:
    platform, kubectl = split
    at = addresses(kubectl)
    before = {role: metrics(base) for role, base in at.items()}
    answer = asked(platform.gateway, "hello world", 4)
    after = {role: metrics(base) for role, base in at.items()}
    assert risen(before["decode"], after["decode"], SOURCES, 'source="local_compute"') == answer["prompt_tokens"]
    assert risen(before["prefill"], after["prefill"], "vllm:prompt_tokens_total") == 0
