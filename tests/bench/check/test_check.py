"""`fairlead bench check`, as it is typed: its figures are of requests that a server really saw."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from fairlead.bench.check.limits import Limits


def test_a_check_says_what_this_machine_can_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairlead.cli.main", "bench", "check", "--seconds", "5", "-o", "json"],
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    limits = msgspec.json.decode(done.stdout, type=Limits)
    first = limits.trials[0]
    assert done.returncode == (0 if limits.valid_per_s is not None else 4)
    assert first.requests == 150 and 0 < limits.timer_p50_s <= limits.timer_p99_s and limits.start_s > 0
    # No answer can be sooner than the server gives it; how late it is, is the machine's matter.
    assert first.ttft_bias_p50_s > -0.0005 and first.deviation_p99_s >= first.deviation_p50_s >= 0
    assert 0 < first.worker_cpu_s < 0.1 and first.coordinator_cpu_s > 0
    assert b"100/s  " in done.stderr
