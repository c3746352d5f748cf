"""`fairlead up`, `down`, `status` and `kubeconfig`: the life of the embedded platform."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fairlead.cli.data import (
    DEFAULT_API_PORT,
    DEFAULT_GATEWAY_PORT,
    DEFAULT_NODES,
    DataOption,
    OutputOption,
    QuietOption,
    folder,
    must_run,
    running,
)
from fairlead.clock import SYSTEM
from fairlead.embedded.agent.node_spec import NodeSpecError, parse_nodes
from fairlead.embedded.supervisor import launch
from fairlead.embedded.supervisor.readiness import get_json
from fairlead.embedded.supervisor.state import UpState

console = Console(highlight=False, soft_wrap=True)

_API_ATTEMPTS = 8
"""`status` right after the API server was killed shows what its next start says, a second later."""

_LISTS = (
    "/api/v1/nodes",
    "/api/v1/pods?fieldSelector=status.phase!=Succeeded,status.phase!=Failed",
    "/apis/fairlead.dev/v1alpha1/modelservices",
)

ApiPort = Annotated[
    int, typer.Option("--api-port", metavar="N", help="Port of the Kubernetes API; 0 takes a free one.")
]
GatewayPort = Annotated[
    int, typer.Option("--gateway-port", metavar="N", help="Port for model requests; 0 takes a free one.")
]
Nodes = Annotated[
    str,
    typer.Option("--nodes", metavar="SPEC", help="Virtual nodes: a count, or name=a,cpu=8,memory=32Gi;name=b,…"),
]
DevicesOption = Annotated[
    str,
    typer.Option(
        "--devices",
        metavar="FLEET",
        help="Devices of the nodes: a fleet's file or name (`fairlead device fleets`), or nvidia, furiosa or tpu for "
        "this machine's own.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(kubeconfig)


def up(
    data: DataOption = None,
    api_port: ApiPort = DEFAULT_API_PORT,
    gateway_port: GatewayPort = DEFAULT_GATEWAY_PORT,
    nodes: Nodes = DEFAULT_NODES,
    devices: DevicesOption = "",
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when ready; `fairlead down` stops it.")
    ] = False,
    quiet: QuietOption = False,
    output: OutputOption = "text",
) -> None:
    """Start the embedded platform: a Kubernetes API, nodes whose pods are processes, controllers and the gateway."""
    where = folder(data)
    if devices:
        from fairlead.cli import asked_devices

        devices = asked_devices.normalize(devices)
    found = running(where)
    if found is not None:
        _found(where, found, api_port, gateway_port, nodes, devices, quiet, output)
        return
    timeout_s = launch.READY_TIMEOUT_S
    if devices:
        timeout_s = asked_devices.check(devices, nodes_given=nodes != DEFAULT_NODES)
    else:
        _check_nodes(nodes)
    launch.check_folder(where)
    ports = launch.choose_ports(where, api_port, gateway_port)
    if detach:
        supervisor = launch.detach(where, ports, nodes, devices)
        with console.status("starting", spinner="dots") if _chatty(quiet, output) else _silence() as line:
            try:
                state = launch.wait_until_ready(where, supervisor, lambda s: _progress(line, s), timeout_s=timeout_s)
            except KeyboardInterrupt:
                typer.echo("fairlead: it goes on starting in the background; `fairlead down` stops it", err=True)
                raise
        _report(where, state, quiet, output)
        return
    if _chatty(quiet, output):
        console.print("starting; Ctrl-C stops it")
    plan = None
    if devices:
        nodes, plan = asked_devices.prepare(where, devices)
    state = asyncio.run(launch.run_foreground(where, ports, nodes, lambda s: _report(where, s, quiet, output), plan))
    if state.phase == "failed":
        raise launch.CannotStart(state.message)


def down(
    data: DataOption = None,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also delete every object, log and volume.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Stop the embedded platform and every pod process of it. Objects stay for the next `up`."""
    where = folder(data)
    ran = launch.down(where)
    if delete_data and (where / "up.json").exists():
        shutil.rmtree(where)
    if not quiet:
        console.print("stopped" if ran else f"nothing was running in {where}")


def status(data: DataOption = None, output: OutputOption = "text") -> None:
    """Show the components, nodes and model services of the running platform."""
    where = folder(data)
    state = must_run(where)
    objects = _objects(where)
    state = running(where) or state
    if output == "json":
        typer.echo(json.dumps(_summary(where, state) | objects, indent=2))
        return
    console.print(f"{state.phase}{': waiting for ' + state.message if state.message else ''}")
    console.print(f"Kubernetes API  https://127.0.0.1:{state.ports.api}")
    console.print(f"models          http://127.0.0.1:{state.ports.gateway}/v1")
    if state.devices:
        console.print(f"devices         {state.devices}; `fairlead device list` shows them")
    table = _table("COMPONENT", "PID", "RESTARTS", "LAST EXIT")
    for c in state.components:
        table.add_row(c.name, str(c.process.pid) if c.process else "-", str(c.restarts), c.last_exit or "-")
    console.print(table)
    if objects["nodes"] is None:
        console.print(
            f"nodes and model services: unknown, the API server does not answer; see {where}/logs/apiserver.log"
        )
        return
    table = _table("NODE", "READY", "PODS")
    for node in objects["nodes"]:
        table.add_row(node["name"], "yes" if node["ready"] else "no", str(node["pods"]))
    console.print(table)
    table = _table("MODEL SERVICE", "NAMESPACE", "MODEL", "RUNTIME", "READY")
    for service in objects["modelServices"]:
        ready = f"{service['readyReplicas']}/{service['replicas']}"
        table.add_row(service["name"], service["namespace"], service["model"], service["runtime"], ready)
    console.print(table if objects["modelServices"] else "no model services; try `fairlead deploy tiny`")


