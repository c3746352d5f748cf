"""A platform under test and the real kubectl on it, as plain objects for fixtures and tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patience import PATIENCE_S

FAIRLEAD = [sys.executable, "-m", "fairlead.cli.main"]
FOREIGN = os.environ.get("FAIRLEAD_TEST_KUBECONFIG")


@dataclass
class Kubectl:
    """The real kubectl on one kubeconfig and namespace."""

    kubeconfig: Path
    namespace: str = "default"
    env: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        return ["kubectl", "--kubeconfig", str(self.kubeconfig), "-n", self.namespace]

    def run(self, *args: str, stdin: str | None = None, check: bool = True, timeout: float = 2 * PATIENCE_S) -> str:
        """Standard output. With check=False failures are returned as their combined output."""
        done = subprocess.run(
            [*self.command, *args],
            input=stdin, capture_output=True, text=True, timeout=timeout, env={**os.environ, **self.env},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout if check else done.stdout + done.stderr

    def json(self, *args: str, **kwargs: Any) -> Any:
        return json.loads(self.run(*args, "-o", "json", **kwargs))

    def wait_for(self, what: str, *args: str, timeout: float = PATIENCE_S) -> str:
        """`kubectl wait --for=<what> <args>`."""
        return self.run("wait", f"--for={what}", f"--timeout={int(timeout)}s", *args, timeout=timeout + 10)


@dataclass
class Platform:
    """A running platform. `data` is None on a foreign API server; `gateway` is a base URL."""

    kubeconfig: Path
    data: Path | None = None
    gateway: str = ""

    def state(self) -> dict[str, Any]:
        assert self.data is not None
        return json.loads((self.data / "up.json").read_text())  # type: ignore[no-any-return]

    def pid(self, component: str) -> int:
        """Pid of a running component; waits for one that is being restarted."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for c in self.state()["components"]:
                if c["name"] == component and c["process"]:
                    return int(c["process"]["pid"])
            time.sleep(0.05)
        raise AssertionError(f"{component} does not run")


def start_up(data: Path, *options: str) -> Platform:
    """`fairlead up --detach` on free ports in a folder."""
    done = subprocess.run(
        [*FAIRLEAD, "up", "--data", str(data), "--api-port", "0", "--gateway-port", "0", "-d", "-o", "json", *options],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    logs = "" if done.returncode == 0 else "".join(p.read_text()[-2000:] for p in (data / "logs").glob("*.log"))
    assert done.returncode == 0, done.stderr + done.stdout + logs
    up = json.loads(done.stdout)
    return Platform(Path(up["kubeconfig"]), data, up["gateway"])


def stop_up(data: Path) -> None:
    subprocess.run([*FAIRLEAD, "down", "--data", str(data)], capture_output=True, timeout=180, check=False)
