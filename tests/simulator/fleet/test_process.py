"""`fairlead simulate` as a process: what it prints and writes, what it says of mistakes, and that it repeats itself."""

import json
import os
import subprocess
import sys
from collections import Counter

import msgspec
import pyarrow.parquet as pq
import pytest

from fairlead.cli.main import main
from fairlead.simulator.fleet import COLUMNS, Scenario, Summary
from patience import PATIENCE_S

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:{n // 60:02}:{n % 60:02}.5000000,{100 + 37 * n % 900},{1 + 13 * n % 90}\n" for n in range(120)
)

SCENARIO = """
name: a study
synthetic:
  arrivals: {process: gamma, rate_per_s: 6, cv: 2}
  requests: 200
  prompt_tokens: {kind: lognormal, mean: 300}
  output_tokens: {kind: uniform, low: 2, high: 40}
  prefixes: [{count: 3, tokens: {kind: fixed, tokens: 640}, zipf: 1.0}]
  conversations: {turns: {kind: uniform, low: 1, high: 3}, pause_s: 5}
pools: [{replicas: 3, accelerator: L4, startup_s: 5}]
failures: {mtbf_s: 60, repair_s: 3}
gateway: {retry: always}
slo: {ttft_s: 0.5, itl_s: 0.1}
seed: 3
"""


def fairlead(*arguments, seed="0"):
    return subprocess.run(
        [sys.executable, "-m", "fairlead.cli.main", "simulate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONHASHSEED": seed, "COLUMNS": "200"},
    )


