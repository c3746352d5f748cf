"""`fairlead bench check`, as it is typed: its figures are of requests that a server really saw."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from fairlead.bench.check.limits import Limits, Trial
from fairlead.cli.bench_check import _print


def test_a_check_says_what_this_machine_can_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairlead.cli.main", "bench", "check", "--seconds", "5", "-o", "json"],
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    limits = msgspec.json.decode(done.stdout, type=Limits)
    first = limits.trials[0]
    assert done.returncode == (0 if limits.valid_per_s is not None else 4)
    assert first.requests == 150 and first.start_s > 0 and first.priority in ("real-time", "nice", "normal")
    # No answer can be sooner than the server gives it; how late it is, is the machine's matter.
    assert first.ttft_bias_p50_s > -0.0005 and first.deviation_p99_s >= first.deviation_p50_s >= 0
    assert 0 < first.worker_cpu_s < 0.1 and first.coordinator_cpu_s > 0
    assert b"100/s  " in done.stderr


def limits_of(priority: str, load_before: float, *trials: tuple[float, str]) -> Limits:
    made = tuple(
        Trial(rate, rate, 150, *[0.0001] * 8, 0.5, 0.0002, 0.0001, 0.3, 0.9, priority, (why,) if why else ())
        for rate, why in trials
    )
    valid = [trial.rate_per_s for trial in made if trial.valid]
    return Limits(2, load_before, max(valid, default=None), "the load generator at 625/s: it was late", made)


def test_what_is_said_can_be_acted_on(capsys: pytest.CaptureFixture[str]) -> None:
    _print(limits_of("real-time", 0.3, (100.0, ""), (250.0, ""), (625.0, "it was late")))
    said = capsys.readouterr().out
    assert "up to 250 requests/s, or 4,000 tokens/s" in said and "What bound it: the load generator at 625/s" in said
    assert said.count("invalid") == 1 and "RLIMIT_RTPRIO" not in said and "busy" not in said
    _print(limits_of("normal", 7.0, (100.0, "it was late")))
    said = capsys.readouterr().out
    assert "No figure of a run on this machine can be believed" in said and "RLIMIT_RTPRIO" in said and "busy" in said
