"""`fairlead demo`: the whole way once, from nothing to a streamed answer, in a folder of its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fairlead.cli import service
from fairlead.cli.conversation import Message, stream_answer
from fairlead.cli.manifests import manifest
from fairlead.clock import SYSTEM
from fairlead.embedded.supervisor import launch

console = Console(highlight=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running; says how to stop it.")] = False,
) -> None:
    """Start a platform, deploy a model service, stream one chat answer through Envoy, and clean up."""
    where = Path(tempfile.mkdtemp(prefix="fairlead-demo-"))
    began_s = SYSTEM.monotonic_s()
    console.print("[bold]1[/]  starting a Kubernetes API, two nodes, controllers, the endpoint picker and Envoy")
    ports = launch.choose_ports(where, 0, 0)
    supervisor = launch.detach(where, ports, "2")
    try:
        state = launch.wait_until_ready(where, supervisor, lambda _: None)
        gateway = f"http://127.0.0.1:{state.ports.gateway}"
        _told(began_s, "ready")

        console.print("[bold]2[/]  deploying ModelService [bold]tiny[/] (two simulated engines)")
        kubeconfig = where / "kubeconfig"
        asked_s = SYSTEM.monotonic_s()
        service.apply(kubeconfig, manifest("tiny", "default", model="tiny", runtime="simulated", replicas=2))
        service.wait_ready(kubeconfig, "default", "tiny", timeout_s=60.0)
        _told(asked_s, "both replicas are ready")

        console.print("[bold]3[/]  asking it something through the gateway")
        asked_s = SYSTEM.monotonic_s()
        first_s = None
        question = Message("user", "In one sentence: why should inference have a scheduler of its own?")
        for piece in stream_answer(gateway, "tiny", [question], max_tokens=48, timeout_s=30.0):
            first_s = first_s or SYSTEM.monotonic_s() - asked_s
            console.print(piece, end="", markup=False, soft_wrap=True)
        console.print()
        console.print(f"   [dim]first token after {1000 * (first_s or 0):.0f} ms[/]")
        if keep:
            console.print(
                f"\nIt stays up: export KUBECONFIG={kubeconfig}; kubectl get pods\nStop: fairlead down --data {where}"
            )
    finally:
        if not keep:
            launch.down(where)
            shutil.rmtree(where, ignore_errors=True)
    if not keep:
        console.print("[bold]4[/]  stopped and cleaned up; `make up` starts one that stays")


def _told(since_s: float, what: str) -> None:
    console.print(f"   [dim]{what} after {SYSTEM.monotonic_s() - since_s:.1f} s[/]")
