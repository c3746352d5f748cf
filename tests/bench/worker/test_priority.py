"""A process goes first where it may, says so truly, and takes nothing with it to others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fairlead.bench.worker.priority import Standing

SCRIPT = """
import os, sys
from fairlead.bench.worker.priority import go_first, step_back
{before}
def scheduled_as(policy):
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == policy
print(go_first(), scheduled_as(os.SCHED_FIFO), os.getpriority(os.PRIO_PROCESS, 0))
sys.stdout.flush()
if (child := os.fork()) == 0:
    print(scheduled_as(os.SCHED_OTHER), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(step_back(), scheduled_as(os.SCHED_OTHER))
"""
# Neither root's rights nor a limit that would give them: as in most containers.
WITHOUT = """
import resource
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
os.setresuid(65534, 65534, 65534)
"""


def test_it_is_given_up_after_a_second_of_a_full_core_and_not_before() -> None:
    given_up: list[int] = []

    def give_up() -> str:
        given_up.append(1)
        return "nice"

    standing = Standing("real-time", give_up)
    for shares in ([0.95] * 4, [0.2], [0.95] * 4, [0.89] * 40):  # a second of pulses, and no more, at a time
        for share in shares:
            standing.used(share * 0.25, 0.25)
        assert not given_up and standing.priority == "real-time"
    for _ in range(20):
        standing.used(0.24, 0.25)
    assert given_up == [1] and standing.priority == "nice"


def said(before: str) -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before)], capture_output=True, text=True, timeout=60, check=True
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_what_is_said_is_so() -> None:
    (priority, is_fifo, niceness), (child_is_fair,), (after, is_fair) = said("")
    assert (is_fifo == "True") == (priority == "real-time")
    assert priority != "nice" or int(niceness) <= -5
    assert child_is_fair == "True" and is_fair == "True" and after in ("nice", "normal")


def test_it_can_be_told_not_to() -> None:
    before = "os.environ['FAIRLEAD_BENCH_PRIORITY'] = 'normal'"
    assert said(before)[0] == ["normal", "False", str(os.getpriority(os.PRIO_PROCESS, 0))]


def test_without_the_right_to_it_nothing_is_claimed() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give its rights away")
    assert said(WITHOUT) == [["normal", "False", "0"], ["True"], ["normal", "True"]]
