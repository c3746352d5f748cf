"""Load generators in turn against one null server: what the server saw, and what each of them took.

64 tokens in, 16 out, streamed, true TTFT 20 ms and gaps of 5 ms. Rate, gap CV and deviations are from the arrivals that
the server noted; CPU is of all processes of the tool between its first and its last request; the start is until the
first request. The others are installed in environments of their own, and their commands are given: those that are not
are left out, and it is said. Give --server-core and --client-core on a machine with nothing else to do.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.clients import null_server, observe
from harness.report import Figure, arguments, report

TOOLS = ("vllm", "guidellm", "aiperf", "inference-perf")


@dataclass(frozen=True)
class Asked:
    """What every tool is asked for; `folder` is its own."""

    url: str
    rate_per_s: float
    seconds: float
    tokenizer: str
    folder: Path

    @property
    def requests(self) -> int:
        return round(self.rate_per_s * self.seconds)


def fairlead(asked: Asked) -> list[str]:
    return [
        sys.executable, "-m", "fairlead.cli.main", "bench", "run", asked.url, "--model", "m", "--api", "completions",
        "--rate", f"{asked.rate_per_s:g}", "--seconds", f"{asked.seconds:g}", "--process", "constant",
        "--prompt-tokens", "64", "--output-tokens", "16", "--workers", "1", "--quiet", "--results", str(asked.folder),
    ]  # fmt: skip


def vllm(asked: Asked) -> list[str]:
    return [
        "bench", "serve", "--backend", "openai", "--base-url", asked.url, "--endpoint", "/v1/completions", "--model",
        "m", "--tokenizer", asked.tokenizer, "--dataset-name", "random", "--random-input-len", "64",
        "--random-output-len", "16", "--num-prompts", str(asked.requests), "--request-rate", f"{asked.rate_per_s:g}",
        "--burstiness", "1e6", "--ignore-eos",
    ]  # fmt: skip


def guidellm(asked: Asked) -> list[str]:
    return [
        "run", "--backend", f"kind=openai_http,target={asked.url},model=m", "--profile",
        f"kind=constant,rate={asked.rate_per_s:g}", "--constraint", f"kind=max_duration,seconds={asked.seconds:g}",
        "--tokenizer", f"kind=huggingface_auto,model={asked.tokenizer}", "--data",
        "kind=synthetic_text,prompt_tokens=64,output_tokens=16",
    ]  # fmt: skip


def aiperf(asked: Asked) -> list[str]:
    return [
        "profile", "-m", "m", "--url", asked.url, "--endpoint-type", "completions", "--streaming", "--arrival-pattern",
        "constant", "--request-rate", f"{asked.rate_per_s:g}", "--request-count", str(asked.requests),
        "--prompt-input-tokens-mean", "64", "--prompt-output-tokens-mean", "16", "--tokenizer", asked.tokenizer,
        "--ui-type", "none",
    ]  # fmt: skip


def inference_perf(asked: Asked) -> list[str]:
    lengths = "{min: %d, max: %d, mean: %d, std_dev: 0, total_count: %d}"
    path = asked.folder / "inference-perf.yaml"
    path.write_text(
        "api: {type: completion, streaming: true}\n"
        f"data: {{type: random, input_distribution: {lengths % (64, 64, 64, asked.requests)}, "
        f"output_distribution: {lengths % (16, 16, 16, asked.requests)}}}\n"
        f"load: {{type: constant, stages: [{{rate: {asked.rate_per_s:g}, duration: {asked.seconds:.0f}}}], "
        "worker_max_concurrency: 1000}\n"
        f"server: {{type: vllm, model_name: m, base_url: {asked.url}, ignore_eos: true}}\n"
        f"tokenizer: {{pretrained_model_name_or_path: {asked.tokenizer}}}\n"
        f"storage: {{local_storage: {{path: {asked.folder}}}}}\n"
    )
    return ["-c", str(path)]


RIVALS: dict[str, Callable[[Asked], list[str]]] = dict(
    zip(TOOLS, (vllm, guidellm, aiperf, inference_perf), strict=True)
)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--tokenizer", default="", help="folder or name, for the others")
    parser.add_argument("--client-core", type=int)
    parser.add_argument("--server-core", type=int)
    for name in TOOLS:
        parser.add_argument(f"--{name}", metavar="PATH", default=shutil.which(name), help="its command")
    given = parser.parse_args()
    figures: list[Figure] = []
    notes: list[str] = []
    with null_server(given.server_core) as port, tempfile.TemporaryDirectory() as scratch:
        asked = Asked(f"http://127.0.0.1:{port}", given.rate, given.seconds, given.tokenizer, Path(scratch))
        commands = {"fairlead": fairlead(asked)}
        for name, arguments_of in RIVALS.items():
            path = vars(given)[name.replace("-", "_")]
            if path is None:
                notes.append(f"{name} is left out: it is not on the PATH, and --{name} was not given")
            elif not given.tokenizer:
                notes.append(f"{name} is left out: it needs --tokenizer")
            else:
                commands[name] = [path, *arguments_of(asked)]
        for name, command in commands.items():
            seen = observe(command, port, asked.requests, given.seconds + 180.0, given.client_core)
            if len(seen.arrivals) < 3:
                last = (seen.said.strip().splitlines() or ["nothing"])[-1]
                notes.append(f"{name} sent {len(seen.arrivals)} requests and ended with {seen.code}: {last}")
                continue
            even = seen.evenness(given.rate)
            figures += [
                Figure(f"{name}: requests that arrived", seen.rate_per_s, "1/s"),
                Figure(f"{name}: CPU per request", seen.cpu_s_per_request * 1e3, "ms"),
                Figure(f"{name}: deviation at the server, p50", even.deviation_p50_s * 1e3, "ms"),
                Figure(f"{name}: deviation at the server, p99", even.deviation_p99_s * 1e3, "ms"),
                Figure(f"{name}: CV of gaps", even.gap_cv, ""),
                Figure(f"{name}: start", seen.start_s, "s"),
                Figure(f"{name}: memory of all processes", seen.max_rss_bytes / 1e6, "MB"),
            ]
    report(figures, given.json, "\n".join(notes))


if __name__ == "__main__":
    main()
