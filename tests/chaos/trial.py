"""One trial: a scenario on a namespace of its own, a controller that is killed at a chosen place, one that takes over,
and what is then looked at.

    nursery, history, client -> Bench          shared by the trials of a test
    Scenario                                   what is there, what is changed, when it is settled, what must hold
    await run(bench, scenario, Kill(...))      -> Outcome, with every violation in words
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.history import History, Write
from chaos.kill import Kill
from chaos.kubelet import Kubelet
from chaos.lives import Life, Nursery
from fairlead.kube.client import Client
from fairlead.kube.kinds import NAMESPACES, NODES, SERVICE_ACCOUNTS
from fairlead.kube.resources import Resource

LIMIT_S = 60.0
MOST_ROUNDS = 30
"""Rounds of reconciles in which something is written though nothing changes, before that counts as endless."""
Json = dict[str, Any]


@dataclass(slots=True)
class Bench:
    """What trials share."""

    client: Client
    history: History
    nursery: Nursery


@asynccontextmanager
async def open_bench(
    kubeconfig: Path, process: subprocess.Popen[bytes], followed: Iterable[Resource[Any]]
) -> AsyncIterator[Bench]:
    """A bench on a server; `followed` are the kinds whose writes are of interest."""
    async with (
        Client.load(kubeconfig) as client,
        History(client, followed) as history,
        Nursery(kubeconfig, process) as nursery,
    ):
        yield Bench(client, history, nursery)


@dataclass(slots=True)
class Trial:
    """One run of a scenario."""

    bench: Bench
    namespace: str
    kubelet: Kubelet
    acted: int = 0
    """The version after which the scenario's own change begins."""
    violations: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    written: int = 0
    """Version of the last write of the test itself."""

    @property
    def client(self) -> Client:
        return self.bench.client

    def now(self, kind: str) -> list[Json]:
        return self.bench.history.now(self.namespace, kind)

    async def create(self, resource: Resource[Any], name: str, **fields: Any) -> Json:
        meta = {"name": name, "namespace": self.namespace} | fields.pop("metadata", {})
        body = {"metadata": meta, **fields}
        return self._wrote(await self.client.create(resource.as_unstructured(), body, self.namespace))

    async def patch(self, resource: Resource[Any], name: str, body: Json, **options: Any) -> Json:
        return self._wrote(await self.client.patch(resource.as_unstructured(), name, body, self.namespace, **options))

    async def add_node(self) -> str:
        """Its name. It is ready, and goes with the trial."""
        name = f"{self.namespace}-{len(self.nodes)}"
        await self.client.create(NODES.as_unstructured(), {"metadata": {"name": name}})
        self.nodes.append(name)
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        await self.client.patch(NODES.as_unstructured(), name, {"status": ready}, subresource="status")
        return name

    def before(self, kind: str) -> list[Write]:
        """Writes of a kind before the scenario's change."""
        return [w for w in self.bench.history.writes(self.namespace) if w.kind == kind and w.version <= self.acted]

    @property
    def is_seen(self) -> bool:
        """Whether the history has come to the test's own last write."""
        return self.bench.history.last(self.namespace) >= self.written

    def _wrote(self, made: Json) -> Json:
        if made["kind"] in self.bench.history.kinds:
            self.written = max(self.written, int(made["metadata"]["resourceVersion"]))
        return made

    async def until(self, holds: Callable[[], bool], limit_s: float = LIMIT_S) -> bool:
        """Until the history shows it."""
        deadline_s = time.monotonic() + limit_s
        changed = self.bench.history.changed.setdefault(self.namespace, asyncio.Event())
        while not holds():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            changed.clear()
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, 0.2)):
                    await changed.wait()
        return True


