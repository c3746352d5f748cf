"""`fairlead topology show|generate|serve`: how nodes and devices hang together, drawn, written as labels, served."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console

from fairlead.cli.data import DataOption, KubeconfigOption, find_kubeconfig
from fairlead.cli.failure import Failed

if TYPE_CHECKING:
    from fairlead.devices.topology.links import LinkMatrix
    from fairlead.devices.topology.model import Topology
    from fairlead.devices.topology.snapshot import ClusterSeen
    from fairlead.kube.client import Client

T = TypeVar("T")
console = Console(highlight=False, soft_wrap=True)
topology_app = typer.Typer(
    help="How nodes and devices hang together: switches, accelerator domains, sockets.", no_args_is_help=True
)
_ALIKE_FROM = 8
"""Clusters of more nodes than this fold nodes that look alike in the terminal."""


def register(app: typer.Typer) -> None:
    app.add_typer(topology_app, name="topology")


@topology_app.command()
def show(
    input_: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Show a topology file instead of the cluster ('-' reads stdin)."),
    ] = None,
    links: Annotated[str, typer.Option("--links", metavar="NODE", help="How close the devices of a node are.")] = "",
    scores: Annotated[bool, typer.Option("--scores", help="With --links: scores of 0 to 70, not words.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write an SVG drawing.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every node, also those that look alike.")] = False,
    output: Annotated[Literal["text", "json", "yaml"], typer.Option("--output", "-o", help="Form of it.")] = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Draw the tree of zones, switches, accelerator domains, nodes and devices."""
    from fairlead.devices.topology.snapshot import ClusterSeen

    cluster = ClusterSeen({}, {}) if input_ is not None else _with_client(data, kubeconfig, _read_cluster)
    if links:
        _print_links(_matrix(cluster, links), scores, output)
        return
    topology = _checked(lambda: _topology(cluster, input_))
    if svg is not None:
        _write_svg(topology, cluster, svg)
        return
    if output != "text":
        from fairlead.devices.topology.documents import to_json, to_yaml

        typer.echo((to_json(topology) if output == "json" else to_yaml(topology)).decode(), nl=False)
        return
    from fairlead.devices.topology.picture import fold_alike, picture
    from fairlead.devices.topology.text import legend, tree_lines

    drawn = picture(topology, cluster)
    if not drawn.parts:
        raise Failed("there are no nodes; `fairlead up` starts some")
    if not every and drawn.count > _ALIKE_FROM:
        drawn = fold_alike(drawn)
    for line in tree_lines(drawn, markup=True):
        console.print(line)
    if drawn.total:
        console.print(f"[dim]{legend()}[/]")


