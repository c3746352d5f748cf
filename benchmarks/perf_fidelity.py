"""How far predictions of the roofline are from published measurements of real engines.

Every row of `tests/data/perf/published.json` is predicted with the default efficiencies and the steady-state formulas;
nothing is fitted here. `--rows FILE.csv` adds rows in the form of aiconfigurator's accuracy tables
(`tools/accuracy_tracking/silicon_refs.csv` and `systems/silicon_sample.csv` of github.com/ai-dynamo/aiconfigurator,
which are not part of this repository): aggregated serving of models that this room can describe, duplicates dropped.

The defaults were chosen on rows of four models of silicon_sample.csv (`CHOSEN_ON`), so its other models judge them.
A client sees more than the engine's steady state. Two constants were chosen on the same rows: `REQUEST_S`, what a
request spends outside of the engine, and `BURST_SHARE`, the weight of requests that begin at once in a closed loop.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
import timeit
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fairlead.perf import (
    Limits,
    LinearCost,
    ModelGeometry,
    Parallelism,
    Roofline,
    Workload,
    accelerator,
    model_geometry,
    precision,
    steady_state,
)
from harness.report import Figure, arguments, report

DATA = Path(__file__).parents[1] / "tests" / "data" / "perf"
CHOSEN_ON = frozenset({"Llama-3.1-8B", "Llama-3.1-70B", "gpt-oss-120b", "MiniMax-M2"})
REQUEST_S = 0.03
BURST_SHARE = 0.2
# aiconfigurator's mean errors on its own reference rows, aggregated serving: ../shared/reference/benchmarking.md, §3.
YARDSTICK = {"TTFT": 52.0, "TPOT": 32.0}

_MODELS = {
    "deepseek-ai/DeepSeek-R1": "DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3": "DeepSeek-V3",
    "meta-llama/Llama-3.1-70B": "Llama-3.1-70B",
    "meta-llama/Llama-3.1-8B-Instruct": "Llama-3.1-8B",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "Llama-3.1-8B",
    "Qwen/Qwen3-32B": "Qwen3-32B",
    "Qwen/Qwen3-235B-A22B-FP8": "Qwen3-235B-A22B",
    "MiniMaxAI/MiniMax-M2.5": "MiniMax-M2",
    "moonshotai/Kimi-K2.5": "Kimi-K2.5",
    "openai/gpt-oss-120b": "gpt-oss-120b",
}
_DEVICES = {"h100_sxm": "H100-SXM", "h200_sxm": "H200", "b200_sxm": "B200", "b300_sxm": "B300", "gb200": "GB200"}
_PRECISIONS = {"": "bf16", "bfloat16": "bf16", "fp8": "fp8", "fp8_block": "fp8", "nvfp4": "nvfp4"}


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement; None for what was not published."""

    engine: str
    model: str
    precision: str
    accelerator: str
    spread: Parallelism
    input_tokens: int
    output_tokens: int
    concurrency: int
    ttft_ms: float | None
    tpot_ms: float | None
    kv_dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class Errors:
    """Signed relative errors of one row."""

    row: Row
    ttft: float | None
    tpot: float | None


def geometries() -> dict[str, ModelGeometry]:
    """The published models: name -> geometry."""
    models = json.loads((DATA / "models.json").read_text())
    return {name: model_geometry(entry["config"]) for name, entry in models.items()}


def published_rows() -> Iterator[Row]:
    """The tables of this repository."""
    for table in json.loads((DATA / "published.json").read_text())["tables"]:
        for row in table["rows"]:
            yield Row(
                table["engine"],
                table["model"],
                table["precision"],
                table["accelerator"],
                Parallelism(tp=table["tp"]),
                table["input_tokens"],
                table["output_tokens"],
                row["concurrency"],
                row["ttft_ms"],
                row["tpot_ms"],
                table.get("kv_dtype", "auto"),
            )


def silicon_rows(path: Path, models: dict[str, ModelGeometry], kv_dtype: str) -> Iterator[Row]:
    """Rows of one of aiconfigurator's accuracy tables that can be described here, each once."""
    seen: set[Row] = set()
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            row = silicon_row(line, models, kv_dtype)
            if row is not None and row not in seen:
                seen.add(row)
                yield row


def silicon_row(line: dict[str, str], models: dict[str, ModelGeometry], kv_dtype: str) -> Row | None:
    """One line, or None: another kind of serving, an unknown model, device or precision, or an impossible spread."""
    name, device = _MODELS.get(line["model_path"]), _DEVICES.get(line["system"])
    kind = _PRECISIONS.get(line["gemm_quant_mode"])
    if name == "gpt-oss-120b":
        kind = "checkpoint"
    if line["mode"] != "agg" or name is None or device is None or kind is None:
        return None

    def count(field: str) -> int:
        return int(line[field] or 1) or 1

    tp, dp = count("tp_size"), count("attention_dp_size")
    try:
        spread = Parallelism(tp, count("pp_size"), dp, tp * dp if count("moe_ep_size") > 1 else 1)
        spread.check(models[name])
    except ValueError:
        return None
    concurrency = re.search(r"concurrency=(\d+)", line["silicon_data_source"])
    return Row(
        line["backend"],
        name,
        kind,
        device,
        spread,
        int(float(line["isl"])),
        int(float(line["osl"])),
        int(concurrency.group(1)) if concurrency else count("batch_size") * dp,
        float(line["silicon_ttft_ms"]),
        float(line["silicon_tpot_ms"]),
        kv_dtype,
    )


