"""Load generators as commands: how each is asked for the same load, and where its own figures are afterwards.

Versions that were tried: vllm 0.32, guidellm 0.8.1, aiperf 0.13.0, inference-perf 0.7.0 (needs Python 3.12).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.tiny_tokenizer import NAME

PROMPT_TOKENS, OUTPUT_TOKENS = 64, 16


@dataclass(frozen=True)
class Asked:
    """A constant rate of streamed completions; `folder` is this attempt's own, and `tokenizer` a folder."""

    url: str
    rate_per_s: float
    seconds: float
    tokenizer: Path
    folder: Path

    @property
    def requests(self) -> int:
        return round(self.rate_per_s * self.seconds)


@dataclass(frozen=True)
class Said:
    """What a tool reports itself, in seconds: percentiles of TTFT, and the median of its ITL, by its own definition of
    it. `warned`: its words where it doubts its own figures; empty when it does not."""

    ttft_p50_s: float
    ttft_p99_s: float
    itl_p50_s: float
    warned: str = ""


@dataclass(frozen=True)
class Client:
    """`command` is without the program. `starts_at`: a rate that it is known to keep on most machines."""

    command: Callable[[Asked], list[str]]
    said: Callable[[Path], Said]
    starts_at: float


def _fairlead(asked: Asked) -> list[str]:
    return [
        "-m", "fairlead.cli.main", "bench", "run", asked.url, "--model", "m", "--api", "completions",
        "--rate", f"{asked.rate_per_s:g}", "--seconds", f"{asked.seconds:g}", "--process", "constant",
        "--prompt-tokens", str(PROMPT_TOKENS), "--output-tokens", str(OUTPUT_TOKENS), "--workers", "1", "--quiet",
        "--tokenizer", str(asked.tokenizer), "--results", str(asked.folder),
    ]  # fmt: skip


def _fairlead_said(folder: Path) -> Said:
    stage = json.loads(next(folder.glob("*/summary.json")).read_text())["stages"][0]
    ttft, itl = stage["metrics"]["ttft"]["percentiles"], stage["metrics"]["itl"]["percentiles"]
    return Said(ttft["50.0"], ttft["99.0"], itl["50.0"], "; ".join(stage["verdict"]["reasons"]))


def _vllm(asked: Asked) -> list[str]:
    return [
        "bench", "serve", "--backend", "openai", "--base-url", asked.url, "--endpoint", "/v1/completions", "--model",
        "m", "--tokenizer", str(asked.tokenizer), "--dataset-name", "random", "--random-input-len", str(PROMPT_TOKENS),
        "--random-output-len", str(OUTPUT_TOKENS), "--num-prompts", str(asked.requests), "--request-rate",
        f"{asked.rate_per_s:g}", "--burstiness", "1e6", "--ignore-eos", "--disable-tqdm", "--percentile-metrics",
        "ttft,itl", "--metric-percentiles", "50,99", "--save-result", "--result-dir", str(asked.folder),
        "--result-filename", "vllm.json",
    ]  # fmt: skip


def _vllm_said(folder: Path) -> Said:
    found = json.loads((folder / "vllm.json").read_text())
    return Said(found["p50_ttft_ms"] / 1e3, found["p99_ttft_ms"] / 1e3, found["p50_itl_ms"] / 1e3)


def _guidellm(asked: Asked) -> list[str]:
    return [
        "run", "--backend", f"kind=openai_http,target={asked.url},model=m", "--profile",
        f"kind=constant,rate={asked.rate_per_s:g}", "--constraint", f"kind=max_duration,seconds={asked.seconds:g}",
        "--tokenizer", f"kind=huggingface_auto,model={asked.tokenizer}", "--data",
        f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={OUTPUT_TOKENS}",
        "--disable-console-interactive", "--output", f"kind=json,path={asked.folder / 'guidellm.json'}",
    ]  # fmt: skip


def _guidellm_said(folder: Path) -> Said:
    found = json.loads((folder / "guidellm.json").read_text())["benchmarks"][0]
    ttft = found["metrics"]["time_to_first_token_ms"]["successful"]["percentiles"]
    itl = found["metrics"]["inter_token_latency_ms"]["successful"]["percentiles"]
    return Said(ttft["p50"] / 1e3, ttft["p99"] / 1e3, itl["p50"] / 1e3, _words(found.get("warnings")))


def _aiperf(asked: Asked) -> list[str]:
    return [
        "profile", "-m", "m", "--url", asked.url, "--endpoint-type", "completions", "--streaming", "--arrival-pattern",
        "constant", "--request-rate", f"{asked.rate_per_s:g}", "--request-count", str(asked.requests),
        "--prompt-input-tokens-mean", str(PROMPT_TOKENS), "--prompt-output-tokens-mean", str(OUTPUT_TOKENS),
        "--tokenizer", NAME, "--ui-type", "none", "--artifact-dir", str(asked.folder),
    ]  # fmt: skip


def _aiperf_said(folder: Path) -> Said:
    found = json.loads(next(folder.rglob("profile_export_aiperf.json")).read_text())
    ttft, itl = found["time_to_first_token"], found["inter_token_latency"]
    return Said(ttft["p50"] / 1e3, ttft["p99"] / 1e3, itl["p50"] / 1e3)


def _inference_perf(asked: Asked) -> list[str]:
    lengths = "{min: %d, max: %d, mean: %d, std_dev: 0, total_count: %d}"
    path = asked.folder / "inference-perf.yaml"
    prompts = lengths % (PROMPT_TOKENS, PROMPT_TOKENS, PROMPT_TOKENS, asked.requests)
    outputs = lengths % (OUTPUT_TOKENS, OUTPUT_TOKENS, OUTPUT_TOKENS, asked.requests)
    path.write_text(
        "api: {type: completion, streaming: true}\n"
        f"data: {{type: random, input_distribution: {prompts}, output_distribution: {outputs}}}\n"
        f"load: {{type: constant, stages: [{{rate: {asked.rate_per_s:g}, duration: {asked.seconds:.0f}}}], "
        "worker_max_concurrency: 1000}\n"
        f"server: {{type: vllm, model_name: m, base_url: {asked.url}, ignore_eos: true}}\n"
        f"tokenizer: {{pretrained_model_name_or_path: {asked.tokenizer}}}\n"
        f"storage: {{local_storage: {{path: {asked.folder / 'out'}}}}}\n"
    )
    return ["-c", str(path)]


def _inference_perf_said(folder: Path) -> Said:
    latency = json.loads((folder / "out" / "summary_lifecycle_metrics.json").read_text())["successes"]["latency"]
    checked = json.loads((folder / "out" / "validation.json").read_text())
    found = [*checked["global"]["warnings"], *(w for r in checked["reports"].values() for w in r["warnings"])]
    warned = _words([w for w in found if "negative minimum" not in str(w)])  # half a millisecond early, at any load
    ttft, itl = latency["time_to_first_token"], latency["inter_token_latency"]
    return Said(ttft["median"], ttft["p99"], itl["median"], warned)


def _words(found: Any) -> str:
    """Of warnings, in whatever form."""
    return " ".join(str(one) for one in found) if found else ""


CLIENTS: dict[str, Client] = {
    "fairlead": Client(_fairlead, _fairlead_said, 800.0),
    "vllm": Client(_vllm, _vllm_said, 400.0),
    "guidellm": Client(_guidellm, _guidellm_said, 50.0),
    "aiperf": Client(_aiperf, _aiperf_said, 200.0),
    "inference-perf": Client(_inference_perf, _inference_perf_said, 200.0),
}
OURS = sys.executable
