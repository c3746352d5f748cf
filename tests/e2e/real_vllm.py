"""The real vLLM on CPU for tests: installed once, started by Fairlead's own adapter, ended by pid.

FAIRLEAD_REAL_VLLM is a program that installs vLLM and prints `VLLM=<command>`, `MODEL=<folder>` and `LORA=<folder>`.
"""

from __future__ import annotations

import os
import shutil
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
NIXL_VERSION = "1.5.1"
MARKS = [
    pytest.mark.real,
    pytest.mark.skipif(not INSTALLER.exists(), reason=f"no installer of vLLM at {INSTALLER}"),
]


def installed() -> dict[str, str]:
    """VLLM, MODEL and LORA -> paths."""
    done = subprocess.run([str(INSTALLER)], capture_output=True, text=True, timeout=1500, check=True)
    return dict(line.split("=", 1) for line in done.stdout.split() if "=" in line)


def with_nixl(paths: dict[str, str]) -> Path:
    """A folder for PYTHONPATH with NIXL, which moves KV blocks from engine to engine; installed once, beside vLLM.

    Its packages are built for CUDA and work without: only the libraries that CUDA needs are left out.
    """
    python = Path(paths["VLLM"]).parent / "python"
    folder = python.parent.parent.parent / f"nixl-{NIXL_VERSION}"
    if not folder.exists():
        part = folder.with_suffix(f".{os.getpid()}")
        wanted = [f"nixl=={NIXL_VERSION}", f"nixl-cu12=={NIXL_VERSION}"]
        command = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--target", str(part), *wanted]
        subprocess.run(command, capture_output=True, timeout=900, check=True)
        part.rename(folder)
    return folder


WEIGHTS = """
import json, math, sys
import torch
from safetensors.torch import save_file
config = json.load(open(sys.argv[1] + "/config.json"))
hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
queries, keys = (config[n] * config["head_dim"] for n in ("num_attention_heads", "num_key_value_heads"))
generator, weights = torch.Generator().manual_seed(1), {}
def put(name, rows, columns):
    weights[name + ".weight"] = torch.randn(rows, columns, generator=generator) * 2 / math.sqrt(columns)
put("model.embed_tokens", vocabulary, hidden)
put("lm_head", vocabulary, hidden)
weights["model.norm.weight"] = torch.ones(hidden)
for layer in range(config["num_hidden_layers"]):
    stem = f"model.layers.{layer}."
    for name, rows, columns in (
        ("self_attn.q_proj", queries, hidden), ("self_attn.k_proj", keys, hidden), ("self_attn.v_proj", keys, hidden),
        ("self_attn.o_proj", hidden, queries), ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden),
        ("mlp.down_proj", hidden, inner),
    ):
        put(stem + name, rows, columns)
    for name in ("input_layernorm", "post_attention_layernorm"):
        weights[stem + name + ".weight"] = torch.ones(hidden)
save_file(weights, sys.argv[1] + "/model.safetensors")
"""


def with_weights(paths: dict[str, str], folder: Path) -> Path:
    """The tiny model with random weights that are large enough for an answer to depend on its prompt: with vLLM's dummy
    weights it hardly does."""
    model = folder / "model"
    shutil.copytree(paths["MODEL"], model)
    python = Path(paths["VLLM"]).parent / "python"
    subprocess.run([str(python), "-c", WEIGHTS, str(model)], capture_output=True, timeout=300, check=True)
    return model


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
