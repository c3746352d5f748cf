"""Benchmarks and what is seen of them, for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.api.benchmark import Benchmark
from fairlead.bench.cluster import names
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod

Json = dict[str, Any]
CONFIG: Json = {
    "targets": [{"url": "http://sim:8000", "model": "m"}],
    "load": {"stages": [{"rate_per_s": 10, "seconds": 5}]},
}


def raw(name: str = "b", **spec: Any) -> Json:
    """As people write it."""
    return {
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "Benchmark",
        "metadata": {"name": name, "namespace": "default"}, "spec": {"config": CONFIG, **spec},
    }  # fmt: skip


def benchmark(name: str = "b", status: Json | None = None, **spec: Any) -> Benchmark:
    """As an API server has it."""
    obj = raw(name, **spec)
    obj["metadata"] |= {"uid": "u-1", "generation": 1}
    return msgspec.convert({**obj, "status": status or {}}, Benchmark)


def pod(index: int, state: Json | None = None, phase: str = "Running", **status: Any) -> Pod:
    """`state` is the container's; None: there is none yet."""
    statuses = [{"name": names.CONTAINER, "state": state}] if state is not None else []
    obj = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": f"bench-b-{index}-x", "namespace": "default", "annotations": {names.INDEX_ANNOTATION: str(index)},
        },
        "status": {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": statuses, **status},
    }  # fmt: skip
    return PODS.decode(msgspec.json.encode(obj))


RUNNING: Json = {"running": {}}


def ended(code: int, message: str = "", reason: str = "Error") -> Json:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}
