"""How well a calibrated engine model predicts a real engine: the CPU build of vLLM with a tiny model.

A run of the real engine (closed and open loops, in rounds of ten seconds) is fitted on every second round; the others
are predicted from arrivals and lengths alone. By default the run is the recorded one of `tests/data`, so
that everybody can repeat the fit; `--live` makes a new one with the installer that FAIRLEAD_REAL_VLLM names.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairlead.simulator.calibration import Probe, ProbePlan, Report, compare, fit, predict, read_report, write_report
from fairlead.simulator.engine import EngineSettings
from harness.report import Figure, arguments, report

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "data" / "simulator" / "vllm-0.32-cpu-tiny.jsonl.gz"
INSTALLER = Path(os.environ.get("FAIRLEAD_REAL_VLLM") or ROOT.parent / "shared" / "tools" / "real-vllm")
GOALS = {0.5: 10.0, 0.95: 20.0}
# The server is started with these limits; blocks of 128 tokens in 1 GiB are its defaults on CPU.
SETTINGS = EngineSettings(
    num_blocks=4096, block_tokens=128, max_num_seqs=64, max_num_batched_tokens=2048, max_model_len=2048
)
PORT = 8031


def recorded() -> Report:
    """The run in `tests/data`."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as plain:
        plain.write(gzip.decompress(RECORDED.read_bytes()))
        plain.flush()
        return read_report(Path(plain.name))


def live(duration_s: float, save: Path | None) -> Report:
    """A new run of the real engine."""
    done = subprocess.run([str(INSTALLER)], capture_output=True, text=True, timeout=1500, check=True)
    paths = dict(line.split("=", 1) for line in done.stdout.split() if "=" in line)
    with _server(paths["VLLM"], paths["MODEL"]):
        found, unusable = asyncio.run(Probe(f"http://127.0.0.1:{PORT}", "tiny", ProbePlan(duration_s=duration_s)).run())
    if save is not None:
        write_report(found, save)
    return Report(tuple(found), unusable)


@contextmanager
def _server(program: str, model: str) -> Iterator[None]:
    command = [
        program, "serve", model, "--served-model-name", "tiny", "--load-format", "dummy", "--dtype", "float32",
        "--enforce-eager", "--host", "127.0.0.1", "--port", str(PORT), "--max-model-len", "2048",
        "--max-num-seqs", "64", "--max-num-batched-tokens", "2048",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            deadline_s = time.monotonic() + 180
            while not _ready() and process.poll() is None and time.monotonic() < deadline_s:
                time.sleep(0.5)
            if not _ready():
                raise RuntimeError("the real vLLM did not become ready within 180 s")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--live", action="store_true", help="ask a real vLLM now instead of reading the recorded run")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of a live run")
    parser.add_argument("--save", type=Path, help="keep the live run in this file")
    given = parser.parse_args()
    run = live(given.duration, given.save) if given.live else recorded()
    early, late = run.split(0.5)
    began_s = time.perf_counter()
    made = fit(early.observations, SETTINGS)
    fitted_s = time.perf_counter() - began_s
    judged = compare(late.observations, predict(made.profile, late.observations, seed=1))
    figures = [
        Figure(
            f"{c.metric.upper()} p{c.quantile * 100:.0f}, held out: error",
            abs(c.error) * 100,
            "%",
            GOALS[c.quantile],
        )
        for c in judged
    ]
    figures += [
        Figure(f"{c.metric.upper()} p{c.quantile * 100:.0f}, fitted: error", abs(c.error) * 100, "%")
        for c in made.comparisons
    ]
    figures += [
        Figure("requests fitted on", len(early.observations), ""),
        Figure("requests predicted", len(late.observations), ""),
        Figure("time to fit", fitted_s, "s"),
    ]
    notes = "\n".join(
        f"{c.metric.upper()} p{c.quantile * 100:.0f}: observed {c.observed_s * 1e3:.1f} ms, "
        f"predicted {c.predicted_s * 1e3:.1f} ms"
        for c in judged
    )
    report(figures, given.json, notes)


if __name__ == "__main__":
    main()
