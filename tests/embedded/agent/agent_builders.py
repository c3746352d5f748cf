"""Pods and container facts with defaults, for the agent's tests."""

from __future__ import annotations

from typing import Any

from fairlead.embedded.agent.facts import Attempt, ContainerFacts, Ended, PodFacts
from fairlead.embedded.agent.pod import Pod, decode_pod

NOW = 1_000_000.0


def container(name: str = "app", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": ["sleep", "1"], **fields}


def pod(
    *containers: dict[str, Any],
    init: tuple[dict[str, Any], ...] = (),
    name: str = "web",
    metadata: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> Pod:
    value: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default", "uid": "uid-1", **(metadata or {})},
        "spec": {"containers": list(containers) or [container()], "nodeName": "node-0", **spec},
        "status": status or {},
    }
    if init:
        value["spec"]["initContainers"] = list(init)
    return decode_pod(value)


def running(number: int = 0, **fields: Any) -> ContainerFacts:
    return ContainerFacts(
        current=Attempt(number, f"process://{number}", "busybox", "busybox:latest", NOW - 60), **fields
    )


def ended(code: int, *, number: int = 0, at_s: float = NOW - 1, reason: str = "", **fields: Any) -> ContainerFacts:
    reason = reason or ("Completed" if code == 0 else "Error")
    attempt = Attempt(number, f"process://{number}", "busybox", "busybox:latest", NOW - 60, Ended(code, at_s, reason))
    return ContainerFacts(current=attempt, **fields)


def facts(sandbox: bool = True, **containers: ContainerFacts) -> PodFacts:
    return PodFacts(
        host_ip="127.64.0.1",
        pod_ip="127.64.0.2" if sandbox else "",
        sandbox_ready=sandbox,
        start_time_s=NOW - 120,
        containers=containers,
    )