class Scenario:
    """Subclass it. Everything is told by the trial; a scenario has no state of its own."""

    name = ""
    crew = "serving"
    options: dict[str, Any] = {}
    helpers: Sequence[str] = ()
    """Crews that run beside it and are not killed."""
    calls = 10
    """About how many calls the controller makes, for tests that choose a few of them."""
    key = "svc"
    """What is reconciled at the end, to see that nothing more is written."""

    async def prepare(self, trial: Trial) -> None:
        """What is there before."""

    async def act(self, trial: Trial) -> None:
        """The change that the controller is killed over."""
        raise NotImplementedError

    async def meanwhile(self, trial: Trial) -> None:
        """What others do while it goes on; runs through the kill."""

    def is_prepared(self, trial: Trial) -> bool:
        return True

    def is_settled(self, trial: Trial) -> bool:
        """Whether the final state is there."""
        raise NotImplementedError

    def kubelet(self, client: Client, namespace: str, node: str) -> Kubelet:
        return Kubelet(client, namespace, node)

    def check(self, trial: Trial, writes: Sequence[Write]) -> list[str]:
        """Violations in the history since `act`; each in words."""
        return []

    async def normal_form(self, trial: Trial) -> Any:
        """The final state without names and times that may differ."""
        raise NotImplementedError


@dataclass(slots=True)
class Outcome:
    """What became of a trial."""

    scenario: str
    kill: Kill
    killed: bool
    calls: list[str]
    suspensions: int
    form: Any
    violations: list[str]
    seconds: float
    story: list[str] = field(default_factory=list)
    """Where something was violated: every write since the change, one a line."""

    def __str__(self) -> str:
        lines = [f"{self.scenario}, {self.kill} of {len(self.calls)} calls:"]
        return "\n  ".join([*lines, *self.violations, *self.story])


async def run(bench: Bench, scenario: Scenario, kill: Kill) -> Outcome:
    """Run it to its end and check it. The form is compared by who has the others."""
    began_s = time.monotonic()
    namespace = f"chaos-{uuid.uuid4().hex[:10]}"
    await bench.client.create(NAMESPACES.as_unstructured(), {"metadata": {"name": namespace}})
    kubelet = scenario.kubelet(bench.client, namespace, "")
    trial = Trial(bench, namespace, kubelet)
    bench.history.listeners[namespace] = kubelet.see
    try:
        await trial.create(SERVICE_ACCOUNTS, "default")
        kubelet.node = await trial.add_node()
        helpers = [bench.nursery.start(crew, namespace) for crew in scenario.helpers]
        outcome = await _run(trial, scenario, kill, began_s)
        for helper in helpers:
            await helper.end()
        return outcome
    finally:
        del bench.history.listeners[namespace]
        await kubelet.close()
        for node in trial.nodes:
            await bench.client.delete(NODES, node)


async def _run(trial: Trial, scenario: Scenario, kill: Kill, began_s: float) -> Outcome:
    life = trial.bench.nursery.start(scenario.crew, trial.namespace, **scenario.options)
    await scenario.prepare(trial)
    if not await trial.until(lambda: trial.is_seen and scenario.is_prepared(trial)) or not await _come_to_rest(
        trial, scenario, life
    ):
        raise AssertionError(f"{scenario.name}: not prepared: {trial.violations} {life.log.read_text()[-3000:]}")
    trial.violations.clear()
    trial.acted = trial.bench.history.last(trial.namespace)
    await life.arm(kill)
    meanwhile = asyncio.create_task(_both(scenario, trial))
    settling = asyncio.create_task(_settle(trial, scenario, life, meanwhile))
    dying = asyncio.create_task(life.dead.wait())
    await asyncio.wait([settling, dying], return_when=asyncio.FIRST_COMPLETED)
    killed = life.dead.is_set()
    calls, suspensions = list(life.calls), 0
    if killed:
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
        trial.violations.clear()
        last = trial.bench.nursery.start(scenario.crew, trial.namespace, **scenario.options)
        await _settle(trial, scenario, last, meanwhile)
    else:
        last = life
        await settling
        suspensions = ((await life.ask()) or {}).get("suspensions", 0)
        calls = list(life.calls)
    dying.cancel()
    await asyncio.wait_for(meanwhile, LIMIT_S)
    await last.end()
    trial.violations += [f"reconcile raised {e}" for each in {life, last} for e in each.errors]
    trial.violations += scenario.check(trial, trial.bench.history.writes(trial.namespace, trial.acted))
    trial.violations += [f"{name} was deleted with requests in flight" for name in trial.kubelet.cut]
    form = await scenario.normal_form(trial)
    story = [_line(w) for w in trial.bench.history.writes(trial.namespace, trial.acted)] if trial.violations else []
    took_s = time.monotonic() - began_s
    return Outcome(scenario.name, kill, killed, calls, suspensions, form, trial.violations, took_s, story)


