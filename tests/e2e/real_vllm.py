"""The real vLLM on CPU for tests: installed once, started by Fairlead's own adapter, ended by pid.

FAIRLEAD_REAL_VLLM is a program that installs vLLM and prints `VLLM=<command>`, `MODEL=<folder>` and `LORA=<folder>`.
"""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.engines import EngineSpec, engine_for

INSTALLER = Path(
    os.environ.get("FAIRLEAD_REAL_VLLM") or Path(__file__).parents[2].parent / "shared" / "tools" / "real-vllm"
)
MARKS = [
    pytest.mark.real,
    pytest.mark.skipif(not INSTALLER.exists(), reason=f"no installer of vLLM at {INSTALLER}"),
]


def installed() -> dict[str, str]:
    """VLLM, MODEL and LORA -> paths."""
    done = subprocess.run([str(INSTALLER)], capture_output=True, text=True, timeout=1500, check=True)
    return dict(line.split("=", 1) for line in done.stdout.split() if "=" in line)


@contextmanager
def served(paths: dict[str, str], spec: EngineSpec, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server for `spec`, ready, on the tiny model with dummy weights."""
    engine = engine_for("vllm")
    program = (paths["VLLM"], "serve")
    dummy = ("--load-format", "dummy", "--dtype", "float32", "--enforce-eager", *spec.args)
    command = engine.command(replace(spec, source=paths["MODEL"], command=program, args=dummy))
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment = {**os.environ, **command.env, **offline}
    with log.open("wb") as out, subprocess.Popen(command.argv, env=environment, stdout=out, stderr=out) as process:
        try:
            _wait_until_ready(f"http://{spec.host}:{spec.port}{engine.readiness.path}", process)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended before it was ready"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer in time")