def predict_ms(row: Row, model: ModelGeometry) -> tuple[float, float] | None:
    """TTFT and TPOT in milliseconds; None when a request does not fit into the predicted KV cache."""
    if row.precision != "checkpoint":
        model = model.quantised(precision(row.precision))
    cost = Roofline(accelerator(row.accelerator), model, row.spread, kv_dtype=row.kv_dtype)
    tokens = cost.footprint.kv_capacity_tokens(memory_fraction=0.9)
    workload = Workload(row.input_tokens, row.output_tokens, max(1, round(row.concurrency / row.spread.dp)))
    try:
        state = steady_state(cost, workload, Limits(8192, 1024, tokens, row.spread.pp))
    except ValueError:
        return None
    ttft_s = (1 - BURST_SHARE) * state.ttft_s + BURST_SHARE * state.burst_ttft_s + REQUEST_S
    return ttft_s * 1e3, state.tpot_s * 1e3


def errors(rows: Iterable[Row], models: dict[str, ModelGeometry]) -> tuple[list[Errors], int]:
    """Errors of the rows that are predicted, and how many are not."""
    found, missing = [], 0
    for row in rows:
        predicted = predict_ms(row, models[row.model])
        if predicted is None:
            missing += 1
            continue
        ttft = None if row.ttft_ms is None else predicted[0] / row.ttft_ms - 1
        tpot = None if row.tpot_ms is None else predicted[1] / row.tpot_ms - 1
        found.append(Errors(row, ttft, tpot))
    return found, missing


def figures(title: str, found: list[Errors], goals: bool = False) -> list[Figure]:
    """Mean and median absolute percentage errors of a set of rows."""
    out = [Figure(f"{title}: rows", len(found), "")]
    for name, values in (("TTFT", [e.ttft for e in found]), ("TPOT", [e.tpot for e in found])):
        known = [abs(value) * 100 for value in values if value is not None]
        if known:
            goal = YARDSTICK[name] if goals else None
            out.append(Figure(f"{title}: {name} MAPE", statistics.mean(known), "%", goal))
            out.append(Figure(f"{title}: {name} median APE", statistics.median(known), "%"))
    return out


def call_figures(models: dict[str, ModelGeometry]) -> list[Figure]:
    """What one call of `step_s` costs, the best of five series: a simulator makes one per batch change."""
    linear = LinearCost(1e-3, 1e-5, 1e-9, 1e-6, 1e-8)
    roofline = Roofline(accelerator("H100-SXM"), models["gpt-oss-120b"])
    out = []
    for name, cost, goal in (("LinearCost", linear, 1.0), ("Roofline", roofline, 5.0)):
        for kind, iteration in (("decoding", (0, 0, 64, 64_000)), ("mixed", (512, 131_328, 64, 64_000))):
            seconds = min(timeit.repeat(partial(cost.step_s, *iteration), number=20_000, repeat=5)) / 20_000
            out.append(Figure(f"{name}.step_s, {kind}", seconds * 1e6, "µs", goal))
    return out


def main() -> None:
    """Print the errors."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=Path, action="append", default=[], help="an accuracy table of aiconfigurator")
    parser.add_argument("--each", action="store_true", help="print every row of this repository's tables")
    parser.add_argument("--kv-dtype", default="auto", help="KV cache type of --rows, which do not record it")
    options = parser.parse_args()
    models = geometries()
    found, missing = errors(published_rows(), models)
    out = call_figures(models) + figures("published tables", found)
    notes = [f"published tables: {missing} rows not predicted"]
    for path in options.rows:
        rows = list(silicon_rows(path, models, options.kv_dtype))
        silicon, missing = errors(rows, models)
        engines = dict(Counter(row.engine for row in rows))
        notes.append(f"{path.name}: {len(rows)} rows described, {missing} not predicted, {engines}")
        out += figures(path.name, silicon, goals=True)
        out += figures(f"{path.name}, vLLM", [e for e in silicon if e.row.engine == "vllm"])
        out += figures(f"{path.name}, models not chosen on", [e for e in silicon if e.row.model not in CHOSEN_ON])
    if options.each:
        notes += [each(e) for e in found]
    report(out, options.json, "\n".join(notes))


def each(error: Errors) -> str:
    """One row as a line."""
    row = error.row
    ttft = "-" if error.ttft is None else f"{row.ttft_ms:.0f} ms {error.ttft:+.0%}"
    tpot = "-" if error.tpot is None else f"{row.tpot_ms:.1f} ms {error.tpot:+.0%}"
    lengths = f"{row.input_tokens}/{row.output_tokens} c={row.concurrency}"
    return f"  {row.model} {row.precision} {row.accelerator} tp{row.spread.tp} {lengths}: {ttft}, {tpot}"


if __name__ == "__main__":
    main()
