"""`fairlead get` and `fairlead describe`: model services as they stand, with why where something is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

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


def register(app: typer.Typer) -> None:
    app.command("get")(get)
    app.command("describe")(describe)


def get(
    name: Annotated[str | None, typer.Argument(help="A model service. [default: all]")] = None,
    namespace: Namespace = "default",
    all_namespaces: AllNamespaces = False,
    output: OutputOption = "text",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """List model services: roles, replicas, rollout, and what they wait for."""
    where = find_kubeconfig(data, kubeconfig)
    services: list[Json] = []

    async def read(client: Client) -> None:
        if name is not None:
            services.append(await _one(client, name, namespace))
        else:
            services.extend((await client.list(MODEL_SERVICES, None if all_namespaces else namespace)).items)

    with_client(where, read)
    if output == "json":
        typer.echo(json.dumps(services if name is None else services[0], indent=2))
    elif not services:
        typer.echo(f"no model services in {'any namespace' if all_namespaces else namespace}; see `fairlead deploy`")
    else:
        header, rows = get_rows(services, SYSTEM.wall_s(), with_namespace=all_namespaces)
        typer.echo(columns(header, rows))


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
