"""Time limits of OCI hooks."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fairlead.embedded.agent.shim import hooks
from patience import PATIENCE_S


def test_a_hook_that_takes_too_long_goes_with_all_that_it_started(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    script = f"sleep 300 & echo $! > {noted}; wait"
    config = {"hooks": {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": [], "timeout_s": 0.5}]}}
    with pytest.raises(hooks.HookError, match=r"prestart hook /bin/sh failed: it did not end within 0.5 s"):
        hooks.run(config, "prestart", {})
    pid = int(noted.read_text())
    deadline_s = time.monotonic() + PATIENCE_S
    while _runs(pid):
        assert time.monotonic() < deadline_s, "what the hook started is still there"
        time.sleep(0.02)


def test_a_late_stage_runs_every_hook_and_tells_what_failed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    listed = [
        {"path": "/bin/sh", "args": ["sh", "-c", "echo first >&2; exit 4"], "env": [], "timeout_s": None},
        {"path": "/bin/sh", "args": ["sh", "-c", f"echo $WHO > {made}"], "env": ["WHO=a=b"], "timeout_s": None},
    ]
    problems = hooks.run_all({"hooks": {"poststop": listed}}, "poststop", {})
    assert problems == ["poststop hook /bin/sh failed: exit status 4: first"]
    assert made.read_text() == "a=b\n"
    assert hooks.limit_s({"hooks": {"poststop": listed, "prestart": [{"timeout_s": 3}]}}) == 2 * hooks.LIMIT_S + 3


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may be there to reap it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
