"""`fairlead deploy`, `delete`, `chat` and `logs`: model services and what they say."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from fairlead.cli.conversation import ChatFailed, Message, list_models, stream_answer
from fairlead.cli.data import DataOption, KubeconfigOption, QuietOption, find_kubeconfig, folder, must_run
from fairlead.cli.failure import Failed
from fairlead.cli.manifests import API_VERSION, KIND, Json, manifest, read_manifests
from fairlead.cli.verdict import LOOK_S, first_verdict, read_verdict
from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.resources import Resource

console = Console(highlight=False, soft_wrap=True)
problems = Console(highlight=False, soft_wrap=True, stderr=True)
T = TypeVar("T")

MODEL_SERVICES = Resource.of(API_VERSION, "modelservices", KIND)
PODS = Resource.of("v1", "pods", "Pod")
SERVICE_LABEL = "fairlead.dev/model-service"

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the model service.")]


def register(app: typer.Typer) -> None:
    app.command()(deploy)
    app.command()(delete)
    app.command()(chat)
    app.command()(logs)


def deploy(
    name: Annotated[str | None, typer.Argument(help="Name of the model service.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Apply manifests instead ('-' reads stdin).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name that requests give. [default: the service's name]")] = None,
    source: Annotated[str, typer.Option(help="Where the weights are: hf://…, file://… or a path.")] = "",
    runtime: Annotated[
        str | None,
        typer.Option(
            help="Kind of model server, see `fairlead engines`. [default: simulated; with --source by its format]"
        ),
    ] = None,
    replicas: Annotated[int, typer.Option(help="How many engines; with roles, how many sets of them.")] = 1,
    arg: Annotated[list[str] | None, typer.Option("--arg", help="Further argument of the engine; repeatable.")] = None,
    tensor: Annotated[int, typer.Option(help="Accelerators that share each layer.")] = 1,
    hosts: Annotated[int, typer.Option(help="Pods of one replica.")] = 1,
    device_class: Annotated[str, typer.Option(help="DeviceClass to claim accelerators of.")] = "",
    prefill: Annotated[int, typer.Option(help="Engines that only read prompts, for each of --replicas.")] = 0,
    decode: Annotated[int, typer.Option(help="Engines that only write answers, for each of --replicas.")] = 0,
    strategy: Annotated[str, typer.Option(help="How changes come: Rolling, BlueGreen or Canary.")] = "",
    adapter_slots: Annotated[int, typer.Option(help="LoRA adapters that an engine serves at a time.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Return when every replica is ready.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 300.0,
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Create or change a model service."""
    where = find_kubeconfig(data, kubeconfig)
    if (name is None) == (file is None):
        raise Failed("give the name of a model service, or manifests with --file, and not both")
    if file is not None:
        manifests = read_manifests(file, namespace)
    else:
        assert name is not None
        manifests = [
            manifest(
                name, namespace, model=model or name, replicas=replicas, source=source, args=arg or (),
                runtime=runtime if runtime is not None else "" if source else "simulated",
                parallelism={"tensor": tensor, "hosts": hosts}, device_class=device_class,
                roles={role: count for role, count in (("prefill", prefill), ("decode", decode)) if count},
                strategy=strategy, adapter_slots=adapter_slots,
            )
        ]  # fmt: skip
    for obj in manifests:
        apply(where, obj)
        if not quiet:
            console.print(f"modelservice/{obj['metadata']['name']} applied")
    for obj in manifests:
        meta = obj["metadata"]
        _tell_verdict(where, meta["namespace"], meta["name"], min(LOOK_S, timeout_s))
    for obj in manifests if wait else ():
        meta = obj["metadata"]
        wait_ready(where, meta["namespace"], meta["name"], timeout_s)
        if not quiet:
            console.print(f"modelservice/{meta['name']} ready")


def delete(
    name: Annotated[str, typer.Argument(help="Name of the model service.")],
    namespace: Namespace = "default",
    data: DataOption = None,
    kubeconfig: KubeconfigOption = None,
    quiet: QuietOption = False,
) -> None:
    """Delete a model service with its engines."""

    async def remove(client: Client) -> None:
        await client.delete(MODEL_SERVICES, name, namespace)

    with_client(find_kubeconfig(data, kubeconfig), remove)
    if not quiet:
        console.print(f"modelservice/{name} deleted")


def chat(
    model: Annotated[str | None, typer.Argument(help="Model to talk to. [default: the only one there is]")] = None,
    prompt: Annotated[str | None, typer.Argument(help="One question; without it, a conversation.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Length of an answer at most.")] = 256,
    gateway: Annotated[
        str | None, typer.Option(help="Base URL of a gateway. [default: the running platform's]")
    ] = None,
    data: DataOption = None,
) -> None:
    """Talk to a model through the gateway; answers stream."""
    base = gateway or f"http://127.0.0.1:{must_run(folder(data)).ports.gateway}"
    try:
        chosen = model or _only_model(base)
        if prompt is not None:
            _say(base, chosen, [Message("user", prompt)], max_tokens)
            return
        _converse(base, chosen, max_tokens)
    except ChatFailed as error:
        raise Failed(str(error)) from error


