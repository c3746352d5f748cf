"""`fairlead adapter`: LoRA adapters of model services: apply, list, describe, undo, pause, resume and delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from fairlead.cli.columns import columns
from fairlead.cli.data import DataOption, KubeconfigOption, QuietOption, find_kubeconfig
from fairlead.cli.failure import Failed
from fairlead.cli.manifests import API_VERSION, Json
from fairlead.cli.service import Namespace, with_client
from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.resources import Resource

ADAPTERS = Resource.of(API_VERSION, "modeladapters", "ModelAdapter")
RESUME_ANNOTATION = "fairlead.dev/resume-rollout"
POLL_S = 0.1

Name = Annotated[str, typer.Argument(help="A model adapter.")]

group = typer.Typer(no_args_is_help=True, help="LoRA adapters on the engines of model services.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="adapter")


@group.command()
def apply(
    name: Name,
    service: Annotated[str, typer.Option(help="The model service on whose engines it goes.")] = "",
    source: Annotated[str, typer.Option(help="Where it is: a folder, hf://…, oci://…, s3://…, https://….")] = "",
    model: Annotated[str, typer.Option(help="Name that requests give. [default: the adapter's]")] = "",
    base_model: Annotated[str, typer.Option(help="Model that it was trained on.")] = "",
    min_replicas: Annotated[int | None, typer.Option(help="Engines that always have it; 0: on demand.")] = None,
    max_replicas: Annotated[int | None, typer.Option(help="Engines at most; 0: no bound.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the version serves.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 300.0,
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Create an adapter, or change what is given. A changed source is tried beside the one that serves."""
    given = {"service": service, "source": source, "name": model, "baseModel": base_model}
    spec: Json = {key: value for key, value in given.items() if value}
    bounds = {"minReplicas": min_replicas, "maxReplicas": max_replicas}
    if any(value is not None for value in bounds.values()):
        spec["placement"] = {key: value for key, value in bounds.items() if value is not None}

    async def put(client: Client) -> None:
        try:
            await client.patch(ADAPTERS, name, {"spec": spec}, namespace)
        except NotFound:
            if not (service and source):
                raise Failed(f"there is no model adapter {name!r} yet: give --service and --source") from None
            meta = {"name": name, "namespace": namespace}
            made = {"apiVersion": API_VERSION, "kind": "ModelAdapter", "metadata": meta, "spec": spec}
            await client.create(ADAPTERS, made)
        if not quiet:
            typer.echo(f"modeladapter/{name} applied")
        if wait:
            await _wait(client, name, namespace, timeout_s)
            if not quiet:
                typer.echo(f"modeladapter/{name} serves")

    with_client(find_kubeconfig(data, kubeconfig), put)


@group.command("list")
def list_(namespace: Namespace = "default", data: DataOption = None, kubeconfig: KubeconfigOption = None) -> None:
    """List the adapters of a namespace."""
    found: list[Json] = []

    async def read(client: Client) -> None:
        found.extend((await client.list(ADAPTERS, namespace)).items)

    with_client(find_kubeconfig(data, kubeconfig), read)
    typer.echo(columns(["NAME", "MODEL", "SERVICE", "LOADED", "READY", "ROLLOUT", "SOURCE"], [_row(a) for a in found]))


@group.command()
def describe(
    name: Name, namespace: Namespace = "default", data: DataOption = None, kubeconfig: KubeconfigOption = None
) -> None:
    """Tell where an adapter is, what is in the way, and how a new version of it compares."""
    found: list[Json] = []

    async def read(client: Client) -> None:
        found.append(await _get(client, name, namespace))

    with_client(find_kubeconfig(data, kubeconfig), read)
    typer.echo("\n".join(_lines(found[0])))


