"""The engine model fitted to the real vLLM on CPU, as a person would do it (`make test-real`)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.real_vllm import MARKS, installed, served
from fairlead.embedded.supervisor.launch import free_port
from fairlead.engines import EngineSpec
from fairlead.simulator.profile import load_profile

pytestmark = [*MARKS, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    spec = EngineSpec(
        "tiny", host="127.0.0.1", port=free_port(), max_context_tokens=2048, args=("--max-num-seqs", "64")
    )
    with served(installed(), spec, tmp_path_factory.mktemp("vllm") / "log"):
        yield f"http://127.0.0.1:{spec.port}"


def test_a_live_vllm_is_calibrated_and_predicted(server: str, tmp_path: Path) -> None:
    profile, report = tmp_path / "profile.json", tmp_path / "report.jsonl"
    command = [
        sys.executable, "-m", "fairlead.cli.main", "simulate", "calibrate", "--url", server, "--model", "tiny",
        "--duration", "30", "--engine", "max_num_seqs=64", "--engine", "max_model_len=2048", "--out", str(profile),
        "--save-report", str(report), "-o", "json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    said = json.loads(done.stdout)
    assert said["requests"] > 50
    assert said["unusable"] <= said["requests"] // 20
    found = load_profile(profile)
    assert found.engine.block_tokens == 128  # the CPU backend's own, told by its metrics
    assert found.cost is not None
    assert 0 < found.cost.step_s(0, 0, 1, 100) <= found.cost.step_s(0, 0, 8, 800)
    assert found.cost.step_s(500, 125_250, 1, 100) > found.cost.step_s(0, 0, 1, 100)
    # A busy machine changes between the halves; how close it comes on a quiet one is a benchmark's business.
    for row in said["held_out"]:
        if row["quantile"] == 0.5:
            assert 1 / 4 < row["predicted_s"] / row["observed_s"] < 4, row
    again = [*command[:5], str(report), "-o", "json"]
    refitted = json.loads(subprocess.run(again, capture_output=True, text=True, timeout=300, check=True).stdout)
    assert refitted["requests"] == said["requests"]