@pytest.fixture
def said_of(capsys):
    """Status, output and errors of the command in this process: what a mistake is told with needs none of its own."""

    def run(*arguments):
        status = main(["simulate", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "azure.csv"
    path.write_text(TRACE)
    return path


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    return path


def test_a_trace_on_some_replicas(trace, tmp_path):
    out = tmp_path / "out"
    done = fairlead("run", "--trace", trace, "--replicas", 2, "--slo-ttft-ms", 200, "--out", out, "--html")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "azure.csv: 120 requests, policy least-loaded" in done.stdout
    assert "2 replicas of llama-3.1-8b on 1 x H100-SXM, roofline" in done.stdout
    assert "no hash_ids" in done.stdout
    summary = msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)
    assert summary.finished == summary.arrived == 120
    assert [o.limit_s for o in summary.objectives] == [0.2]
    records = pq.read_table(out / "requests.parquet").to_pylist()
    assert [r["request"] for r in sorted(records, key=lambda r: r["request"])] == list(range(120))
    assert sum(r["generated_tokens"] for r in records) == summary.output_tokens
    assert list(records[0]) == [name for name, _, _ in COLUMNS]
    used = msgspec.yaml.decode((out / "scenario.yaml").read_bytes(), type=Scenario)
    assert (used.pools[0].replicas, used.slo.ttft_s) == (2, 0.2)
    assert (out / "report.html").stat().st_size > 1_000_000
    again = fairlead("run", out / "scenario.yaml", "-o", "json")
    assert msgspec.json.decode(again.stdout.encode(), type=Summary) == summary


def test_one_seed_gives_the_same_bytes_in_every_process(scenario, tmp_path):
    outputs = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        done = fairlead("run", scenario, "--out", out, "--records", "jsonl", "-q", seed=seed)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        outputs.append(((out / "requests.jsonl").read_bytes(), (out / "summary.json").read_bytes()))
    assert outputs[0] == outputs[1]
    records = [json.loads(line) for line in outputs[0][0].splitlines()]
    assert len(records) == 200
    assert sum(r["cached_tokens"] for r in records) > 0
    other = fairlead("run", scenario, "--seed", 4, "--out", tmp_path / "3", "--records", "jsonl", "-q")
    assert other.returncode == 0
    assert (tmp_path / "3" / "requests.jsonl").read_bytes() != outputs[0][0]


def test_policies_side_by_side(scenario, tmp_path):
    done = fairlead(
        "run", scenario, "--compare", "policy=random,round-robin,least-loaded", "--out", tmp_path / "o", "--html"
    )
    assert done.returncode == 0, done.stderr
    header = next(line for line in done.stdout.splitlines() if "policy=random" in line)
    assert header.split() == ["policy=random", "policy=round-robin", "policy=least-loaded"]
    folders = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert folders == ["policy=least-loaded", "policy=random", "policy=round-robin", "report.html"]
    done = fairlead("run", scenario, "--compare", "replicas=1,2", "-o", "json")
    variants = json.loads(done.stdout)
    assert [v["variant"] for v in variants] == ["replicas=1", "replicas=2"]
    assert [len(v["replicas"]) for v in variants] == [1, 2]


def test_convert_reads_every_form_and_the_result_simulates_the_same(trace, scenario, tmp_path):
    own = tmp_path / "own.jsonl"
    done = fairlead("convert", trace, own)
    assert (done.returncode, done.stdout) == (0, f"120 requests written to {own}\n")
    results = [json.loads(fairlead("run", "--trace", path, "-o", "json").stdout) for path in (trace, own)]
    for result in results:
        del result["workload"]
    assert results[0] == results[1]
    made = tmp_path / "made.jsonl"
    assert fairlead("convert", scenario, made, "-q").returncode == 0
    sessions = Counter(json.loads(line)["session"] for line in made.read_text().splitlines())
    assert sum(sessions.values()) == 200
    assert max(sessions.values()) == 3


def test_broken_lines_are_left_out_only_when_asked(trace):
    trace.write_text(TRACE + "2023-11-16 18:10:00.5,many,4\n")
    done = fairlead("run", "--trace", trace)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{trace}:122: ContextTokens is 'many'" in done.stderr
    done = fairlead("run", "--trace", trace, "--skip-broken")
    assert done.returncode == 0
    assert f"1 broken lines are left out; the first: {trace}:122" in done.stdout


MISTAKES = [
    ([], "nothing arrives: give --trace FILE"),
    (["--trace", "/no/such/file"], "/no/such/file: No such file or directory"),
    (["/no/such.yaml"], "cannot read /no/such.yaml: No such file or directory"),
    (["--trace", "T", "--replicas", "-1"], "`int` >= 0 - at `$.pools[0].replicas`"),
    (["--trace", "T", "--policy", "best"], "unknown policy 'best'; known are random, round-robin, least-loaded"),
    (["--trace", "T", "--accelerator", "H1000"], "H1000"),
    (["--trace", "T", "--model", "gpt-9"], "model 'gpt-9' is neither a config.json nor one of llama-3.1-8b"),
    (["--trace", "T", "--model", "llama-3.1-70b"], "llama-3.1-70b leaves no room for a KV cache on 1 x H100-SXM"),
    (["--trace", "T", "--profile", "/no/profile"], "cannot read the profile /no/profile"),
    (["--trace", "T", "--speed", "0"], "`float` > 0.0 - at `$.trace.speed`"),
    (["--trace", "T", "--start", "99999"], "nothing arrives"),
    (["--trace", "T", "--html"], "--html needs a folder"),
    (["--trace", "T", "--records", "csv"], "--records is 'csv'"),
    (["--trace", "T", "--compare", "policy"], "give two or more different values"),
    (["--trace", "T", "--compare", "colour=red,blue"], "'colour' cannot be compared"),
    (["--trace", "T", "--out", "/proc/nowhere"], "/proc/nowhere: No such file or directory"),
    (["--limit", "5"], "--limit fits a trace; the scenario has none"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else ""
)
def test_mistakes_are_one_line(arguments, said, trace, said_of):
    status, output, errors = said_of("run", *(trace if argument == "T" else argument for argument in arguments))
    assert status == 1
    assert said in errors
    assert errors.count("\n") == 1
    assert errors.startswith("fairlead: ")
    assert output == ""


def test_a_mistake_is_told_the_same_way_by_the_process(said_of):
    done = fairlead("run")
    assert (done.returncode, done.stdout, done.stderr) == said_of("run")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "trace: {path: x}\nsynthetic: {arrivals: {rate_per_s: 1}, requests: 1}",
            "either trace or synthetic, not both",
        ),
        ("- a", "a scenario is a mapping with name, trace"),
        ("a: [", "is not YAML"),
        ("trace: {path: x}\ngateway: {scrape_interval_s: 9}", "must not be stale before the next ones come"),
        ("trace: {path: x, sped: 2}", "unknown field `sped` - at `$.trace`"),
        ("synthetic: {arrivals: {rate_per_s: 1}}", "the workload has no end"),
        ("synthetic: {arrivals: {rate_per_s: 1}, requests: 5}\npools: []", "pools is empty"),
        (
            "synthetic: {arrivals: {rate_per_s: 1}, requests: 5}\npools: [{engine: {max_seqs: 5}}]",
            "pool main: engine.max_seqs does not exist; take one of num_blocks",
        ),
        (
            "synthetic: {arrivals: {rate_per_s: 1}, requests: 5}\npools: [{engine: {max_num_seqs: many}}]",
            "pool main: engine: Expected `int`, got `str` - at `$.max_num_seqs`",
        ),
        ("trace: {path: x}\npools: [{replicas: 100000000}]", "Expected `int` <= 10000"),
        ("synthetic: {arrivals: {rate_per_s: .inf}, duration_s: 5}", "Expected `float` <= 1000000000.0"),
        ("synthetic: {arrivals: {rate_per_s: .nan}, duration_s: 5}", "at `$.synthetic.arrivals.rate_per_s`"),
        (
            "synthetic: {arrivals: {rate_per_s: 1}, requests: 5}\npools: [{scaling: {policy: magic}}]",
            "unknown scaling policy 'magic'; known are fixed, queue",
        ),
        (
            "synthetic: {arrivals: {rate_per_s: 1}, requests: 5}\npools: [{role: prefill}]",
            "pools have the roles ['prefill']",
        ),
    ],
)
def test_mistakes_in_a_scenario_are_one_line(text, said, tmp_path, said_of):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    status, _, errors = said_of("run", path)
    assert (status, errors.count("\n")) == (1, 1), errors
    assert said in errors


def test_a_failed_run_leaves_no_half_written_records(trace, tmp_path):
    trace.write_text(TRACE + "broken\n")
    assert fairlead("run", "--trace", trace, "--out", tmp_path / "o").returncode == 1
    assert list((tmp_path / "o").iterdir()) == []
    target = tmp_path / "own.jsonl"
    assert fairlead("convert", trace, target).returncode == 1
    assert not target.exists()
    assert fairlead("convert", trace, trace).returncode == 1
    assert trace.read_text() == TRACE + "broken\n"
