"""Answers lost while a service changes: every stream of a steady load is checked to be whole.

A whole platform (`fairlead up`) with simulated engines behind Envoy and the picker. While streams come at a steady
rate: a rolling update, scaling down and up, the draining of a node with kubectl, a blue-green and a canary change. The
figure is the number of answers that were refused, cut or incomplete; the goal is none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.report import Figure, arguments, report

FAIRLEAD = [sys.executable, "-m", "fairlead.cli.main"]
LIMIT_S = 240.0
Json = dict[str, Any]


class Platform:
    """A platform of its own, and kubectl on it."""

    def __init__(self, data: Path, nodes: int) -> None:
        done = subprocess.run(
            [*FAIRLEAD, "up", "--data", str(data), "--api-port", "0", "--gateway-port", "0", "--nodes", str(nodes),
             "-d", "-o", "json"],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        up = json.loads(done.stdout)
        self.data, self.kubeconfig = data, up["kubeconfig"]
        gateway = urlsplit(up["gateway"])
        self.host, self.port = gateway.hostname or "", gateway.port or 0

    def kubectl(self, *args: str, stdin: str | None = None, timeout_s: float = LIMIT_S) -> str:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, *args],
            input=stdin, capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def status(self) -> Json:
        found: Json = json.loads(self.kubectl("get", "modelservice", "chat", "-o", "json"))
        status: Json = found.get("status") or {}
        return status if status.get("observedGeneration") == found["metadata"]["generation"] else {}

    def until(self, what: str, is_so: Callable[[Json], bool]) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not is_so(self.status()):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"not within {LIMIT_S:.0f} s: {what}; {json.dumps(self.status())[:1500]}")
            time.sleep(0.3)

    def patch(self, spec: Json) -> None:
        self.kubectl("patch", "modelservice", "chat", "--type=merge", "-p", json.dumps({"spec": spec}))


@contextmanager
def load(platform: Platform, rate_per_s: float, tokens: int) -> Iterator[Json]:
    """Streams while the block runs; what became of them is in the dictionary afterwards."""
    result: Json = {}
    wanted = {
        "host": platform.host, "port": platform.port, "model": "chat", "tokens": tokens, "rate_per_s": rate_per_s,
        "seconds": 2 * LIMIT_S,
    }  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(wanted, file)
        file.flush()
        command = [sys.executable, "-m", "harness.whole_answers", file.name]
        here = Path(__file__).parent
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=here) as running:
            time.sleep(2.0)
            try:
                yield result
                time.sleep(1.0)
            finally:
                out, _ = running.communicate("stop\n", timeout=LIMIT_S)
                result.update(json.loads(out))


def rolled_out(status: Json) -> bool:
    return any(c["type"] == "RolledOut" and c["status"] == "True" for c in status.get("conditions", ()))


def ready(count: int) -> Callable[[Json], bool]:
    return lambda s: s.get("readyReplicas") == count == s.get("replicas") and not _draining(s)


def _draining(status: Json) -> int:
    return sum(role.get("draining", 0) for role in status.get("roles", ()))


def scenarios(platform: Platform, replicas: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and what to do while the load runs."""

    def rolling() -> None:
        platform.patch({"args": ["--itl-ms", "41"]})
        platform.until("rolled out", lambda s: rolled_out(s) and not _draining(s))

    def scaling() -> None:
        platform.kubectl("scale", "modelservice/chat", f"--replicas={replicas // 2}")
        platform.until("scaled down", ready(replicas // 2))
        platform.kubectl("scale", "modelservice/chat", f"--replicas={replicas}")
        platform.until("scaled up", ready(replicas))

    def node_drain() -> None:
        pods = json.loads(platform.kubectl("get", "pods", "-o", "json"))["items"]
        node = pods[0]["spec"]["nodeName"]
        platform.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s")
        platform.until("replaced", ready(replicas))
        platform.kubectl("uncordon", node)

    def blue_green() -> None:
        platform.patch({"args": ["--itl-ms", "42"], "rollout": {"strategy": "BlueGreen"}})
        platform.until("switched", lambda s: rolled_out(s) and not _draining(s))

    def canary() -> None:
        steps = [{"weight": 20}, {"weight": 50}]
        lax = {"criteria": [{"measure": "errorRate", "marginPercent": 20}], "minRequests": 100, "warmUpRequests": 2}
        rollout = {"strategy": "Canary", "canary": {"steps": steps}, "analysis": lax}
        platform.patch({"args": ["--itl-ms", "40"], "rollout": rollout})
        platform.until("promoted", lambda s: rolled_out(s) and not _draining(s))

    yield "rolling update", rolling
    yield "scaled down and up", scaling
    yield "kubectl drain of a node", node_drain
    yield "blue-green", blue_green
    yield "canary", canary


def measure(replicas: int, rate_per_s: float, tokens: int, only: str) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
        platform = Platform(Path(folder), nodes=3)
        try:
            service = {
                "apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": "chat"},
                "spec": {"model": {"name": "chat"}, "runtime": "simulated", "replicas": replicas,
                         "args": ["--itl-ms", "40"], "drain": {"timeoutSeconds": 60}},
            }  # fmt: skip
            platform.kubectl("apply", "-f", "-", stdin=json.dumps(service))
            platform.until("ready", ready(replicas))
            time.sleep(2.0)
            for name, act in scenarios(platform, replicas):
                if only and only not in name:
                    continue
                began_s = time.monotonic()
                with load(platform, rate_per_s, tokens) as result:
                    act()
                seconds = time.monotonic() - began_s
                for at_s, wrong in result["failures"][:5]:
                    print(f"{name}, {at_s:.1f} s: {wrong}", file=sys.stderr)
                lost = result["sent"] - result["whole"]
                figures.append(Figure(f"{name}: answers lost of {result['sent']:,}", lost, "", 0.0))
                figures.append(Figure("  … rate", result["sent"] / seconds, "1/s"))
                figures.append(Figure("  … it took", seconds, "s"))
        finally:
            subprocess.run([*FAIRLEAD, "down", "--data", folder, "--delete-data"], timeout=120, check=False)
    return figures


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--rate", type=float, default=200.0, help="streams per second")
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--only", default="", help="part of the name of a scenario")
    given = parser.parse_args()
    report(measure(given.replicas, given.rate, given.tokens, given.only), given.json)


if __name__ == "__main__":
    main()
