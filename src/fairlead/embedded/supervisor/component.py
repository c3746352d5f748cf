"""The processes of the embedded platform, as data: which command, in which order, and when each counts as ready."""

from __future__ import annotations

import sys
from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices for the nodes. `asked` is what a person gave to `up --devices`; `options` are those of `fairlead driver`
    that offer them; `pools` (driver -> nodes) must be published before the platform is ready."""

    asked: str
    options: tuple[str, ...]
    pools: Mapping[str, frozenset[str]] = field(default_factory=dict)


def components(
    data: Path, ports: Ports, nodes: str, devices: Devices | None = None, dns: str = ""
) -> tuple[Component, ...]:
    """Every component in starting order; they stop in reverse order, the API server last. The device driver goes before
    the agent, so that it is there for as long as the agent has claims to give back. `dns` is the address of cluster
    DNS, empty for a platform without it."""
    named = ("--cluster-dns", dns) if dns else ()
    kubeconfig = str(data / "kubeconfig")
    gateway_data = str(data / "gateway")
    return (
        Component("apiserver", (*FAIRLEAD, "apiserver", "--data", str(data), "--api-port", str(ports.api))),
        Component(
            "controllers",
            (*FAIRLEAD, "controllers", "--kubeconfig", kubeconfig, "--model-cache", str(data / "models"), *named),
        ),
        *((_driver(data, kubeconfig, devices),) if devices is not None else ()),
        Component(
            "agent",
            (*FAIRLEAD, "agent", "--kubeconfig", kubeconfig, "--data", str(data / "nodes"), "--nodes", nodes, *named),
        ),
        Component("gateway", (*FAIRLEAD, "gateway", "--kubeconfig", kubeconfig, "--data", gateway_data)),
        Component("envoy", (*FAIRLEAD, "envoy", "--data", gateway_data, "--port", str(ports.gateway))),
    )


def _driver(data: Path, kubeconfig: str, devices: Devices) -> Component:
    node = data / "nodes" / "node" / "{node}"
    roots = ("--kubelet-root", str(node), "--cdi-root", str(node / "cdi"))
    # A NODE_NAME of the person's shell is that of another machine.
    return Component(
        "driver", (*FAIRLEAD, "driver", "--kubeconfig", kubeconfig, *roots, *devices.options), env={"NODE_NAME": ""}
    )


def stop_pods_command(data: Path) -> tuple[str, ...]:
    """The command that ends every pod process of this data folder, for `down`."""
    return (*FAIRLEAD, "agent", "--data", str(data / "nodes"), "--stop-pods")
