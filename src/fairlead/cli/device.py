"""`fairlead device`: the devices that nodes publish, who holds them, and failures of simulated ones."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console

from fairlead.cli.columns import columns
from fairlead.cli.data import DataOption, KubeconfigOption, OutputOption, QuietOption, find_kubeconfig
from fairlead.cli.failure import Failed

if TYPE_CHECKING:
    from fairlead.cli.device_read import Found

console = Console(highlight=False, soft_wrap=True)
T = TypeVar("T")

device_app = typer.Typer(
    help="Devices of the nodes as their drivers publish them, who holds them, and failures of simulated ones.",
    no_args_is_help=True,
)
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="Name of a node.")]
DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="Name of a device of the node.")]
DriverOption = Annotated[str, typer.Option("--driver", "-d", metavar="NAME", help="Devices of this driver only.")]
ListOutput = Annotated[Literal["text", "wide", "json"], typer.Option("--output", "-o", help="Form of the output.")]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def register(app: typer.Typer) -> None:
    app.add_typer(device_app, name="device")


@device_app.command("list")
def list_(
    node: Annotated[str | None, typer.Argument(metavar="[NODE]", help="Devices of this node only.")] = None,
    driver: DriverOption = "",
    parts: Annotated[bool, typer.Option("--parts", help="Also parts of devices (PE groups, MIG profiles).")] = False,
    output: ListOutput = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """The devices of all nodes, or of one: what they are, how they are, who holds them."""
    found = _read(data, kubeconfig, node, driver)
    shown = [one for one in found.devices if parts or output == "json" or not one.part_of]
    if output == "json":
        from fairlead.cli.device_view import as_json

        typer.echo(json.dumps([as_json(one, found.held.get(one.key, ())) for one in shown], indent=2))
        return
    if not shown:
        where = f" on node {node}" if node else ""
        console.print(f"no devices{where}{f' of driver {driver}' if driver else ''}; `fairlead up --devices FLEET` "
                      "brings simulated ones")  # fmt: skip
        return
    header = ["NODE", "DEVICE", "DRIVER", "MODEL", "MEMORY", "STATE", "HELD BY"]
    rows = [
        [one.node, one.name, one.driver, one.model, one.capacity("memory"), one.state, found.held_text(one)]
        for one in shown
    ]
    if output == "wide":
        header[5:5] = [*shown[0].place(), "UUID"]
        for one, row in zip(shown, rows, strict=True):
            row[5:5] = [*one.place().values(), one.attribute("uuid")]
    typer.echo(columns(header, rows))


@device_app.command()
def describe(
    node: NodeArgument,
    device: DeviceArgument,
    driver: DriverOption = "",
    output: OutputOption = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Everything about one device: attributes, capacity, counters, parts, taints, claims and pods, Events."""
    from fairlead.cli.device_describe import describe_json, describe_text

    found = _read(data, kubeconfig, node, "", events=True)
    one = found.device(node, device, driver)
    if output == "json":
        typer.echo(json.dumps(describe_json(one, found), indent=2))
    else:
        typer.echo(describe_text(one, found))


