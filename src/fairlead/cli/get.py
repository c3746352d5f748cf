"""`fairlead get` and `fairlead describe`: model services as they stand, with why where something is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.adopted_view import ADOPT_LABEL, adopted_rows, read_adopted
from fairlead.cli.columns import columns
from fairlead.cli.data import DataOption, KubeconfigOption, OutputOption, find_kubeconfig
from fairlead.cli.failure import Failed
from fairlead.cli.manifests import Json
from fairlead.cli.service import MODEL_SERVICES, Namespace, with_client
from fairlead.cli.service_view import Seen, describe_lines, get_rows, read_service
from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound

AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Those of every namespace.")]
Adopted = Annotated[bool, typer.Option("--adopted", help="Foreign workloads with the label, and no others.")]


def register(app: typer.Typer) -> None:
    app.command("get")(get)
    app.command("describe")(describe)


def get(
    name: Annotated[str | None, typer.Argument(help="A model service. [default: all]")] = None,
    namespace: Namespace = "default",
    all_namespaces: AllNamespaces = False,
    adopted: Annotated[
        bool, typer.Option("--adopted", help="Foreign workloads with the label, and no others.")
    ] = False,
    output: OutputOption = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """List model services: roles, replicas, rollout, and what they wait for; below them adopted workloads."""
    if adopted and name is not None:
        raise Failed("--adopted lists all workloads with the label: leave the name out, or ask kubectl for one")
    where = find_kubeconfig(data, kubeconfig)
    services: list[Json] = []
    workloads: list[Json] = []

    async def read(client: Client) -> None:
        within = None if all_namespaces else namespace
        if name is not None:
            services.append(await _one(client, name, namespace))
            return
        if not adopted:
            services.extend((await client.list(MODEL_SERVICES, within)).items)
        if adopted or output == "text":
            workloads.extend(await read_adopted(client, within))

    with_client(where, read)
    if output == "json":
        typer.echo(json.dumps(workloads if adopted else services if name is None else services[0], indent=2))
        return
    now_s, place = SYSTEM.wall_s(), "any namespace" if all_namespaces else namespace
    tables = []
    if services:
        tables.append(columns(*get_rows(services, now_s, with_namespace=all_namespaces)))
    if workloads:
        tables.append(columns(*adopted_rows(workloads, now_s, with_namespace=all_namespaces)))
    none = f"no workloads with the label {ADOPT_LABEL} in {place}; see docs/adoption.md"
    typer.echo("\n\n".join(tables) or (none if adopted else f"no model services in {place}; see `fairlead deploy`"))


def describe(
    name: Annotated[str, typer.Argument(help="A model service.")],
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Tell everything of one model service: conditions, replicas, rollout with its analysis, recoveries, events."""
    typer.echo("\n".join(describe_lines(_read(find_kubeconfig(data, kubeconfig), name, namespace), SYSTEM.wall_s())))


def _read(where: Path | None, name: str, namespace: str) -> Seen:
    found: list[Seen] = []

    async def read(client: Client) -> None:
        found.append(await read_service(client, await _one(client, name, namespace)))

    with_client(where, read)
    return found[0]


async def _one(client: Client, name: str, namespace: str) -> Json:
    try:
        return await client.get(MODEL_SERVICES, name, namespace)
    except NotFound:
        there = sorted(s["metadata"]["name"] for s in (await client.list(MODEL_SERVICES, namespace)).items)
        known = f"there are {', '.join(there[:12])}" if there else "there is none"
        raise Failed(f"no model service {name!r} in namespace {namespace}; {known}") from None