def kubeconfig(data: DataOption = None) -> None:
    """Print the path of the kubeconfig: `export KUBECONFIG=$(fairlead kubeconfig)`."""
    path = folder(data) / "kubeconfig"
    if not path.exists():
        raise launch.CannotStart(f"{path} is not there yet; start the platform with `fairlead up` first")
    typer.echo(str(path))


def _check_nodes(nodes: str) -> None:
    try:
        parse_nodes(nodes)
    except NodeSpecError as error:
        raise launch.CannotStart(f"--nodes: {error}") from error


def _found(
    where: Path, state: UpState, api_port: int, gateway_port: int, nodes: str, devices: str, quiet: bool, output: str
) -> None:
    wanted = [
        f"{option} {asked} (it has {has})"
        for option, asked, default, has in (
            ("--api-port", api_port, DEFAULT_API_PORT, state.ports.api),
            ("--gateway-port", gateway_port, DEFAULT_GATEWAY_PORT, state.ports.gateway),
            ("--nodes", nodes, DEFAULT_NODES, f"those of --devices {state.devices}" if state.devices else state.nodes),
            ("--devices", devices, "", state.devices or "none"),
        )
        if asked not in (has, default, 0)
    ]
    if wanted:
        raise launch.CannotStart(
            f"it already runs in {where} and cannot take {', '.join(wanted)}; "
            "`fairlead down` first, or use another --data"
        )
    if _chatty(quiet, output):
        console.print(f"already running (supervisor pid {state.supervisor.pid})")
    _report(where, state, quiet, output)


def _report(where: Path, state: UpState, quiet: bool, output: str) -> None:
    if output == "json":
        typer.echo(json.dumps(_summary(where, state)))
    elif not quiet:
        after = f" after {state.ready_after_s:.1f} s" if state.ready_after_s is not None else ""
        console.print(f"{state.phase}{after}")
        console.print(f"  Kubernetes API  https://127.0.0.1:{state.ports.api}")
        console.print(f"  models          http://127.0.0.1:{state.ports.gateway}/v1")
        if state.devices:
            console.print(f"  devices         {state.devices}")
        console.print(f"  kubectl         export KUBECONFIG={where / 'kubeconfig'}")


def _summary(where: Path, state: UpState) -> dict[str, Any]:
    return {
        "phase": state.phase,
        "message": state.message,
        "data": str(where),
        "kubeconfig": str(where / "kubeconfig"),
        "apiServer": f"https://127.0.0.1:{state.ports.api}",
        "gateway": f"http://127.0.0.1:{state.ports.gateway}",
        "readyAfterSeconds": state.ready_after_s,
        "devices": state.devices,
        "supervisorPid": state.supervisor.pid,
        "components": [
            {
                "name": c.name,
                "pid": c.process.pid if c.process else None,
                "restarts": c.restarts,
                "lastExit": c.last_exit,
            }
            for c in state.components
        ],
    }


def _objects(where: Path) -> dict[str, Any]:
    """Nodes and model services; None for both where the API server does not answer, for a restart's time at most."""
    nodes, pods, services = _read_lists(where) or (None, None, None)
    if nodes is None or pods is None or services is None:
        return {"nodes": None, "modelServices": None}
    on_node = [p["spec"].get("nodeName") for p in pods]
    return {
        "nodes": [
            {
                "name": n["metadata"]["name"],
                "ready": any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", ())),
                "pods": on_node.count(n["metadata"]["name"]),
            }
            for n in nodes
        ],
        "modelServices": [
            {
                "name": s["metadata"]["name"],
                "namespace": s["metadata"]["namespace"],
                "model": s["spec"]["model"]["name"],
                "runtime": s["spec"]["runtime"],
                "replicas": s["spec"].get("replicas", 1),
                "readyReplicas": s.get("status", {}).get("readyReplicas", 0),
            }
            for s in services
        ],
    }


def _read_lists(where: Path) -> list[list[dict[str, Any]]] | None:
    import yaml

    async def read() -> list[list[dict[str, Any]]] | None:
        for attempt in range(_API_ATTEMPTS):
            with contextlib.suppress(OSError, HTTPException, ValueError, KeyError):
                config = yaml.safe_load((where / "kubeconfig").read_text())
                return [get_json(config, where, path)["items"] for path in _LISTS]
            if attempt < _API_ATTEMPTS - 1:
                await SYSTEM.sleep(0.25)
        return None

    return asyncio.run(read())


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        table.add_column(column)
    return table


def _chatty(quiet: bool, output: str) -> bool:
    return not quiet and output != "json"


class _silence:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _progress(line: Any, state: UpState) -> None:
    if line is not None and state.message:
        line.update(f"waiting for {state.message}")
