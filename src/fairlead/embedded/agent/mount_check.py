"""Whether this process may give containers private mount namespaces, found out by doing it once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

from fairlead.embedded.agent.runtime import shim_command

_TIMEOUT_S = 10.0
_TERMINATION_LOG = "/dev/termination-log"


def check_mounts() -> tuple[bool, str]:
    """Whether it works, and if not, why."""
    if os.geteuid() == 0:
        # An empty file there spares every container a private copy of /dev.
        with contextlib.suppress(OSError), open(_TERMINATION_LOG, "a"):
            pass
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        source, scratch = Path(folder, "source"), Path(folder, "scratch")
        source.mkdir()
        scratch.mkdir()
        config = {
            "argv": ["true"],
            "env": {"PATH": os.environ.get("PATH", os.defpath)},
            "mounts": [{"source": str(source), "target": "/fairlead-mount-check"}],
            "scratch": str(scratch),
        }
        file.write(json.dumps(config).encode())
        file.flush()
        file.seek(0)
        try:
            tried = subprocess.run(
                shim_command("execute", str(file.fileno())),
                pass_fds=[file.fileno()],
                capture_output=True,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return False, "the attempt took too long"
    return tried.returncode == 0, tried.stderr.decode(errors="replace").strip()