def logs(
    name: Annotated[str, typer.Argument(help="A component of the platform, or a model service.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    tail: Annotated[int, typer.Option(help="Lines of the past; -1 for all.")] = 50,
    namespace: Namespace = "default",
    data: DataOption = None,
) -> None:
    """Print the log of a component (apiserver, controllers, driver, agent, gateway, envoy) or of a model service."""
    where = folder(data)
    component = where / "logs" / f"{name}.log"
    if component.exists():
        asyncio.run(_print_file(component, follow, tail))
        return

    async def print_pods(client: Client) -> None:
        pods = (await client.list(PODS, namespace, label_selector=f"{SERVICE_LABEL}={name}")).items
        if not pods:
            known = sorted(p.stem for p in (where / "logs").glob("*.log"))
            raise Failed(f"no model service {name!r} with pods in {namespace}, and no component; components: {known}")
        printing = (_print_pod(client, p["metadata"]["name"], namespace, follow, tail, len(pods) > 1) for p in pods)
        await asyncio.gather(*printing)

    must_run(where)
    with_client(where / "kubeconfig", print_pods)


def apply(kubeconfig: Path | None, obj: Json) -> None:
    """Server-side apply of a ModelService. Raises ApiError."""

    async def put(client: Client) -> None:
        await client.apply(MODEL_SERVICES, obj, force=True, field_manager="fairlead-cli")

    with_client(kubeconfig, put)


def _tell_verdict(kubeconfig: Path | None, namespace: str, name: str, within_s: float) -> None:
    """Say what speaks against a service that was just written. Raises Failed where it cannot be served."""

    async def ask(client: Client) -> None:
        try:
            verdict = await first_verdict(client, namespace, name, within_s)
        except NotFound as error:
            raise Failed(str(error)) from error
        for warning in verdict.warnings if verdict is not None else ():
            problems.print(f"warning: modelservice/{name}: {warning}")
        if verdict is not None and verdict.is_final:
            raise Failed(f"modelservice/{name} cannot be served: {verdict.message}")

    with_client(kubeconfig, ask)


def wait_ready(kubeconfig: Path | None, namespace: str, name: str, timeout_s: float) -> None:
    """Return when the service is Ready for its current generation. Raises Failed with what it waits for."""

    async def watch(client: Client) -> None:
        said = "no status yet"
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    service = await client.get(MODEL_SERVICES, name, namespace)
                    verdict = read_verdict(service)
                    if verdict is not None and verdict.is_ready:
                        return
                    if verdict is not None and verdict.is_final:
                        raise Failed(f"modelservice/{name} cannot be served: {verdict.message}")
                    said = verdict.message if verdict is not None else "the controller has not seen it yet"
                    await SYSTEM.sleep(0.05)
        except TimeoutError:
            why = await _why_not(client, name, namespace)
            raise Failed(f"modelservice/{name} is not ready after {timeout_s:.0f} s: {said}{why}") from None
        except NotFound as error:
            raise Failed(str(error)) from error

    with_client(kubeconfig, watch)


async def _why_not(client: Client, name: str, namespace: str) -> str:
    """What the first replica that is not ready says of itself, as the rest of a sentence; empty if nothing."""
    for pod in (await client.list(PODS, namespace, label_selector=f"{SERVICE_LABEL}={name}")).items:
        status = pod.get("status") or {}
        for c in status.get("containerStatuses") or ():
            waiting, ended = c["state"].get("waiting"), (c.get("lastState") or {}).get("terminated")
            if waiting is None:
                continue
            said = waiting.get("reason", "waiting")
            if ended is not None:
                said += f", its last exit code is {ended['exitCode']}"
            elif waiting.get("message"):
                said += f", {waiting['message']}"
            detail = (ended or {}).get("message", "").strip()
            said += f" ({detail})" if detail else ""
            return f"; {pod['metadata']['name']}: {said}; `fairlead logs {name}` may say more"
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return f"; {pod['metadata']['name']}: {condition['message']}"
    return ""


def with_client(kubeconfig: Path | None, work: Any) -> None:
    async def run() -> None:
        async with Client.load(kubeconfig) as client:
            await work(client)

    _run(run())


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _only_model(base: str) -> str:
    models = list_models(base)
    if len(models) == 1:
        return models[0]
    if not models:
        raise Failed("no model is served; try `fairlead deploy tiny --wait`")
    raise Failed(f"name one of the served models: {', '.join(models)}")


def _say(base: str, model: str, messages: list[Message], max_tokens: int) -> str:
    answer = []
    for piece in stream_answer(base, model, messages, max_tokens=max_tokens, timeout_s=300.0):
        console.print(piece, end="", markup=False, soft_wrap=True)
        answer.append(piece)
    console.print()
    return "".join(answer)


def _converse(base: str, model: str, max_tokens: int) -> None:
    console.print(f"[dim]{model}; an empty line or Ctrl-D ends[/]")
    messages: list[Message] = []
    while True:
        try:
            line = console.input("[bold]>[/] ").strip()
        except EOFError:
            return
        if not line:
            return
        messages.append(Message("user", line))
        messages.append(Message("assistant", _say(base, model, messages, max_tokens)))


async def _print_file(path: Path, follow: bool, tail: int) -> None:
    with path.open(errors="replace") as file:
        lines = file.readlines()
        sys.stdout.writelines(lines if tail < 0 else lines[max(0, len(lines) - tail) :])
        while follow:
            line = file.readline()
            if line:
                sys.stdout.write(line)
                sys.stdout.flush()
            else:
                await SYSTEM.sleep(0.2)


async def _print_pod(client: Client, pod: str, namespace: str, follow: bool, tail: int, named: bool) -> None:
    params = {"follow": "true" if follow else "false"} | ({"tailLines": str(tail)} if tail >= 0 else {})
    async for line in _pod_lines(client, PODS.path(namespace, pod, "log"), params):
        print(f"{pod}  {line}" if named else line, flush=follow)


async def _pod_lines(client: Client, path: str, params: dict[str, str]) -> AsyncIterator[str]:
    with contextlib.suppress(NotFound):
        async with client.transport.stream("GET", path, params=params, timeout_s=86_400.0) as content:
            rest = b""
            async for chunk in content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", "replace")
            if rest:
                yield rest.decode("utf-8", "replace")
