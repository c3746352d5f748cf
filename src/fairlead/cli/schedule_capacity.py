"""`fairlead capacity`: what still fits, and how usable what is free is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fairlead.cli.data import DataOption, KubeconfigOption, QuietOption, find_kubeconfig
from fairlead.cli.failure import Failed
from fairlead.clock import SYSTEM

if TYPE_CHECKING:
    from fairlead.cli.schedule_sight import Sight

Output = Annotated[Literal["text", "json", "yaml"], typer.Option("--output", "-o", help="Form of the output.")]


def register(app: typer.Typer) -> None:
    app.command()(capacity)


def capacity(
    service: Annotated[
        str | None,
        typer.Argument(metavar="[SERVICE]", help="A model service, or KIND/NAME of another workload of the cluster."),
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="Pods, or a workload, of which replicas are counted.")
    ] = None,
    device_class: Annotated[
        str, typer.Option("--class", metavar="CLASS", help="A pod with devices of this class is counted.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=32, help="With --class: how many devices.")] = 1,
    cpu: Annotated[str, typer.Option(help="With --class: what the pod requests besides.")] = "",
    memory: Annotated[str, typer.Option(help="With --class: what the pod requests besides.")] = "",
    nodes: Annotated[bool, typer.Option("--nodes", help="A line for each node.")] = False,
    level: Annotated[
        str, typer.Option(help="Domains that are told apart: rack, block, nvlink, zone or a label.")
    ] = "rack",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Stop counting there.")] = 10_000,
    cluster: Annotated[
        list[Path] | None, typer.Option(help="Objects of a cluster instead of a running one; repeatable.")
    ] = None,
    fleet: Annotated[list[str] | None, typer.Option(help="Simulated nodes beside these files; repeatable.")] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of the service, and of objects.")] = "default",
    mode: Annotated[Literal["best", "upstream"], typer.Option(help="How devices are chosen.")] = "best",
    output: Output = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """What still fits: how many replicas of a service, of pods in a file, of a device request; else what is free."""
    from fairlead.cli.schedule_replica import Asked

    asked = Asked(service, tuple(file or ()), device_class, count, cpu, memory, namespace)
    if asked.ways > 1:
        raise Failed("give one of SERVICE, --file and --class: one thing is counted at a time")
    label = _level(level)
    sight = _look(cluster or [], fleet or [], namespace, mode, data, kubeconfig)
    if asked.ways:
        _print(*_fitting(sight, asked, label, limit, shown=not quiet and output == "text"), output)
    else:
        _print(*_free(sight, label, nodes=nodes), output)


def _level(name: str) -> str:
    from fairlead.scheduling.gangs.levels import level_label

    try:
        return level_label(name)
    except ValueError as error:
        raise Failed(f"--level: {error}") from error


def _look(
    cluster: list[Path], fleets: list[str], namespace: str, mode: Literal["best", "upstream"], data: Path | None,
    kubeconfig: Path | None,
) -> Sight:  # fmt: skip
    from fairlead.cli.schedule_sight import look_at_cluster, look_at_files

    if not cluster and not fleets:
        return look_at_cluster(find_kubeconfig(data, kubeconfig), mode, SYSTEM.wall_s())
    if kubeconfig is not None:
        raise Failed("--cluster and --fleet take the place of a cluster: leave --kubeconfig out")
    return look_at_files(cluster, fleets, mode, SYSTEM.wall_s(), namespace)


def _fitting(sight: Sight, asked: Any, label: str, limit: int, *, shown: bool) -> tuple[str, dict[str, Any]]:
    from fairlead.cli.schedule_capacity_view import fit_json, fit_text
    from fairlead.cli.schedule_replica import replica_of
    from fairlead.scheduling.capacity import count_more
    from fairlead.scheduling.snapshot import HOST

    replica = replica_of(sight, asked)
    levels = list(dict.fromkeys((label, HOST)))
    console = Console(stderr=True)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console,
                  transient=True, disable=not (shown and console.is_terminal)) as bar:  # fmt: skip
        task = bar.add_task("counting", total=None)
        fit = count_more(
            sight.planner.outlook, replica.gangs, limit=limit, levels=levels,
            step=lambda done: bar.update(task, description=f"counting: {done:,}"),
        )  # fmt: skip
    return fit_text(replica, fit, label), fit_json(replica, fit, label)


def _free(sight: Sight, label: str, *, nodes: bool) -> tuple[str, dict[str, Any]]:
    from fairlead.cli.schedule_capacity_view import free_json, free_text, nodes_json, nodes_text
    from fairlead.scheduling.fragmentation import class_reports

    planner = sight.planner
    reports = class_reports(planner.fleet, sorted(sight.device_classes), label)
    if nodes:
        return nodes_text(planner.fleet, reports, label), nodes_json(planner.fleet, reports, label)
    return free_text(planner.fleet, reports, label), free_json(planner.fleet, reports, label)


def _print(text: str, document: dict[str, Any], output: str) -> None:
    from fairlead.cli.schedule_output import print_document

    if output == "text":
        typer.echo(text)
    else:
        print_document(document, output)
