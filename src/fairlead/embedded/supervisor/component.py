"""The processes of the embedded platform, as data: which command, in which order, and when each counts as ready."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

FAIRLEAD = (sys.executable, "-m", "fairlead.cli.main")


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on 127.0.0.1."""

    api: int
    gateway: int


@dataclass(frozen=True, slots=True)
class Component:
    """One supervised process. `stop_grace_s` is how long it may take to stop after SIGTERM."""

    name: str
    argv: tuple[str, ...]
    stop_grace_s: float = 10.0
    env: dict[str, str] = field(default_factory=dict)


def components(data: Path, ports: Ports, nodes: str) -> tuple[Component, ...]:
    """Every component in starting order; they stop in reverse order, the API server last."""
    kubeconfig = str(data / "kubeconfig")
    gateway_data = str(data / "gateway")
    return (
        Component("apiserver", (*FAIRLEAD, "apiserver", "--data", str(data), "--api-port", str(ports.api))),
        Component("controllers", (*FAIRLEAD, "controllers", "--kubeconfig", kubeconfig)),
        Component(
            "agent",
            (*FAIRLEAD, "agent", "--kubeconfig", kubeconfig, "--data", str(data / "nodes"), "--nodes", nodes),
        ),
        Component("gateway", (*FAIRLEAD, "gateway", "--kubeconfig", kubeconfig, "--data", gateway_data)),
        Component("envoy", (*FAIRLEAD, "envoy", "--data", gateway_data, "--port", str(ports.gateway))),
    )


def stop_pods_command(data: Path) -> tuple[str, ...]:
    """The command that ends every pod process of this data folder, for `down`."""
    return (*FAIRLEAD, "agent", "--data", str(data / "nodes"), "--stop-pods")