@topology_app.command()
def generate(
    provider: Annotated[
        str, typer.Option(metavar="NAME", help="Where it is learnt from, such as infiniband-bm, aws, file, labels.")
    ],
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="What it becomes: k8s, slurm, graph, or json and yaml.")
    ] = "yaml",
    input_: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="The provider's input ('-' reads stdin).")
    ] = None,
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Address to GET the provider's input from.")] = "",
    provider_params: Annotated[
        str, typer.Option(metavar="JSON", help="The provider's parameters, a JSON object.")
    ] = "{}",
    engine_params: Annotated[str, typer.Option(metavar="JSON", help="The engine's parameters, a JSON object.")] = "{}",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Engine k8s: print the labels, write none.")] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Seconds for the source to answer.")
    ] = 30.0,
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Discover a topology once: to stdout, or as labels on the cluster's nodes (engine k8s)."""
    from fairlead.devices.topology.engines.outputs import check_engine, label_settings, node_selector, render
    from fairlead.devices.topology.providers.inputs import METADATA_HEADERS, Inputs
    from fairlead.devices.topology.providers.sources import Query, discover

    asked_provider, asked_engine = (
        _object(provider_params, "--provider-params"),
        _object(engine_params, "--engine-params"),
    )
    if engine not in ("json", "yaml"):
        _checked(lambda: check_engine(engine))
    given = _read(input_) if input_ is not None else None
    inputs = Inputs(given, Path.cwd(), endpoint, METADATA_HEADERS.get(provider, {}), True, timeout_s)

    async def find(client: Client | None) -> Topology:
        from fairlead.devices.topology.controller import read_cluster

        query = Query(inputs, asked_provider, None, (lambda: read_cluster(client)) if client is not None else None)
        found = await discover(provider, query)
        for remark in found.remarks:
            typer.echo(f"note: {remark}", err=True)
        return found.topology

    async def label(client: Client) -> None:
        from fairlead.devices.topology.controller import write_labels
        from fairlead.devices.topology.engines.labels import compute_labels

        topology, settings = await find(client), label_settings(asked_engine)
        if dry_run:
            for node, labels in compute_labels(topology, settings).items():
                typer.echo(f"{node} " + " ".join(f"{key}={value}" for key, value in labels.items()))
            return
        report = await write_labels(client, topology, settings, node_selector(asked_engine))
        typer.echo(f"{len(report.changed)} nodes changed, {len(report.unchanged)} as they should be")
        if report.unknown:
            typer.echo(f"not in the cluster: {', '.join(report.unknown[:8])} ({len(report.unknown)} in all)", err=True)

    if engine == "k8s":
        _checked(lambda: _with_client(data, kubeconfig, label))
        return
    if provider in ("labels", "dra"):
        topology = _checked(lambda: _with_client(data, kubeconfig, find))
    else:
        topology = _checked(lambda: asyncio.run(find(None)))
    if engine in ("json", "yaml"):
        from fairlead.devices.topology.documents import to_json, to_yaml

        typer.echo((to_json(topology) if engine == "json" else to_yaml(topology)).decode(), nl=False)
        return
    typer.echo(_checked(lambda: render(engine, topology, asked_engine)).decode(), nl=False)


@topology_app.command()
def serve(
    provider: Annotated[str, typer.Option(metavar="NAME", help="Provider of requests that name none.")] = "",
    engine: Annotated[str, typer.Option(metavar="NAME", help="Engine of requests that name none.")] = "",
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; there is no authentication.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 49021,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", metavar="DIR", help="Folder of files that requests may name.")
    ] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(metavar="PROVIDER=URL", help="Where a provider reads; may be repeated.")
    ] = None,
    delay_s: Annotated[
        float, typer.Option("--delay", metavar="SECONDS", min=0, help="Seconds to gather equal requests.")
    ] = 15.0,
    no_cluster: Annotated[bool, typer.Option("--no-cluster", help="Without a Kubernetes API.")] = False,
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Serve Topograph's HTTP API: POST /v1/generate, GET /v1/topology?uid=."""
    from fairlead.devices.topology.jobs import JobSettings
    from fairlead.devices.topology.providers.inputs import Inputs
    from fairlead.devices.topology.server import ServerOptions, TopologyServer
    from fairlead.devices.topology.server import serve as run_server

    endpoints = dict(_pair(text) for text in endpoint or ())
    options = ServerOptions(
        provider,
        engine,
        inputs=Inputs(folder=inputs, commands=True),
        endpoints=endpoints,
        jobs=JobSettings(delay_s=delay_s),
    )

    async def run(client: Client | None) -> None:
        await run_server(
            TopologyServer(options, client),
            host,
            port,
            lambda bound: typer.echo(f"topology API on http://{host}:{bound}"),
        )

    try:
        if no_cluster:
            asyncio.run(run(None))
        else:
            _with_client(data, kubeconfig, run)
    except OSError as error:
        raise Failed(f"cannot listen on {host}:{port}: {error.strerror}; give another --port") from error


def _with_client(data: Path | None, kubeconfig: Path | None, use: Any) -> Any:
    from fairlead.kube.client import Client

    async def run() -> Any:
        async with Client.load(find_kubeconfig(data, kubeconfig)) as client:
            return await use(client)

    return asyncio.run(run())