def _line(write: Write) -> str:
    meta, status = write.obj["metadata"], write.obj.get("status") or {}
    notes = {k.rpartition("/")[2]: v for k, v in (meta.get("annotations") or {}).items() if k.startswith("fairlead.")}
    said = {
        "going": "deletionTimestamp" in meta,
        "notes": notes,
        "ready": [c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"],
        "generation": (meta.get("generation"), status.get("observedGeneration")),
    }
    return f"    {write.version} {write.type} {write.kind} {write.name} {said}"


async def _both(scenario: Scenario, trial: Trial) -> None:
    await scenario.act(trial)
    await scenario.meanwhile(trial)


async def _settle(trial: Trial, scenario: Scenario, life: Life, meanwhile: asyncio.Task[None]) -> None:
    if not await trial.until(lambda: meanwhile.done() and trial.is_seen and scenario.is_settled(trial)):
        said = [o.get("status") for o in trial.now("ModelService")]
        trial.violations.append(f"not settled within {LIMIT_S:g} s: {said}; {life.log.read_text()[-2000:]}")
        return
    if not await _come_to_rest(trial, scenario, life):
        return
    if not scenario.is_settled(trial):
        trial.violations.append("the settled state was left again without a cause")
    total = ((await life.ask()) or {}).get("total")
    for _ in range(3):
        await _round(trial, scenario, life)
    after = ((await life.ask()) or {}).get("total")
    if after != total and not life.dead.is_set():
        trial.violations.append(f"calls at rest: {life.calls[-5:]}")


async def _come_to_rest(trial: Trial, scenario: Scenario, life: Life) -> bool:
    """Until a round of reconciles makes no call; whether that came about."""
    for _ in range(MOST_ROUNDS):
        before = await _at_rest(life)
        await _round(trial, scenario, life)
        after = await _at_rest(life)
        if before is None or after is None:
            return False
        if before == after and trial.kubelet.is_idle:
            return True
    trial.violations.append(f"still calls after {MOST_ROUNDS} rounds at rest: {life.calls[-10:]}")
    return False


async def _round(trial: Trial, scenario: Scenario, life: Life) -> None:
    before = await life.ask(poke=[trial.namespace, scenario.key])
    if before is not None:
        await _at_rest(life)


async def _at_rest(life: Life) -> int | None:
    """How many calls it has made, once nothing is pending; None where it has died."""
    deadline_s = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline_s:
        said = await life.ask()
        if said is None:
            return None
        if said["synced"] and not said["pending"]:
            return int(said["total"])
        await asyncio.sleep(0.01)
    raise AssertionError(f"never at rest: {life.calls[-10:]} {life.log.read_text()[-2000:]}")


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where two normal forms differ, one line each."""
    if expected == found:
        return []
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = sorted({*expected, *found})
        return [line for k in keys for line in differences(expected.get(k), found.get(k), f"{where}.{k}")]
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) == len(found):
            pairs = enumerate(zip(expected, found, strict=True))
            return [line for i, (e, f) in pairs for line in differences(e, f, f"{where}[{i}]")]
        return [f"{where} has {len(found)} items in place of {len(expected)}: {found} in place of {expected}"]
    return [f"{where} is {found!r} in place of {expected!r}"]
