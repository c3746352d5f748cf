"""The embedded API server against answers recorded from a real one; skipped where the recordings are missing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import FAIRLEAD
from patience import PATIENCE_S

FOLDER = Path(
    os.environ.get("FAIRLEAD_CONFORMANCE") or Path(__file__).parents[2].parent / "shared" / "conformance"
).joinpath("api")

# Kinds that the server does not set out to serve: webhooks, admission policies, quota, RBAC evaluation.
OUTSIDE = re.compile(r"^(admission-policy|authorization)/|webhook|resourcequota|limitrange", re.IGNORECASE)

pytestmark = [
    pytest.mark.xdist_group("conformance"),
    pytest.mark.skipif(not (FOLDER / "replay.py").exists(), reason=f"no recordings in {FOLDER}"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    data = tmp_path_factory.mktemp("apiserver")
    process = subprocess.Popen(
        [*FAIRLEAD, "apiserver", "--data", str(data), "--api-port", "0"], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + PATIENCE_S
    while not (data / "kubeconfig").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.stdout is not None
    process.stdout.readline()
    yield data / "kubeconfig"
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def levels(server: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("replay") / "levels.json"
    subprocess.run(
        [sys.executable, str(FOLDER / "replay.py"), str(server), str(FOLDER / "expected.json.gz"), "--summary",
         "--skip-tags", "controllers,history", "--poll-timeout", "3", "--json", str(out)],
        timeout=300, check=False, capture_output=True, cwd=out.parent,
    )  # fmt: skip
    steps: list[dict[str, Any]] = json.loads(out.read_text())
    return [s for s in steps if not OUTSIDE.search(s["scenario"])]


@pytest.mark.timeout(320)
def test_nearly_every_answer_has_the_status_and_shape_of_a_real_server(levels: list[dict[str, Any]]) -> None:
    counted = Counter(s["level"] for s in levels)
    total = len(levels)
    status = 1 - counted["different"] / total
    shape = (counted["shape"] + counted["exact"]) / total
    worst = Counter(s["scenario"] for s in levels if s["level"] in ("different", "status")).most_common(10)
    assert total > 2000
    assert status >= 0.97, worst
    assert shape >= 0.90, worst
