"""The real vLLM on CPU: behind the gateway, and under the conformance kit (`make test-real`)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Kubectl, Platform, start_up, stop_up
from e2e.real_vllm import MARKS, installed, served
from fairlead.engines import (
    Adapter,
    AdapterSettings,
    CacheSettings,
    EngineSpec,
    KvEventPublishing,
    KvTransfer,
    Parallelism,
    engine_for,
)
from fairlead.engines.conformance import CHECKS, Result, Target, examine

pytestmark = MARKS


@pytest.fixture(scope="module")
def vllm() -> dict[str, str]:
    return installed()


@pytest.fixture(scope="module")
def platform_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("vllm")
    yield start_up(data, "--nodes", "1")
    stop_up(data)


PARSE = """
import json, sys
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
ServeSubcommand().subparser_init(parser.add_subparsers())
parsed = [vars(parser.parse_args(argv)) for argv in json.load(sys.stdin)]
print("PARSED" + json.dumps([{name: value if isinstance(value, (int, float, str)) else repr(value)
                               for name, value in one.items()} for one in parsed]))
"""
"""Puts command lines through the parser of the installed vLLM."""


def test_vllm_understands_every_command_line(vllm: dict[str, str]) -> None:
    everything = EngineSpec(
        "m",
        aliases=("n",),
        source="/m",
        drain_s=65,
        parallelism=Parallelism(tensor=2, pipeline=2, data=2, expert=4),
        role="prefill",
        adapters=AdapterSettings((Adapter("a", "/a"),), max_count=2, max_rank=16),
        cache=CacheSettings(32, 0.8, "fp8", prefix_caching=False, offload_bytes=2**32),
        max_context_tokens=4096,
        kv_events=KvEventPublishing("tcp://*:5600", "tcp://*:5601", "kv@10.0.0.1:8000@m", 100),
    )
    specs = (
        everything,
        EngineSpec("m", source="/m", role="encode", kv_transfer=KvTransfer("ECCPUConnector")),
        EngineSpec("m", source="/m", parallelism=Parallelism(tensor=8, pipeline=2, hosts=2)),
        EngineSpec("m", source="/m", parallelism=Parallelism(tensor=2, data=4, hosts=2)),
    )
    lines = [member.argv[1:] for spec in specs for member in engine_for("vllm").member_commands(spec)]
    # What the kubelet expands on its way to the server.
    group = {"$(LWS_GROUP_SIZE)": "2", "$(LWS_WORKER_INDEX)": "1", "$(LWS_LEADER_ADDRESS)": "10.0.0.1"}
    expanded = [[group.get(part, part) for part in line] for line in lines]
    python = Path(vllm["VLLM"]).parent / "python"
    done = subprocess.run(
        [str(python), "-c", PARSE], input=json.dumps(expanded), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, encode, leader, worker, ranks, more_ranks = json.loads(done.stdout.partition("PARSED")[2])
    assert (one["shutdown_timeout"], one["block_size"], one["max_lora_rank"]) == (60, 32, 16)
    assert (one["tensor_parallel_size"], one["data_parallel_size"], one["enable_expert_parallel"]) == (2, 2, True)
    assert (one["enable_prefix_caching"], one["kv_cache_dtype"], one["kv_offloading_size"]) == (False, "fp8", 4.0)
    assert "kv@10.0.0.1:8000@m" in one["kv_events_config"]
    assert "NixlConnector" in one["kv_transfer_config"]
    assert "ec_producer" in encode["ec_transfer_config"]
    assert (leader["nnodes"], leader["headless"], worker["headless"]) == (2, False, True)
    assert (ranks["data_parallel_size_local"], more_ranks["data_parallel_start_rank"]) == (2, 2)


@pytest.mark.timeout(900)
def test_vllm_conforms_started_by_its_adapter(tmp_path: Path, vllm: dict[str, str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    events = f"ipc://{tmp_path}/kv"
    spec = EngineSpec(
        "tiny",
        aliases=("tiny-alias",),
        host="127.0.0.1",
        port=port,
        adapters=AdapterSettings((Adapter("style", vllm["LORA"]),), max_count=2, max_rank=8),
        cache=CacheSettings(block_tokens=32, prefix_caching=True),
        max_context_tokens=2048,
        kv_events=KvEventPublishing(events, topic=f"kv@127.0.0.1:{port}@tiny"),
    )
    with served(vllm, spec, tmp_path / "log") as process:
        target = Target(
            engine_for("vllm"),
            f"http://127.0.0.1:{port}",
            "tiny",
            nonce=os.urandom(4).hex(),
            names=("tiny", "tiny-alias", "style"),
            adapter=Adapter("extra", vllm["LORA"]),
            kv_endpoint=events,
            process_id=process.pid,
        )
        results = asyncio.run(all_results(target))
    # The CPU build does not sleep.
    assert [r.check for r in results if r.outcome != "pass"] == ["sleeps and wakes"]
    assert len(results) == len([c for c in CHECKS if c.api in ("any", "openai")])


async def all_results(target: Target) -> list[Result]:
    return [result async for result in examine(target)]


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
    # On a busy machine one event carries several tokens.
    assert sum(t is not None for t in texts) > 1
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
