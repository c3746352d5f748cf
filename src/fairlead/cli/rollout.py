"""`fairlead rollout`: changes of a service's template, looked at and steered."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairlead.cli.columns import columns
from fairlead.cli.data import DataOption, KubeconfigOption, QuietOption, find_kubeconfig
from fairlead.cli.failure import Failed
from fairlead.cli.manifests import Json
from fairlead.cli.service import MODEL_SERVICES, Namespace, with_client
from fairlead.cli.service_view import age, trial_lines
from fairlead.clock import SYSTEM, format_time
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.kinds import CONTROLLER_REVISIONS

if TYPE_CHECKING:
    from fairlead.serving.rollout.revisions import Revision

RESUME_ANNOTATION = "fairlead.dev/resume-rollout"
RESTARTED_ANNOTATION = "fairlead.dev/restarted-at"
SERVICE_LABEL = "fairlead.dev/model-service"
POLL_S = 0.2

Name = Annotated[str, typer.Argument(help="A model service.")]

group = typer.Typer(no_args_is_help=True, help="Look at and steer changes of a model service.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="rollout")


@group.command()
def status(
    name: Name,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", "-w", help="Follow it to its end.")] = True,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to follow it.")] = 3600.0,
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Tell where a rollout stands; ends with 0 when it is done, with 1 when it was taken back or is stuck."""

    async def follow(client: Client) -> None:
        said, deadline_s = "", SYSTEM.monotonic_s() + timeout_s
        while True:
            service = await _service(client, name, namespace)
            line, is_over, failed = rollout_line(service)
            if line != said:
                typer.echo(line)
                said = line
            if failed:
                raise Failed(f"the rollout of {name} did not succeed: {line}")
            if is_over or not watch:
                return
            if SYSTEM.monotonic_s() > deadline_s:
                raise Failed(f"the rollout of {name} is not done after {timeout_s:.0f} s: {line}")
            await SYSTEM.sleep(POLL_S)

    with_client(find_kubeconfig(data, kubeconfig), follow)


def rollout_line(service: Json) -> tuple[str, bool, bool]:
    """One line on where it stands; whether it is over; whether it failed."""
    said = service.get("status") or {}
    if said.get("observedGeneration") != service["metadata"].get("generation"):
        return "the controller has not seen the change yet", False, False
    condition: Json = next((c for c in said.get("conditions") or () if c["type"] == "RolledOut"), {})
    rollout = said.get("rollout") or {}
    phase = rollout.get("phase", "")
    share = f", {rollout['weight']} % of the traffic" if rollout.get("weight") else ""
    line = f"{condition.get('reason', phase)}{share}: {condition.get('message', '')}"
    return line, condition.get("status") == "True", phase in ("Reverted", "Stuck") or _is_problem(condition)


def _is_problem(condition: Json) -> bool:
    return condition.get("status") == "False" and condition.get("reason") not in (
        "InProgress", "Paused", "Reverted", "Stuck",
    )  # fmt: skip


@group.command()
def history(
    name: Name, namespace: Namespace = "default", data: DataOption = None, kubeconfig: KubeconfigOption = None
) -> None:
    """List the versions that there have been, the newest last, and what each changed."""
    from fairlead.serving.rollout.undo import history as past_of

    rows: list[list[str]] = []

    async def read(client: Client) -> None:
        service = await _service(client, name, namespace)
        said, now_s = service.get("status") or {}, SYSTEM.wall_s()
        revisions = await _revisions(client, service)
        names = [str(said.get(field, "")) for field in ("revision", "updateRevision", "rejectedRevision")]
        for past in past_of(revisions, *names):
            marks = {"serves": past.is_stable, "wanted": past.is_wanted, "taken back": past.is_rejected}
            shown = ", ".join(word for word, is_so in marks.items() if is_so)
            old = "-" if past.created_s is None else age(format_time(past.created_s), now_s)
            rows.append([str(past.number), past.hash, shown, old, past.cause or "; ".join(past.changes)])

    with_client(find_kubeconfig(data, kubeconfig), read)
    typer.echo(columns(["NUMBER", "REVISION", "IS", "AGE", "CHANGE"], rows))


