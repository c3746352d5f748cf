"""Entry of `fairlead`.

Commands that run a component for its whole life (`apiserver`, `agent`, …) are dispatched before the command-line
library is imported: they start often, and several at once, so what they do not import is start-up time saved.
"""

from __future__ import annotations

import importlib
import sys

COMPONENTS = {
    "apiserver": ("fairlead.cli.components", "apiserver", "Run the embedded Kubernetes API server alone."),
    "controllers": ("fairlead.cli.components", "controllers", "Run every controller against an API server."),
    "agent": ("fairlead.cli.components", "agent", "Run virtual nodes whose pods are local processes."),
    "gateway": ("fairlead.cli.components", "gateway", "Run the endpoint picker."),
    "epp": ("fairlead.cli.epp", "main", "Run the endpoint picker of one InferencePool, with other pickers' flags."),
    "envoy": ("fairlead.cli.components", "envoy", "Run the Envoy of the standalone gateway."),
    "engine": ("fairlead.cli.components", "engine", "Run a model server that ships with Fairlead."),
    "adapter-loader": ("fairlead.cli.adapter_loader", "main", "Fetch adapters for the engine of a pod."),
    "bench-pod": ("fairlead.cli.bench_pod", "main", "Run a pod of a Benchmark, which coordinates or sends."),
    "driver": ("fairlead.cli.driver", "main", "Offer a node's accelerators as DRA devices."),
    "supervise": ("fairlead.cli.components", "supervise", "Run the supervisor of a data folder (used by up --detach)."),
}
"""Command -> module, function taking argv, help line."""

GROUPS = {"bench": ("fairlead.cli.bench", "main")}
"""Groups of commands that bring nothing of the others with them."""

IN_PODS = {
    ("model", "fetch"): ("fairlead.cli.model_fetch", "fetch"),
    ("model", "hold"): ("fairlead.cli.model_fetch", "hold"),
}
"""Commands of groups that start with every pod, dispatched as early as components."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments and arguments[0] in COMPONENTS:
            module, function, _ = COMPONENTS[arguments[0]]
            result: int | None = getattr(importlib.import_module(module), function)(arguments[1:])
            return result or 0
        if arguments and arguments[0] in GROUPS:
            module, function = GROUPS[arguments[0]]
            ended: int = getattr(importlib.import_module(module), function)(arguments[1:])
            return ended
        if tuple(arguments[:2]) in IN_PODS:
            module, function = IN_PODS[arguments[0], arguments[1]]
            status: int = getattr(importlib.import_module(module), function)(arguments[2:])
            return status
        from fairlead.cli.app import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
