"""`fairlead up` from the command to ready, and from ready through a deploy to the first streamed token.

Each run starts in the data folder of a first, discarded run ("warm": caches are filled, certificates exist).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fairlead.cli import service
from fairlead.cli.conversation import Message, stream_answer
from fairlead.cli.manifests import manifest
from harness.report import Figure, arguments, report

FAIRLEAD = [sys.executable, "-m", "fairlead.cli.main"]


def up(data: Path) -> tuple[float, str]:
    """Seconds until `up --detach` returns, and the gateway's URL."""
    began_s = time.perf_counter()
    done = subprocess.run(
        [*FAIRLEAD, "up", "--data", str(data), "--api-port", "0", "--gateway-port", "0", "--detach", "-o", "json"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return time.perf_counter() - began_s, str(json.loads(done.stdout)["gateway"])


def down(data: Path) -> None:
    subprocess.run([*FAIRLEAD, "down", "--data", str(data), "-q"], check=True, timeout=180)


def first_token_s(data: Path, gateway: str, name: str) -> float:
    """Seconds from deploying a model service of one simulated engine to the first piece of an answer."""
    began_s = time.perf_counter()
    kubeconfig = data / "kubeconfig"
    service.apply(kubeconfig, manifest(name, "default", model=name, runtime="simulated", replicas=1))
    service.wait_ready(kubeconfig, "default", name, timeout_s=60.0)
    next(iter(stream_answer(gateway, name, [Message("user", "hello")], max_tokens=4, timeout_s=20.0)))
    return time.perf_counter() - began_s


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--runs", type=int, default=4, help="measured runs after the first")
    options = parser.parse_args()
    ready, token = [], []
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
        data = Path(folder)
        up(data)
        down(data)
        for run in range(options.runs):
            try:
                seconds, gateway = up(data)
                ready.append(seconds)
                token.append(first_token_s(data, gateway, f"m{run}"))
                subprocess.run(
                    ["kubectl", "--kubeconfig", str(data / "kubeconfig"), "delete", "modelservice", f"m{run}"],
                    capture_output=True, timeout=60, check=False,
                )  # fmt: skip
            finally:
                down(data)
    report(
        [
            Figure("up to ready, warm, median", statistics.median(ready), "s", 2.5),
            Figure("up to ready, warm, worst", max(ready), "s"),
            Figure("ready to first streamed token, median", statistics.median(token), "s", 5.0),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