@group.command()
def undo(
    name: Name,
    to: Annotated[str, typer.Option("--to", help="Number or hash of the version. [default: the one before]")] = "",
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Go back to a former version; the way there is that of any other change."""
    from fairlead.serving.rollout.undo import NoSuchRevision, choose, notes, undo_patch

    told: list[str] = []

    async def change(client: Client) -> None:
        service = await _service(client, name, namespace)
        said = service.get("status") or {}
        revisions = await _revisions(client, service)
        try:
            found = choose(revisions, said.get("updateRevision", ""), to, said.get("rejectedRevision", ""))
        except NoSuchRevision as error:
            raise Failed(f"modelservice/{name}: {error}") from error
        await client.patch(MODEL_SERVICES, name, undo_patch(service["spec"], found), namespace)
        told.append(f"modelservice/{name} goes back to version {found.number} ({found.hash})")
        told.extend(notes(found, await _runtime_spec(client, found)))

    with_client(find_kubeconfig(data, kubeconfig), change)
    _tell(told, quiet)


@group.command()
def pause(
    name: Name, namespace: Namespace = "default", data: DataOption = None, kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:  # fmt: skip
    """Let changes of the template wait; numbers are kept and what breaks is replaced."""
    _patch(name, namespace, data, kubeconfig, lambda service: {"spec": {"rollout": {"paused": True}}}, "paused", quiet)


@group.command()
def resume(
    name: Name, namespace: Namespace = "default", data: DataOption = None, kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:  # fmt: skip
    """Go on: with a paused service, or past a step of a canary that waits for a person."""

    def go_on(service: Json) -> Json:
        said = service.get("status") or {}
        step = (said.get("rollout") or {}).get("step", 0)
        mark = f"{said.get('updateRevision', '')}/{step}"
        return {"spec": {"rollout": {"paused": False}}, "metadata": {"annotations": {RESUME_ANNOTATION: mark}}}

    _patch(name, namespace, data, kubeconfig, go_on, "goes on", quiet)


@group.command()
def restart(
    name: Name, namespace: Namespace = "default", data: DataOption = None, kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:  # fmt: skip
    """Make every replica anew, as a rollout: nothing is lost by it."""

    def mark(service: Json) -> Json:
        return {
            "spec": {"podTemplate": {"metadata": {"annotations": {RESTARTED_ANNOTATION: format_time(SYSTEM.wall_s())}}}}
        }

    _patch(name, namespace, data, kubeconfig, mark, "is made anew", quiet)


@group.command()
def analysis(
    name: Name,
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Tell how the version on trial compares with the stable one."""
    found: list[Json] = []

    async def read(client: Client) -> None:
        found.append((await _service(client, name, namespace)).get("status") or {})

    with_client(find_kubeconfig(data, kubeconfig), read)
    rollout = found[0].get("rollout") or {}
    if output == "json":
        typer.echo(json.dumps(rollout.get("analysis", []), indent=2))
        return
    typer.echo("\n".join(trial_lines(found[0], always=True)))


def _patch(
    name: str, namespace: str, data: Any, kubeconfig: Any, make: Callable[[Json], Json], done: str, quiet: bool
) -> None:
    async def change(client: Client) -> None:
        service = await _service(client, name, namespace)
        await client.patch(MODEL_SERVICES, name, make(service), namespace)

    with_client(find_kubeconfig(data, kubeconfig), change)
    _tell([f"modelservice/{name} {done}"], quiet)


def _tell(lines: list[str], quiet: bool) -> None:
    if not quiet:
        typer.echo("\n".join(lines))


async def _service(client: Client, name: str, namespace: str) -> Json:
    try:
        return await client.get(MODEL_SERVICES, name, namespace)
    except NotFound as error:
        raise Failed(f"no model service {name!r} in namespace {namespace}") from error


async def _revisions(client: Client, service: Json) -> list[Revision]:
    """Those of the service, the newest first."""
    from fairlead.serving.rollout.revisions import read_revisions

    meta = service["metadata"]
    selector = f"{SERVICE_LABEL}={meta['name']}"
    return read_revisions((await client.list(CONTROLLER_REVISIONS, meta["namespace"], label_selector=selector)).items)


async def _runtime_spec(client: Client, revision: Revision) -> Json | None:
    """Of the runtime of that name as it is now, in the form that revisions keep."""
    import msgspec

    from fairlead.api.serving_runtime import SERVING_RUNTIMES, ServingRuntime

    name = (revision.runtime.get("metadata") or {}).get("name", "")
    try:
        found = await client.get(SERVING_RUNTIMES, name)
    except NotFound:
        return None
    spec: Json = msgspec.to_builtins(msgspec.convert(found, ServingRuntime).spec)
    return spec