@group.command()
def undo(
    name: Name,
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Go back: from a version on trial or taken back to the one that serves, else to the one that served before."""
    from fairlead.serving.adapters.versions import before, find, read_history, version_of

    def back(adapter: Json) -> Json:
        import msgspec

        from fairlead.api.model_adapter import ModelAdapter

        history = read_history(adapter["metadata"])
        read = msgspec.convert(adapter, ModelAdapter)
        wanted = version_of(read.spec).hash
        serves = find(history, read.status.version)
        target = serves if serves is not None and serves.hash != wanted else before(history, wanted)
        if target is None:
            raise Failed(f"modeladapter/{name} has had one version only: there is none to go back to")
        return {"spec": {"source": target.source}}

    _patch(name, namespace, data, kubeconfig, back, "goes back", quiet)


@group.command()
def pause(
    name: Name,
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Let the trial of a new version stand still: its share of the requests stays as it is."""
    _patch(name, namespace, data, kubeconfig, lambda _: {"spec": {"rollout": {"paused": True}}}, "paused", quiet)


@group.command()
def resume(
    name: Name,
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Go on with a trial that is paused, waits for a person, or is undecided."""

    def go_on(adapter: Json) -> Json:
        status = adapter.get("status") or {}
        mark = f"{status.get('updateVersion', '')}/{(status.get('rollout') or {}).get('step', 0)}"
        return {"spec": {"rollout": {"paused": False}}, "metadata": {"annotations": {RESUME_ANNOTATION: mark}}}

    _patch(name, namespace, data, kubeconfig, go_on, "goes on", quiet)


@group.command()
def delete(
    name: Name,
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Delete an adapter; engines unload it once its requests have ended."""

    async def remove(client: Client) -> None:
        await _get(client, name, namespace)
        await client.delete(ADAPTERS, name, namespace)

    with_client(find_kubeconfig(data, kubeconfig), remove)
    if not quiet:
        typer.echo(f"modeladapter/{name} deleted")


async def _wait(client: Client, name: str, namespace: str, timeout_s: float) -> None:
    said = "no status yet"
    deadline_s = SYSTEM.monotonic_s() + timeout_s
    while SYSTEM.monotonic_s() < deadline_s:
        adapter = await _get(client, name, namespace)
        status = adapter.get("status") or {}
        if status.get("observedGeneration") == adapter["metadata"].get("generation"):
            ready, rolled_out = _condition(adapter, "Ready"), _condition(adapter, "RolledOut")
            if ready.get("status") == rolled_out.get("status") == "True":
                return
            if rolled_out.get("reason") == "Rejected":
                raise Failed(f"modeladapter/{name}: {rolled_out.get('message')}")
            said = str((ready if ready.get("status") != "True" else rolled_out).get("message", said))
        await SYSTEM.sleep(POLL_S)
    raise Failed(f"modeladapter/{name} does not serve after {timeout_s:.0f} s: {said}")


def _patch(
    name: str, namespace: str, data: Any, kubeconfig: Any, make: Callable[[Json], Json], done: str, quiet: bool
) -> None:
    async def change(client: Client) -> None:
        adapter = await _get(client, name, namespace)
        await client.patch(ADAPTERS, name, make(adapter), namespace)

    with_client(find_kubeconfig(data, kubeconfig), change)
    if not quiet:
        typer.echo(f"modeladapter/{name} {done}")


async def _get(client: Client, name: str, namespace: str) -> Json:
    try:
        return await client.get(ADAPTERS, name, namespace)
    except NotFound as error:
        raise Failed(f"no model adapter {name!r} in namespace {namespace}") from error


def _condition(adapter: Json, kind: str) -> Json:
    found: Json = next((c for c in (adapter.get("status") or {}).get("conditions") or () if c["type"] == kind), {})
    return found


def _row(adapter: Json) -> list[str]:
    status, spec = adapter.get("status") or {}, adapter["spec"]
    rollout = _condition(adapter, "RolledOut").get("reason", "-")
    weight = (status.get("rollout") or {}).get("weight", 0)
    return [
        adapter["metadata"]["name"], status.get("servedName") or spec.get("name") or adapter["metadata"]["name"],
        spec["service"], f"{status.get('loaded', 0)}/{status.get('desired', 0)}",
        _condition(adapter, "Ready").get("reason", "-"), f"{rollout} {weight} %" if weight else rollout, spec["source"],
    ]  # fmt: skip


def _lines(adapter: Json) -> list[str]:
    status, spec = adapter.get("status") or {}, adapter["spec"]
    lines = [
        f"Name:      {adapter['metadata']['name']}",
        f"Model:     {status.get('servedName', '-')}",
        f"Service:   {spec['service']}",
        f"Source:    {spec['source']}",
        f"Version:   {status.get('version', '-')}",
        f"Engines:   {', '.join(status.get('engines') or ()) or '-'}",
    ]
    if status.get("updateVersion") != status.get("version"):
        lines.append(f"Wanted:    {status.get('updateVersion', '-')}")
    if status.get("rejectedVersion"):
        lines.append(f"Rejected:  {status['rejectedVersion']}")
    lines += ["", "Conditions"]
    for c in status.get("conditions") or ():
        lines.append(f"  {c['type']:<10} {c['status']:<6} {c['reason']}: {c.get('message', '')}")
    rollout = status.get("rollout") or {}
    if rollout.get("analysis"):
        lines += ["", f"Trial: {rollout.get('phase')}, {rollout.get('weight', 0)} % of the requests"]
        lines += [f"  {c['measure']}: {c['verdict']}: {c.get('message', '')}" for c in rollout["analysis"]]
    return lines
