"""`fairlead explain pod|gang|claim`: the scheduler's own verdict, for what waits and for what has its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fairlead.cli.data import DataOption, KubeconfigOption, find_kubeconfig
from fairlead.cli.failure import Failed
from fairlead.clock import SYSTEM

if TYPE_CHECKING:
    from fairlead.cli.schedule_sight import Sight

explain_app = typer.Typer(
    help="Why a pod, a gang or a claim is where it is, or nowhere. The gateway's picks: `fairlead gateway explain`.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, or NAMESPACE/NAME.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Its namespace.")]
Files = Annotated[
    list[Path] | None,
    typer.Option("--file", "-f", help="Objects of a cluster instead of a running one; repeatable."),
]
Fleets = Annotated[list[str] | None, typer.Option("--fleet", help="Simulated nodes beside these files; repeatable.")]
Mode = Annotated[
    Literal["best", "upstream"], typer.Option(help="How devices are chosen: least waste, or as Kubernetes' allocator.")
]
Output = Annotated[Literal["text", "json", "yaml"], typer.Option("--output", "-o", help="Form of the output.")]


def register(app: typer.Typer) -> None:
    app.add_typer(explain_app, name="explain")


@explain_app.command()
def pod(
    name: Name,
    namespace: Namespace = "default",
    file: Files = None,
    fleet: Fleets = None,
    mode: Mode = "best",
    output: Output = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Where a pod would go, or for each domain the first thing against it, and what would make it fit."""
    sight = _look(file, fleet, mode, data, kubeconfig)
    _print(sight.pod(*_named(name, namespace)), output)


@explain_app.command()
def gang(
    name: Name,
    namespace: Namespace = "default",
    file: Files = None,
    fleet: Fleets = None,
    mode: Mode = "best",
    output: Output = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """The same for pods that go together: a PodGroup, a LeaderWorkerSet's group, a Job, a gang of annotations."""
    sight = _look(file, fleet, mode, data, kubeconfig)
    _print(sight.gang(*_named(name, namespace)), output)


@explain_app.command()
def claim(
    name: Name,
    namespace: Namespace = "default",
    file: Files = None,
    fleet: Fleets = None,
    mode: Mode = "best",
    output: Output = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Which devices a claim has and how near they are, who uses it and who waits, or what stands in its way."""
    sight = _look(file, fleet, mode, data, kubeconfig)
    _print(sight.claim(*_named(name, namespace)), output)


def _named(name: str, namespace: str) -> tuple[str, str]:
    before, slash, after = name.rpartition("/")
    return (before, after) if slash else (namespace, name)


def _look(
    files: list[Path] | None, fleets: list[str] | None, mode: Literal["best", "upstream"], data: Path | None,
    kubeconfig: Path | None,
) -> Sight:  # fmt: skip
    from fairlead.cli.schedule_sight import look_at_cluster, look_at_files

    if files or fleets:
        if kubeconfig is not None:
            raise Failed("--file and --fleet take the place of a cluster: leave --kubeconfig out")
        return look_at_files(files or [], fleets or [], mode, SYSTEM.wall_s())
    return look_at_cluster(find_kubeconfig(data, kubeconfig), mode, SYSTEM.wall_s())


def _print(told: tuple[str, dict[str, Any]], output: str) -> None:
    from fairlead.cli.schedule_output import print_document

    text, document = told
    if output == "text":
        typer.echo(text)
    else:
        print_document(document, output)
