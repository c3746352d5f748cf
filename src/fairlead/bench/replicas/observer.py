"""Looks at workloads and their pods while a run goes on, by the API server's watches.

Every `scaling.every_s` the API server is asked for a workload as well: a watch that hangs looks like one in which
nothing happens. While it does not answer, or a watch is behind, nothing is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from fairlead.bench.config import Benchmark
from fairlead.bench.record import Record
from fairlead.bench.replicas.accelerators import accelerators_of
from fairlead.bench.replicas.analysis import analyse, with_scaling
from fairlead.bench.replicas.first_tokens import FirstTokens, page_of
from fairlead.bench.replicas.journal import Journal
from fairlead.bench.replicas.load_seen import LoadMeter
from fairlead.bench.replicas.steps import Steps, hidden
from fairlead.bench.replicas.timeline import Timeline, timeline
from fairlead.bench.replicas.workload import Workload, find_workloads, wanted_replicas
from fairlead.bench.run.observing import PREPARE_WITHIN_S, Observed, Observer
from fairlead.bench.summary import RunSummary, Series
from fairlead.clock import SYSTEM
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.informer import Handler, Informer, Informers
from fairlead.kube.kinds import PODS, RESOURCE_CLAIMS
from fairlead.kube.objects import Pod, ResourceClaim
from fairlead.kube.transport import RetryPolicy, Unreachable

ANSWER_S = 5.0
"""Longest wait for an answer of the API server while the run goes on: longer than one that is merely busy takes."""
LAST_ANSWER_S = 1.5
"""As the run ends: figures are not to wait for it."""
AGAIN = Backoff(0.1, 1.0)
FAILURES = (ApiError, Unreachable, CredentialsError, TimeoutError, OSError)


class ScalingObserver(Observer):
    """Of `config.scaling`."""

    name = "scaling"

    def __init__(self, config: Benchmark) -> None:
        assert config.scaling is not None
        self._config, self._scaling = config, config.scaling
        self._client: Client | None = None
        self._informers: Informers | None = None
        self._watched: list[_Watched] = []
        self._meter = LoadMeter(config)
        self._looking: asyncio.Task[None] | None = None
        self._origin_s: float | None = None
        self._good_s = 0.0

    async def prepare(self) -> None:
        try:
            self._client = Client.load(
                self._scaling.kubeconfig,
                self._scaling.context,
                timeout_s=PREPARE_WITHIN_S,
                retry=RetryPolicy(attempts=1),
            )
        except CredentialsError as error:
            raise ValueError(f"scaling.watch needs a cluster: {error}") from None
        discovery = Discovery(self._client)
        found: list[Workload] = []
        try:
            for number, text in enumerate(self._scaling.watch):
                found += await find_workloads(self._client, discovery, text, f"scaling.watch[{number}]")
        except FAILURES as error:
            where = self._client.credentials.server
            raise ValueError(f"scaling.watch cannot be looked at: the API server {where}: {error}") from None
        self._informers = Informers(self._client, backoff=AGAIN)
        for workload in found:
            claims = await self._claims(self._client, workload.namespace)
            self._watched.append(_Watched(workload, self._informers, claims))
        await self._informers.__aenter__()
        await self._informers.wait_synced(PREPARE_WITHIN_S)
        for watched in self._watched:
            watched.begin()
        self._good_s = SYSTEM.monotonic_s()
        self._looking = asyncio.create_task(self._look())

    async def _claims(self, client: Client, namespace: str) -> bool:
        """Whether claims can be looked at, where they are what accelerators are counted by."""
        if self._scaling.accelerators_per_replica is not None:
            return False
        try:
            await client.request("GET", RESOURCE_CLAIMS.path(namespace), params={"limit": "1"})
        except FAILURES:
            return False
        return True

    def begin(self, origin_s: float) -> None:
        self._origin_s = origin_s

    def add(self, records: Sequence[Record]) -> None:
        self._meter.add(records)

    async def end(self) -> Observed:
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
            await self._is_answered(LAST_ANSWER_S)
        for watched in self._watched:
            await watched.firsts.close()
        end_s = SYSTEM.monotonic_s()
        if self._informers is not None:
            await self._informers.__aexit__(None, None, None)
        if self._client is not None:
            await self._client.close()
        if self._origin_s is None or self._looking is None:
            return Observed()
        seconds = max(0.0, end_s - self._origin_s)
        lines = self.lines(seconds)
        forgotten = sum(watched.journal.forgotten for watched in self._watched)
        notes = (f"scaling: {forgotten} pods more than are kept: their lives are left out",) if forgotten else ()

        def complete(run: RunSummary) -> RunSummary:
            return with_scaling(run, analyse(run, self._config, lines, self._meter.seen(), seconds))

        return Observed(tuple(s for line in lines for s in _series(line, seconds)), notes, complete)

    def lines(self, seconds: float) -> list[Timeline]:
        """What has been told by now, of the first `seconds` of the run."""
        assert self._origin_s is not None
        per_replica = self._scaling.accelerators_per_replica
        return [watched.line(self._origin_s, seconds, per_replica) for watched in self._watched]

    # While it goes on

    async def _look(self) -> None:
        """Whether what is known is true, every so often, at times that do not depend on how long an answer takes."""
        due_s = SYSTEM.monotonic_s()
        while True:
            now_s = SYSTEM.monotonic_s()
            due_s += self._scaling.every_s
            if due_s < now_s:
                due_s = now_s
            await SYSTEM.sleep(due_s - now_s)
            await self._is_answered(ANSWER_S)

    async def _is_answered(self, within_s: float) -> None:
        asked_s = SYSTEM.monotonic_s()
        behind = self._informers is None or any(i.last_error is not None for i in self._informers)
        try:
            async with asyncio.timeout(within_s):
                await self._watched[0].ask(self._client)
        except NotFound:
            pass
        except FAILURES:
            behind = True
        if behind:
            for watched in self._watched:
                watched.journal.blind(self._good_s)
            return
        # A watch that has come back tells at once, and before this, of what has happened meanwhile.
        now_s = SYSTEM.monotonic_s()
        for watched in self._watched:
            watched.journal.sees(now_s)
        self._good_s = asked_s


class _Watched:
    """One workload and its pods."""

    def __init__(self, workload: Workload, informers: Informers, claims: bool) -> None:
        self.workload = workload
        self.journal = Journal(SYSTEM.wall_s() - SYSTEM.monotonic_s())
        name = f"metadata.name={workload.name}"
        self._own: Informer[Any] = informers.informer(workload.resource, workload.namespace, field_selector=name)
        self._pods = informers.informer(PODS, workload.namespace, label_selector=workload.selector)
        self._claims = informers.informer(RESOURCE_CLAIMS, workload.namespace) if claims else None
        self.firsts = FirstTokens()
        self._first = True

    def begin(self) -> None:
        """What is there is told first."""
        self._own.add_handler(Handler(self._is_wanted, lambda _, new: self._is_wanted(new), self._is_removed))
        self._pods.add_handler(Handler(self._is_there, lambda _, new: self._is_there(new), self._is_gone))
        if self._claims is not None:
            self._claims.add_handler(Handler.every(self._is_claimed))
        self._first = False

    async def ask(self, client: Client | None) -> None:
        assert client is not None
        await client.get(self.workload.resource, self.workload.name, self.workload.namespace)

    def line(self, origin_s: float, end_s: float, per_replica: float | None) -> Timeline:
        journal = self.journal
        wanted, lives, gaps = journal.wanted(origin_s), journal.lives(origin_s), journal.gaps(origin_s, end_s)
        return timeline(str(self.workload), wanted, lives, gaps, per_replica)

    def _is_wanted(self, obj: Any) -> None:
        self.journal.wants(wanted_replicas(obj), SYSTEM.monotonic_s())

    def _is_removed(self, _: Any) -> None:
        self.journal.wants(None, SYSTEM.monotonic_s())

    def _is_there(self, pod: Pod) -> None:
        claims: dict[str, ResourceClaim] = {}
        if self._claims is not None and pod.spec.resource_claims:
            claims = {claim.metadata.name: claim for claim in self._claims.store}
        journal, uid = self.journal, pod.metadata.uid
        journal.is_there(pod, accelerators_of(pod, claims), SYSTEM.monotonic_s(), self._first)
        address = None if self._first else page_of(pod)
        if address is not None and not journal.serves(uid):
            # Looked at before it is ready, so that what it did to warm up is known.
            self.firsts.follow(uid, address, lambda: journal.serves(uid), lambda at_s: journal.served(uid, at_s))

    def _is_gone(self, pod: Pod) -> None:
        self.journal.is_gone(pod.metadata.uid, SYSTEM.monotonic_s())
        self.firsts.forget(pod.metadata.uid)

    def _is_claimed(self, claim: ResourceClaim) -> None:
        """A claim may be allocated after its pod was told of for the last time."""
        for pod in self._pods.store:
            names = {status.resource_claim_name for status in pod.status.resource_claim_statuses}
            if claim.metadata.name in names:
                self._is_there(pod)


def _series(line: Timeline, end_s: float) -> list[Series]:
    """Each change as a point, and what it was last as one at the end."""
    series = []
    for name, steps in (("desired", line.desired), ("allocated", line.allocated), ("ready", line.ready)):
        shown: Steps = hidden(steps, line.gaps)
        times = [max(0.0, t) for t in shown.times_s if t < end_s]
        values = shown.values[: len(times)]
        last = values[-1] if values else None
        series.append(Series(line.name, f"{name} replicas", "replicas", (*times, end_s), (*values, last)))
    return series
