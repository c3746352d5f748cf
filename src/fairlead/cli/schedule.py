"""`fairlead schedule simulate`: where pods would go, without a cluster. Registers `explain` and `capacity`, too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fairlead.cli import schedule_capacity, schedule_explain
from fairlead.cli.data import QuietOption
from fairlead.cli.failure import Failed
from fairlead.clock import SYSTEM

if TYPE_CHECKING:
    from fairlead.cli.schedule_planning import Simulation
    from fairlead.cli.schedule_view import Outcome
    from fairlead.scheduling.explain.story import Story

schedule_app = typer.Typer(help="The scheduler's decisions, without a cluster.", no_args_is_help=True)
Output = Annotated[
    Literal["text", "wide", "json", "yaml"],
    typer.Option("--output", "-o", help="Form of the output; wide names each pod's devices."),
]
_UNPLACED: Final = 3
_MOST_STORIES: Final = 20


def register(app: typer.Typer) -> None:
    app.add_typer(schedule_app, name="schedule")
    schedule_explain.register(app)
    schedule_capacity.register(app)


@schedule_app.callback()
def _root() -> None:
    """Keeps `simulate` a subcommand."""


@schedule_app.command()
def simulate(
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", "-f", help="YAML or JSON of API objects and fleets, or a folder; repeatable; - is stdin."
        ),
    ] = None,
    fleet: Annotated[
        list[str] | None,
        typer.Option(help="A simulated fleet for nodes: a name (`fairlead device fleets`) or a file; repeatable."),
    ] = None,
    then: Annotated[
        list[Path] | None,
        typer.Option(help="Objects that come an hour after all before have their places; repeatable."),
    ] = None,
    mode: Annotated[
        Literal["best", "upstream"],
        typer.Option(help="How devices are chosen: least waste, or as Kubernetes' own allocator would."),
    ] = "best",
    evict: Annotated[bool, typer.Option("--evict/--no-evict", help="Whether others may have to leave.")] = True,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of objects that name none.")] = "default",
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 3 where something has no place.")] = False,
    output: Output = "text",
    quiet: QuietOption = False,
) -> None:
    """Plan without a cluster: which pods go where, with which devices, and why others do not."""
    files, fleets = file or [], fleet or []
    if not files and not fleets:
        raise Failed("give objects with --file FILE (nodes, devices, pods …), and simulated nodes with --fleet NAME")
    with _progress(shown=not quiet and output in ("text", "wide")) as tell:
        outcome = _simulate(files, fleets, then or [], mode, evict, namespace, tell)
    _print(outcome, output, quiet)
    if strict and not outcome.is_whole:
        raise typer.Exit(_UNPLACED)


class Teller:
    """A line on stderr that says what is being done; gone when it is done."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task = bar.add_task("reading", total=None) if bar is not None else None

    def __call__(self, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text)


def _simulate(
    files: list[Path], fleets: list[str], then: list[Path], mode: Literal["best", "upstream"], evict: bool,
    namespace: str, tell: Teller,
) -> Outcome:  # fmt: skip
    from fairlead.cli.schedule_inputs import InputReader
    from fairlead.cli.schedule_planning import Simulation
    from fairlead.scheduling.settings import Settings

    now_s = SYSTEM.wall_s()
    reader = InputReader(now_s, namespace, lambda what, done: tell(f"reading: {done:,} {what}"))
    first, later = reader.read(files, fleets), [reader.read([path]) for path in then]
    names = frozenset().union(*(each.scheduler_names for each in (first, *later)))
    settings = Settings(names=names | {"fairlead"}, mode=mode, evicts=evict)
    simulation = Simulation(
        settings, now_s, lambda decided, placed: tell(f"planning: {decided:,} gangs, {placed:,} placed")
    )
    simulation.add(first)
    simulation.run()
    for each in later:
        simulation.now_s += 3600.0
        simulation.add(each)
        simulation.run()
    tell("explaining")
    return _outcome(simulation)


def _outcome(simulation: Simulation) -> Outcome:
    from fairlead.cli.schedule_planner import storyteller_of
    from fairlead.cli.schedule_view import Outcome
    from fairlead.scheduling.explain.trials import Trials

    planner, plan = simulation.planner, simulation.plan
    storyteller = storyteller_of(planner, simulation.now_s)
    stories: dict[tuple[str, str, str], Story] = {}
    alike: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
    first: dict[object, tuple[str, str, str]] = {}
    for identity, refused in plan.refused.items():
        # Pods of one template are refused for one reason, and a thousand pages tell no more than one.
        sentence = refused.explanation.sentence
        reason = (refused.gang.queue, sentence, refused.gang.pods[0].shape) if refused.gang.is_single else identity
        if reason in first:
            alike.setdefault(first[reason], []).append(identity)
            continue
        first[reason] = identity
        trials = Trials(planner.outlook, most=24 if len(stories) < _MOST_STORIES else 0)
        stories[identity] = storyteller.tell(refused, trials)
    gangs = {gang.identity: gang for gang in planner.roster.gangs()}
    return Outcome(plan, stories, planner.fleet, alike, gangs)


def _print(outcome: Outcome, output: str, quiet: bool) -> None:
    from fairlead.cli.schedule_output import print_document
    from fairlead.cli.schedule_view import simulation_json, simulation_text

    if output in ("json", "yaml"):
        print_document(simulation_json(outcome), output)
    elif not quiet:
        typer.echo(simulation_text(outcome, wide=output == "wide"))


@contextlib.contextmanager
def _progress(*, shown: bool) -> Iterator[Teller]:
    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield Teller(None)
        return
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console,
                  transient=True) as bar:  # fmt: skip
        yield Teller(bar)