@device_app.command()
def fail(
    node: NodeArgument,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Name of a simulated device; '*' for all.")],
    taint: Annotated[bool, typer.Option("--taint", help="It is unhealthy (the default).")] = False,
    throttle: Annotated[bool, typer.Option("--throttle", help="It is kept from new claims only.")] = False,
    vanish: Annotated[bool, typer.Option("--vanish", help="It is not there any more.")] = False,
    flap: Annotated[bool, typer.Option("--flap", help="It is unhealthy and healthy in turn.")] = False,
    slow: Annotated[bool, typer.Option("--slow", help="Claims that get it are prepared late.")] = False,
    unknown: Annotated[bool, typer.Option("--unknown", help="Nothing can be told of its health.")] = False,
    for_: Annotated[str, typer.Option("--for", metavar="30s", help="How long; else until it is healed.")] = "",
    period: Annotated[str, typer.Option(metavar="3s", help="Of --flap: how long each turn is.")] = "",
    delay: Annotated[str, typer.Option(metavar="5s", help="Of --slow: how late.")] = "",
    reason: Annotated[str, typer.Option(help="A CamelCase word for the taint and the Event.")] = "",
    effect: Annotated[
        Literal["None", "NoSchedule", "NoExecute"] | None,
        typer.Option(help="What an unhealthy device demands. [default: by the kind of failure]"),
    ] = None,
    driver: DriverOption = "",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Order a failure of a simulated device. It takes effect at once; `heal` ends it."""
    from fairlead.cli.device_failures import Order, check_order, order_failure

    modes = [
        mode
        for mode, is_asked in {
            "taint": taint, "throttle": throttle, "vanish": vanish, "flap": flap, "slow": slow, "unknown": unknown,
        }.items()
        if is_asked
    ]  # fmt: skip
    if len(modes) > 1:
        raise Failed(f"one kind of failure at a time, not {' and '.join('--' + mode for mode in modes)}")
    order = Order(
        mode=modes[0] if modes else "taint",
        for_s=_seconds("--for", for_),
        period_s=_seconds("--period", period),
        delay_s=_seconds("--delay", delay),
        reason=reason,
        effect=effect,
    )
    check_order(order)
    found = _read(data, kubeconfig, node, "")
    named = found.failing_name(node, device, driver)
    _run(order_failure(find_kubeconfig(data, kubeconfig), node, named, order))
    if not quiet:
        console.print(f"{named} on {node}: {order.mode}{f' for {for_}' if for_ else ''}")


@device_app.command()
def heal(
    node: NodeArgument,
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="One device; else all.")] = None,
    driver: DriverOption = "",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """End the failures that were ordered of a node's devices, or of one."""
    from fairlead.cli.device_failures import end_failures

    ended = _run(end_failures(find_kubeconfig(data, kubeconfig), node, device, driver))
    if not quiet:
        console.print(f"healed on {node}: {', '.join(ended)}" if ended else f"nothing was ordered on {node}")


@device_app.command()
def fleets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print the YAML of this one.")] = None,
    output: OutputOption = "text",
) -> None:
    """The simulated fleets that come with Fairlead, for `fairlead up --devices NAME`, and the models they can have."""
    from fairlead.devices.vendors.simulated.fleet import builtin_fleets, fleet_text, read_fleet
    from fairlead.devices.vendors.simulated.models import MODELS
    from fairlead.devices.vendors.simulated.strict import FleetError

    if name is not None:
        try:
            typer.echo(fleet_text(name), nl=False)
        except FleetError as error:
            raise Failed(str(error)) from error
        return
    rows = []
    for known in builtin_fleets():
        fleet = read_fleet(known)
        devices: dict[str, int] = {}
        for node in fleet.nodes:
            for placed in node.devices:
                devices[placed.model.name] = devices.get(placed.model.name, 0) + len(placed.seats)
        rows.append({"name": known, "nodes": len(fleet.nodes), "devices": devices, "description": fleet.description})
    if output == "json":
        typer.echo(json.dumps({"fleets": rows, "models": list(MODELS)}, indent=2))
        return
    lines = []
    for row in rows:
        what = ", ".join(f"{count} {model}" for model, count in row["devices"].items())  # type: ignore[attr-defined]
        lines.append([str(row["name"]), str(row["nodes"]), what, str(row["description"])])
    typer.echo(columns(("FLEET", "NODES", "DEVICES", "WHAT IT IS"), lines))
    console.print(f"models: {', '.join(MODELS)}")


@device_app.command()
def links(
    node: NodeArgument,
    driver: DriverOption = "",
    output: OutputOption = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """How close a node's devices are to each other: a score for each pair, more is closer."""
    from fairlead.cli.device_links import links_json, links_text

    found = _read(data, kubeconfig, node, driver)
    whole = [one for one in found.devices if not one.part_of]
    if not whole:
        raise Failed(f"node {node} has no devices{f' of driver {driver}' if driver else ''}")
    typer.echo(json.dumps(links_json(whole), indent=2) if output == "json" else links_text(whole))


def _read(data: Path | None, kubeconfig: Path | None, node: str | None, driver: str, *, events: bool = False) -> Found:
    from fairlead.cli.device_read import read_devices

    return _run(read_devices(find_kubeconfig(data, kubeconfig), node, driver, with_events=events))


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _seconds(option: str, text: str) -> float | None:
    if not text:
        return None
    found = _DURATION.fullmatch(text)
    if found is None or float(found[1]) <= 0:
        raise Failed(f'{option}: expected a time such as 30s, 5m or 1h, got "{text}"')
    return float(found[1]) * _UNIT_S[found[2]]
