"""Asks the real vLLM the recorded requests again (`make test-real`): the recording is true to the version installed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from simulator.server.recorded import RECORDED, ask

INSTALLER = Path(
    os.environ.get("FAIRLEAD_REAL_VLLM") or Path(__file__).parents[3].parent / "shared" / "tools" / "real-vllm"
)
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not INSTALLER.exists(), reason=f"no installer of vLLM at {INSTALLER}"),
]
# An identifier of the process, or of the connection, stands in these.
UNSTEADY = frozenset(("raw: surrogate",))


@pytest.fixture(scope="module")
def vllm(tmp_path_factory):
    done = subprocess.run([str(INSTALLER)], capture_output=True, text=True, timeout=1500, check=True)
    paths = dict(line.split("=", 1) for line in done.stdout.split() if "=" in line)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_SERVER_DEV_MODE": "1",
    }  # fmt: skip
    command = [
        paths["VLLM"], "serve", paths["MODEL"], "--host", "127.0.0.1", "--port", str(port), "--served-model-name",
        "tiny", "alias", "--load-format", "dummy", "--dtype", "float32", "--enforce-eager", "--max-model-len", "2048",
        "--enable-lora", "--max-loras", "2", "--max-cpu-loras", "4", "--lora-modules", f"one={paths['LORA']}",
        "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--num-gpu-blocks-override", "512",
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            _wait(port, process)
            yield port, paths["LORA"]
        finally:
            process.terminate()


def _wait(port, process):
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        assert process.poll() is None, "vLLM ended before it was ready"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("vLLM did not answer in time")


@pytest.mark.timeout(900)
def test_vllm_still_answers_as_recorded(vllm):
    port, lora = vllm
    different = []
    for case in RECORDED:
        response, text = ask(port, lora, case)
        if response.status != case["status"]:
            different.append((case["name"], response.status, text[:200]))
        elif case["status"] >= 400 and "answer" in case and case["name"] not in UNSTEADY:
            ours, theirs = json.loads(text), case["answer"]
            if case.get("loose"):
                ours["error"]["message"] = theirs["error"]["message"]
            if ours != theirs:
                different.append((case["name"], text[:200]))
    assert different == []
