"""`fairlead bench` as it is typed: what is sent, what is said, and with which status it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.hostile import GOOD, hostile, status
from fairlead.cli.main import main

WIDE = [
    "--set", "client.lag_ms=60000", "--set", "client.cpu_share=1", "--set", "client.loop_lag_ms=60000",
    "--set", "client.rate_error=1",
]  # fmt: skip
"""Not what is tested here, and not what a shared machine can keep."""
SMALL = ["--model", "m", "--prompt-tokens", "16", "--output-tokens", "3", "--process", "constant"]


def dry(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["bench", *arguments, "--dry-run"]) == 0
    document: dict[str, object] = yaml.safe_load(capsys.readouterr().out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["bench", *arguments]) == 1
    return capsys.readouterr().err


def test_quick_options_are_a_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    document = dry(
        capsys, "http://h:8000", "-m", "m", "--rate", "1,2.5", "-s", "7", "--prompt-tokens", "32-64",
        "--output-tokens", "~100:0.5", "--ttft-ms", "300", "-l", "team=a", "--no-stream", "-H", "X-A: b",
    )  # fmt: skip
    target = {"url": "http://h:8000", "model": "m", "stream": False, "headers": {"X-A": "b"}}
    assert document["targets"] == [target]
    stages = [{"rate_per_s": 1.0, "seconds": 7.0}, {"rate_per_s": 2.5, "seconds": 7.0}]
    assert document["load"] == {"kind": "open", "stages": stages}
    assert document["objective"] == {"ttft_ms": 300.0}
    assert document["labels"] == {"team": "a"}
    content = document["content"]
    assert isinstance(content, dict)
    assert content["prompt_tokens"] == {"kind": "uniform", "low": 32, "high": 64}
    assert content["output_tokens"]["mean"] == 100.0 and content["output_tokens"]["cv"] == 0.5


def test_options_change_a_file_and_a_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(
        "targets: [{url: 'http://h:1', model: m}]\nload: {kind: open, stages: [{rate_per_s: 1, seconds: 5}]}\n"
    )
    document = dry(capsys, str(file), "--preset", "agent", "--users", "3", "--set", "targets.0.timeout_s=9")
    assert document["targets"] == [{"url": "http://h:1", "model": "m", "timeout_s": 9.0}]
    assert document["load"] == {"kind": "closed", "stages": [{"users": 3, "seconds": 30.0}]}
    assert isinstance(document["content"], dict) and "tools" in document["content"]


def test_search_is_a_load(capsys: pytest.CaptureFixture[str]) -> None:
    document = dry(capsys, "search", "http://h:1", "-m", "m", "--ttft-ms", "300", "--low", "2")
    assert document["load"] == {"kind": "search", "low": 2.0}


def test_what_scales_is_watched_under_a_load_of_another_time_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    load = ["--preset", "autoscale", "--scale-time", "0.05", "--scale-rate", "2", "--watch", "Deployment/n/w"]
    document = dry(capsys, "http://h:1", "-m", "m", *load, "--price-per-hour", "3")
    assert document["scaling"] == {"watch": ["Deployment/n/w"], "price_per_hour": 3.0}
    assert "server" not in document, "the price is of what scales, which is counted by itself"
    assert isinstance(document["load"], dict)
    assert document["load"]["stages"][0] == {"name": "quiet", "rate_per_s": 2.0, "seconds": 6.0}
    counted = dry(capsys, "http://h:1", "-m", "m", *load, "--price-per-hour", "3", "--accelerators", "4")
    assert counted["server"] == {"accelerators": 4.0, "price_per_hour": 3.0}
    assert "write Kind/namespace/name" in refused(capsys, "http://h:1", "-m", "m", "--rate", "1", "--watch", "w")
    assert "0 times its time" in refused(capsys, "http://h:1", "-m", "m", "--rate", "1", "--scale-time", "0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://h:1", "-m", "m"], "there is no load"),
        (["--rate", "1"], "nobody is asked"),
        (["nowhere.yaml", "--rate", "1"], "nowhere.yaml is not there"),
        (["http://h:1", "--rate", "1", "--users", "1"], "two kinds of load"),
        (["http://h:1", "--rate", "fast"], "--rate is 'fast'"),
        (["http://h:1", "--rate", "-1"], "--rate is '-1'"),
        (["http://h:1", "--rate", "1", "--prompt-tokens", "0"], "--prompt-tokens is '0'"),
        (["http://h:1", "--rate", "1", "--preset", "jam"], "preset is 'jam'"),
        (["http://h:1", "--rate", "1", "--set", "laod.kind=open"], "did you mean load?"),
        (["http://h:1", "--rate", "1", "--api", "telex"], "telex"),
        (["http://h:1", "--rate", "1", "-l", "x"], "--label is 'x'"),
        (["search", "http://h:1", "--rate", "1"], "give --low and --high"),
    ],
)
def test_mistakes_are_named(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert said in refused(capsys, *arguments)


def test_a_good_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        ended = main(
            ["bench", server.url, *SMALL, "--rate", "20", "-s", "1", *WIDE, "--results", str(tmp_path), "--json"]
        )
    said = json.loads(capsys.readouterr().out)
    assert ended == 0, said
    assert said["stages"][0]["metrics"]["whole"] == 20
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "summary.json").read_text())["id"] == folder.name == said["id"]
    assert yaml.safe_load((folder / "config.yaml").read_text())["targets"][0]["url"] == server.url


def test_a_key_is_in_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        secret = ["-H", "Authorization: Bearer s3cret-key"]
        main(["bench", server.url, *SMALL, "--rate", "20", "-n", "5", *secret, "--results", str(tmp_path), "--json"])
    assert "s3cret" not in capsys.readouterr().out
    for file in (each for each in tmp_path.rglob("*") if each.is_file()):
        assert b"s3cret" not in file.read_bytes(), file


def test_an_objective_that_is_not_kept(tmp_path: Path) -> None:
    broken = status("500 Internal Server Error")
    with hostile(lambda number: (broken if number % 2 else GOOD, False)) as server:
        ended = main(
            [
                "bench",
                server.url,
                *SMALL,
                "--rate",
                "40",
                "-s",
                "2",
                "--e2e-ms",
                "60000",
                *WIDE,
                "--results",
                str(tmp_path),
                "-q",
            ]
        )
    assert ended == 3


def test_an_invalid_run(tmp_path: Path) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        ended = main(
            [
                "bench",
                server.url,
                *SMALL,
                "--rate",
                "40",
                "-s",
                "1",
                "--set",
                "client.cpu_share=0.000001",
                "--results",
                str(tmp_path),
                "-q",
            ]
        )
    assert ended == 4


def test_a_run_with_no_answer_has_failed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["http://127.0.0.1:1", *SMALL, "--rate", "20", "-n", "5", "--results", str(tmp_path), "-q"]
    assert "Connection refused" in refused(capsys, *arguments)


@pytest.mark.parametrize(("number", "ended"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_end_it_reports_what_ran(number: signal.Signals, ended: int, tmp_path: Path) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        command = [sys.executable, "-m", "fairlead.cli.main", "bench", server.url, *SMALL]
        running = subprocess.Popen(
            [*command, "--rate", "30", "-s", "600", "--results", str(tmp_path), "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            while server.requests < 20:
                assert running.poll() is None, running.communicate()
            running.send_signal(number)
            out, errors = running.communicate(timeout=120)
        finally:
            running.kill()
    assert running.returncode == ended
    assert json.loads(out)["stages"][0]["metrics"]["whole"] >= 10
    assert b"before its time" in errors


def test_a_full_disk_costs_records_and_no_figures(tmp_path: Path) -> None:
    with hostile(lambda _: (GOOD, False)) as server:
        command = (
            f"ulimit -f 4; exec {sys.executable} -m fairlead.cli.main bench {server.url} {' '.join([*SMALL, *WIDE])}"
        )
        ended = subprocess.run(
            ["sh", "-c", f"{command} --rate 100 -s 2 --results {tmp_path} --json"], capture_output=True, timeout=120
        )
    said = json.loads(ended.stdout)
    assert said["stages"][0]["metrics"]["requests"] == 200
    assert b"records are not kept" in ended.stderr and b"File too large" in ended.stderr
    assert b"Traceback" not in ended.stderr
