"""The driver dies at every one of its writes; its successor finds nothing half done and gives nothing away twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("scenario", ["prepare", "unprepare", "again"])
def test_death_at_every_write(dra_kubeconfig: Path, dra_namespace: str, short_path: Path, scenario: str) -> None:
    """`again`: it dies while giving a claim back, and the kubelet asks for the claim once more."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("crash_runs.py")),
         str(dra_kubeconfig), dra_namespace, str(short_path), scenario],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr[-3000:]
    failures = [line for line in lines if line.get("error") or line["status"] != 0]
    assert failures == [], json.dumps(failures[0])
    deaths = [line for line in lines if not line["lived"]]
    assert lines[-1]["lived"], "it went on until a run lived through all of its writes"
    assert len(deaths) >= 10
    refused = {line["rival was refused"] for line in deaths}
    assert refused == {True, False}, "early deaths leave nothing, late ones a record"
