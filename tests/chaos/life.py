"""One life of a controller's process: started by fork, ended by SIGKILL, at a place of the test's choice.

The process has what the real one has (a client, copies kept by watches, the work queue), narrowed to one namespace. It
answers questions over a socket, so that a test need not guess from the time whether it is at rest.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from chaos.kill import Gate, Kill, die
from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller, Result
from fairlead.kube.errors import Conflict
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informer, Informers
from fairlead.kube.resources import ObjectKey
from fairlead.kube.run import run_controllers
from fairlead.kube.transport import Answer

Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Crew:
    """What runs in a life."""

    controllers: Sequence[Controller] = ()
    loops: Sequence[Loop] = ()
    is_idle: Callable[[], bool] = lambda: True
    """Of work beside the queues."""


@dataclass(slots=True)
class Tools:
    """What a crew is made of."""

    client: Client
    informers: Informers
    events: EventRecorder
    gate: Gate
    options: dict[str, Any] = field(default_factory=dict)


class Narrow(Informers):
    """Copies of one namespace only: tests share a server, and a process does not see the others' objects."""

    def __init__(self, client: Client, namespace: str) -> None:
        super().__init__(client)
        self._namespace = namespace

    def informer(self, resource: Any, namespace: str | None = None, **options: Any) -> Informer[Any]:
        return super().informer(resource, self._namespace if resource.namespaced else namespace, **options)


def run(spec: dict[str, Any], crews: dict[str, Callable[[Tools], Crew]]) -> None:
    """Never returns but by death. `spec`: socket, id, kubeconfig, namespace, crew, options, log."""
    logging.basicConfig(filename=spec["log"], level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    uvloop.run(_live(spec, crews[spec["crew"]]))


async def _live(spec: dict[str, Any], crew_of: Callable[[Tools], Crew]) -> None:
    reader, writer = await asyncio.open_unix_connection(spec["socket"])

    def say(**what: Any) -> None:
        writer.write(json.dumps(what).encode() + b"\n")

    say(id=spec["id"])
    gate = Gate(tell=lambda number, name: say(call=number, name=name))
    client = Client.load(Path(spec["kubeconfig"]))
    _gate_requests(client, gate)
    informers = Narrow(client, spec["namespace"])
    async with EventRecorder(client, "chaos") as events:
        crew = crew_of(Tools(client, informers, events, gate, spec["options"]))
        errors: list[str] = []
        reconciles = [_watch_over(c, gate, errors) for c in crew.controllers]
        working = asyncio.create_task(run_controllers(informers, crew.controllers, beside=crew.loops))
        working.add_done_callback(lambda task: (logging.error("ended: %r", task.exception()), die()))
        async for line in reader:
            asked = json.loads(line)
            if "arm" in asked:
                gate.arm(Kill(**asked["arm"]))
            elif "poke" in asked:
                for controller in crew.controllers:
                    controller.enqueue(ObjectKey(*asked["poke"]))
            elif "end" in asked:
                die()
            queues = [c.queue for c in crew.controllers]
            say(
                answer=asked.get("number", 0),
                synced=all(i.synced.is_set() for i in informers),
                pending=sum(len(q) + len(q._working) for q in queues) + (not gate.is_open) + (not crew.is_idle()),
                calls=gate.calls,
                suspensions=gate.suspensions,
                total=gate.total,
                reconciles=sum(r[0] for r in reconciles),
                errors=errors,
            )
    die()


def _gate_requests(client: Client, gate: Gate) -> None:
    """Every call of a reconcile passes the gate; events, and what copies are made from, do not."""
    real = client.transport.request

    async def request(method: str, path: str, **options: Any) -> Answer:
        if "/events" in path or (method == "GET" and dict(options.get("params") or ()).get("limit")):
            return await real(method, path, **options)
        name = f"{method} {path}"
        return await gate.pass_through(name, lambda: real(method, path, **options))

    client.transport.request = request  # type: ignore[method-assign, assignment]


def _watch_over(controller: Controller, gate: Gate, errors: list[str]) -> list[int]:
    """Count the reconciles of a controller and what they raise."""
    real: Callable[[ObjectKey], Awaitable[Result | None]] = controller._reconcile
    count = [0]

    async def reconcile(key: ObjectKey) -> Result | None:
        count[0] += 1
        try:
            return await gate.counted(real(key))  # type: ignore[arg-type]
        except Conflict:
            raise
        except Exception as error:
            errors.append(f"{controller.name} {key}: {type(error).__name__}: {error}")
            raise

    controller._reconcile = reconcile
    return count


def serving(tools: Tools) -> Crew:
    """The controller of ModelServices, with its watch of engines."""
    from fairlead.serving.controller import ModelServices
    from fairlead.serving.resolve import ClusterFacts

    services = ModelServices(
        tools.client, tools.informers, tools.events, facts=ClusterFacts(kv_events=False), **tools.options
    )

    def is_idle() -> bool:
        return all(task.done() for own in services.warm_ups._of.values() for task in own.values())

    return Crew([services.controller], [services.watch.run], is_idle)


def adapters(tools: Tools) -> Crew:
    """The controller of ModelAdapters; its calls to engines pass the gate as well."""
    from fairlead.serving.adapters.controller import adapter_controller
    from fairlead.serving.adapters.engine_calls import EngineCalls

    real = EngineCalls._send

    async def send(self: EngineCalls, at: Any, call: Any, timeout_s: float) -> tuple[int, bytes]:
        if call.method == "GET":
            return await real(self, at, call, timeout_s)
        name = f"{call.method} {at.url}{call.path}"
        return await tools.gate.pass_through(name, lambda: real(self, at, call, timeout_s))

    EngineCalls._send = send  # type: ignore[method-assign]
    controller, reconciler = adapter_controller(tools.client, tools.informers, tools.events)
    return Crew([controller], is_idle=lambda: not reconciler._work._tasks)


def cluster(tools: Tools) -> Crew:
    """The embedded cluster's controllers, all of them or those that `only` names."""
    from fairlead.embedded.controllers.access import Cluster
    from fairlead.embedded.controllers.run import cluster_controllers

    controllers, loops = cluster_controllers(Cluster(tools.client, tools.informers, SYSTEM), "")
    only = tools.options.get("only")
    return Crew([c for c in controllers if only is None or c.name in only], [loops[0]] if only is None else [])


def workloads(tools: Tools) -> Crew:
    """Deployments and their ReplicaSets."""
    tools.options = {"only": ["deployment", "replicaset"]}
    return cluster(tools)


def collector(tools: Tools) -> Crew:
    """The garbage collector, which sees the whole cluster."""
    from fairlead.embedded.controllers.access import Cluster
    from fairlead.embedded.controllers.garbage_collector import GarbageCollector

    return Crew([], [GarbageCollector(Cluster(tools.client, tools.informers, SYSTEM)).run])


CREWS: dict[str, Callable[[Tools], Crew]] = {
    "serving": serving, "adapters": adapters, "cluster": cluster, "workloads": workloads, "collector": collector,
}  # fmt: skip
