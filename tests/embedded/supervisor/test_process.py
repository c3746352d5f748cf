"""Processes are known by pid and start time, and end with their parent."""

import signal
import subprocess
import sys
import time

from fairlead.embedded.supervisor.process import ProcessId, identify, start_ticks
from patience import PATIENCE_S


def test_a_process_is_alive_only_under_its_own_start_time() -> None:
    child = subprocess.Popen(["sleep", "30"])
    try:
        known = identify(child.pid)
        assert known.alive()
        assert not ProcessId(child.pid, known.start_ticks + 1).alive()
        ProcessId(child.pid, known.start_ticks + 1).signal(signal.SIGKILL)
        assert child.poll() is None, "a signal for another process of the same pid must not be sent"
    finally:
        known.signal(signal.SIGKILL)
        child.wait(PATIENCE_S)
    assert not known.alive()


def test_a_zombie_counts_as_gone() -> None:
    child = subprocess.Popen(["true"])
    known = identify(child.pid)
    deadline = time.monotonic() + PATIENCE_S
    while start_ticks(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not known.alive()
    child.wait(PATIENCE_S)


def test_children_end_when_their_parent_is_killed() -> None:
    script = (
        "import subprocess, sys\n"
        "from fairlead.embedded.supervisor.process import die_with_parent\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent())\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = identify(int(parent.stdout.readline()))
    assert child.alive()
    parent.kill()
    parent.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while child.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not child.alive()