async def _read_cluster(client: Client) -> ClusterSeen:
    from fairlead.devices.topology.controller import read_cluster

    return await read_cluster(client)


def _topology(cluster: ClusterSeen, file: Path | None) -> Topology:
    """Of a file, or of the cluster's labels and devices together, the labels first where they differ."""
    from fairlead.devices.topology.errors import InvalidTopology
    from fairlead.devices.topology.merge import merge_preferring_first
    from fairlead.devices.topology.model import EMPTY
    from fairlead.devices.topology.providers.accelerators import topology_from_devices
    from fairlead.devices.topology.providers.labels import topology_from_labels
    from fairlead.devices.topology.providers.sources import read_any

    if file is not None:
        return read_any(_read(file).decode(errors="replace"))
    devices = ((device.node, device.attributes) for listed in cluster.devices.values() for device in listed)
    try:
        domains = topology_from_devices(devices)
    except InvalidTopology as error:
        typer.echo(f"note: {error}; the devices' domains are left out", err=True)
        domains = EMPTY
    merged = merge_preferring_first([("labels", topology_from_labels(cluster.labels)), ("devices", domains)])
    for conflict in merged.conflicts[:5]:
        typer.echo(f"note: {conflict}; the label counts", err=True)
    return merged.topology


def _matrix(cluster: ClusterSeen, node: str) -> LinkMatrix:
    from fairlead.devices.topology.links import fabric_links, link_matrix

    if node not in cluster.nodes:
        raise Failed(f'there is no node "{node}"; `fairlead topology show --all` lists them')
    devices = cluster.devices.get(node, ())
    if not devices:
        raise Failed(f"node {node} publishes no devices; is a driver running there?")
    names = [device.name for device in devices]
    twice = {name for name in names if names.count(name) > 1}
    called = [f"{one.driver}/{one.name}" if one.name in twice else one.name for one in devices]
    links = [
        link
        for driver in {one.driver for one in devices}
        for link in fabric_links(
            {name: one.attributes for name, one in zip(called, devices, strict=True) if one.driver == driver}
        )
    ]
    return link_matrix({name: one.spot for name, one in zip(called, devices, strict=True)}, links)


def _print_links(matrix: LinkMatrix, scores: bool, output: str) -> None:
    if output != "text":
        document = {
            "devices": list(matrix.names),
            "kinds": [list(row) for row in matrix.kinds],
            "scores": [list(row) for row in matrix.scores],
        }
        if output == "json":
            typer.echo(json.dumps(document, indent=2))
            return
        import msgspec

        typer.echo(msgspec.yaml.encode(document).decode(), nl=False)
        return
    from fairlead.devices.topology.text import matrix_lines

    for line in matrix_lines(matrix, scores=scores):
        typer.echo(line)


def _write_svg(topology: Topology, cluster: ClusterSeen, file: Path) -> None:
    from fairlead.devices.topology.picture import picture
    from fairlead.devices.topology.svg import svg

    drawn = picture(topology, cluster)
    try:
        file.write_text(svg(drawn), encoding="utf-8")
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from error
    typer.echo(f"{drawn.count} nodes drawn in {file}")


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    from fairlead.devices.topology.errors import SourceError
    from fairlead.devices.topology.providers.inputs import read_file

    try:
        return read_file(file)
    except SourceError as error:
        raise Failed(str(error)) from error


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Failed(f"{option}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Failed(f"{option}: expected a JSON object, found {text}")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals or not url.startswith(("http://", "https://")):
        raise Failed(f'--endpoint "{text}": expected PROVIDER=http://…')
    return name, url


def _checked(call: Any) -> Any:
    """Errors of topology become Failed."""
    from fairlead.devices.topology.errors import TopologyError

    try:
        return call()
    except TopologyError as error:
        raise Failed(str(error)) from error
