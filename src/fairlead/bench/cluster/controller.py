"""The Benchmark controller: makes a Job of each, watches it, and tells how it went.

Level-triggered and without a memory that matters: after a kill at any point it goes on from what the API says. A run is
begun once: the Job is made last, its uid is kept in the status, and a Job that is gone is the end of the run.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from fairlead.api.benchmark import BENCHMARKS, Benchmark, BenchmarkStatus
from fairlead.api.kind import GROUP
from fairlead.bench.cluster import names, render
from fairlead.bench.cluster.calling import ask_to_stop
from fairlead.bench.cluster.outcome import Outcome
from fairlead.bench.cluster.planning import plan_of
from fairlead.bench.cluster.render import Plan
from fairlead.bench.cluster.seen import PodSeen, Standing, ending, see_job
from fairlead.bench.cluster.status import Begun, Problem, compute_status
from fairlead.clock import SYSTEM, Clock, format_time, parse_time
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller, Result
from fairlead.kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import JOBS, PODS, SECRETS, SERVICES
from fairlead.kube.objects import Pod
from fairlead.kube.resources import ObjectKey, Resource
from fairlead.kube.store import by_controller_uid, by_label

FIELD_MANAGER: Final = "fairlead-bench"
RETRY_S: Final = 5.0
STOP_AGAIN_S: Final = 1.0
LINGER_S: Final = 15.0
"""After the end, for workers to end by themselves, as they do when their coordinator is gone."""
STOP_ATTEMPTS: Final = 5
"""Calls to a coordinator that is to stop; then its pod is deleted, whose SIGTERM asks for the same."""

Json = dict[str, Any]
_LOG = logging.getLogger("fairlead.bench")
_JOBS, _SECRETS, _SERVICES = (kind.as_unstructured() for kind in (JOBS, SECRETS, SERVICES))


class Benchmarks:
    """Keeps all of them. `controller` runs `reconcile`; `image` is what pods run that say nothing else."""

    def __init__(
        self, client: Client, informers: Informers, events: EventRecorder, image: str, clock: Clock = SYSTEM
    ) -> None:
        self._client, self._events, self._image, self._clock = client, events, image, clock
        self._attempts: dict[str, int] = {}  # uid -> calls to a coordinator that did not get through
        self._asked: set[str] = set()  # uids of those whose coordinator has heard
        self._uids: dict[ObjectKey, str] = {}
        self.benchmarks = informers.informer(BENCHMARKS)
        self.jobs = informers.informer(
            _JOBS, label_selector=names.BENCHMARK_LABEL, indexes={"controller": by_controller_uid}
        )
        self.pods = informers.informer(
            PODS, label_selector=names.BENCHMARK_LABEL, indexes={"benchmark": by_label(names.BENCHMARK_LABEL)}
        )
        self.controller = Controller("benchmark", self.reconcile, concurrency=4, clock=clock)
        self.controller.watch(self.benchmarks)
        self.controller.owns(self.jobs, "Benchmark", owner_group=GROUP)
        self.controller.watch(self.pods, self._benchmark_of)

    async def reconcile(self, key: ObjectKey) -> Result | None:
        """One look; says when to look again though nothing changes."""
        raw = self.benchmarks.store.get_key(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            uid = self._uids.pop(key, "")
            self._attempts.pop(uid, None)
            self._asked.discard(uid)
            return None
        benchmark = msgspec.convert(raw, Benchmark)
        self._uids[key] = benchmark.uid
        if benchmark.status.completion_time:
            return await self._after(benchmark)
        job = next(iter(self.jobs.store.by_index("controller", benchmark.uid)), None)
        if job is None and benchmark.status.job_uid:
            job = await self._job_of(benchmark)
            if job is None:
                return await self._look(raw, benchmark, None)
        if job is None:
            return await self._begin(raw, benchmark)
        return await self._look(raw, benchmark, job)

    # Beginning

    async def _begin(self, raw: Json, benchmark: Benchmark) -> Result | None:
        spec = benchmark.spec
        plan = plan_of(benchmark, self._image)
        if spec.stop:
            outcome = Outcome("interrupted", "spec.stop was true before it had begun")
            await self._write(raw, benchmark, compute_status(benchmark, self._now(), outcome=outcome))
            return None
        if isinstance(plan, Problem):
            await self._refuse(raw, benchmark, plan)
            return None
        if spec.suspend:
            await self._write(raw, benchmark, compute_status(benchmark, self._now()))
            return None
        try:
            problem = await self._make(benchmark, plan)
        except Invalid as error:
            problem = Problem("TemplateInvalid", f"its pods cannot be made: {error}")
        except Forbidden as error:
            problem = Problem("Forbidden", str(error))
        if problem is not None:
            await self._refuse(raw, benchmark, problem)
            return Result(RETRY_S)
        self._events.normal(BENCHMARKS, raw, "Begun", f"a coordinator and {plan.workers} to send are asked for")
        return None

    async def _refuse(self, raw: Json, benchmark: Benchmark, problem: Problem) -> None:
        accepted = next((c for c in benchmark.status.conditions if c.type == "Accepted"), None)
        if accepted is None or accepted.message != problem.message:
            self._events.warning(BENCHMARKS, raw, problem.reason, problem.message)
        await self._write(raw, benchmark, compute_status(benchmark, self._now(), problem=problem))

    async def _make(self, benchmark: Benchmark, plan: Plan) -> Problem | None:
        """The Job last, as with it the run has begun. Raises ApiError."""
        name = names.job_name(benchmark.name)
        made = await self._there(_JOBS, name, benchmark)
        if made is not None:  # our copy will show it: what its pods were told is not changed under them
            return made if isinstance(made, Problem) else None
        there = await self._there(_SECRETS, name, benchmark)
        if isinstance(there, Problem):
            return there
        token = base64.b64decode(there["data"]["token"]).decode() if there is not None else secrets.token_hex(32)
        secret = render.secret(benchmark, plan, token)
        await self._client.apply(_SECRETS, secret, force=True, field_manager=FIELD_MANAGER)
        for resource, obj in ((_SERVICES, render.service(benchmark)), (_JOBS, render.job(benchmark, plan))):
            try:
                await self._client.create(resource, obj, field_manager=FIELD_MANAGER)
            except AlreadyExists:
                if isinstance(there := await self._there(resource, name, benchmark), Problem):
                    return there
        return None

    async def _there(self, resource: Resource[Json], name: str, benchmark: Benchmark) -> Json | Problem | None:
        """What has the name already, if it is this benchmark's."""
        try:
            found = await self._client.get(resource, name, benchmark.namespace)
        except NotFound:
            return None
        if any(owner.get("uid") == benchmark.uid for owner in found["metadata"].get("ownerReferences") or ()):
            return found
        remedy = "delete it, or take another name"
        message = f"there is a {resource.kind} {name} already, which is not this benchmark's: {remedy}"
        return Problem("NameTaken", message)

    async def _job_of(self, benchmark: Benchmark) -> Json | None:
        """The Job that was made, which our copy may not show yet; None: it is gone."""
        try:
            job = await self._client.get(_JOBS, benchmark.status.job, benchmark.namespace)
        except NotFound:
            return None
        return job if job["metadata"]["uid"] == benchmark.status.job_uid else None

    # Looking on

    async def _look(self, raw: Json, benchmark: Benchmark, job: Json | None) -> Result | None:
        pods = self.pods.store.by_index("benchmark", benchmark.uid)
        standing = see_job(job, pods)
        left_s = self._left_s(benchmark)
        outcome = ending(standing, late=left_s <= 0)
        if outcome is None and benchmark.spec.stop and not (standing.coordinator and standing.coordinator.is_up):
            outcome = Outcome("interrupted", "spec.stop was set before the coordinator was up")
        begun = self._begun(benchmark, job)
        status = compute_status(benchmark, self._now(), begun=begun, standing=standing, outcome=outcome)
        if outcome is None and standing.finished:
            return Result(STOP_AGAIN_S)  # the pods' ends are on their way to us
        if outcome is None:
            await self._write(raw, benchmark, status)
            if benchmark.spec.stop:
                return await self._stop(benchmark, standing)
            return Result(max(0.1, left_s)) if status.state == "Starting" else None
        await self._write(raw, benchmark, status)
        self._tell(raw, outcome)
        return await self._after(msgspec.structs.replace(benchmark, status=status))

    def _begun(self, benchmark: Benchmark, job: Json | None) -> Begun | None:
        if job is None:
            return None
        digest = (job["metadata"].get("annotations") or {}).get(names.DIGEST_ANNOTATION, "")
        plan = plan_of(benchmark, self._image) if benchmark.generation != benchmark.status.observed_generation else None
        is_current = (
            not any(c.type == "Current" for c in benchmark.status.conditions)
            if plan is None
            else isinstance(plan, Plan) and plan.digest == digest
        )
        meta = job["metadata"]
        return Begun(meta["name"], meta["uid"], int(job["spec"]["completions"]) - 1, digest, is_current)

    def _left_s(self, benchmark: Benchmark) -> float:
        """Until the pods are to be there. A coordinator that is up counts the workers itself."""
        began = benchmark.status.start_time
        if not began:
            return float(benchmark.spec.start_deadline_seconds)
        return parse_time(began) + benchmark.spec.start_deadline_seconds - self._clock.wall_s()

    async def _stop(self, benchmark: Benchmark, standing: Standing) -> Result | None:
        """Ask the coordinator to end; where it cannot be reached, its pod is ended, which asks for the same."""
        uid, pod = benchmark.uid, standing.coordinator
        if uid in self._asked or pod is None:
            return None
        try:
            await ask_to_stop(pod.ip, names.PORT, await self._token(benchmark))
        except (OSError, TimeoutError, ApiError) as error:
            attempts = self._attempts[uid] = self._attempts.get(uid, 0) + 1
            _LOG.warning("%s/%s: %s cannot be asked to stop: %s", benchmark.namespace, benchmark.name, pod.name, error)
            if attempts < STOP_ATTEMPTS:
                return Result(STOP_AGAIN_S)
            await self._delete_pod(benchmark, pod)
        self._asked.add(uid)
        return None

    async def _token(self, benchmark: Benchmark) -> bytes:
        found = await self._client.get(_SECRETS, names.job_name(benchmark.name), benchmark.namespace)
        return base64.b64decode(found["data"]["token"])

    async def _delete_pod(self, benchmark: Benchmark, pod: PodSeen) -> None:
        try:
            await self._client.delete(PODS, pod.name, benchmark.namespace)
        except NotFound:
            return

    # The end

    def _tell(self, raw: Json, outcome: Outcome) -> None:
        if outcome.ended == "complete" and outcome.valid:
            self._events.normal(BENCHMARKS, raw, "Complete", "it has run to its end")
        else:
            reason = "Invalid" if outcome.ended == "complete" else outcome.ended.capitalize()
            said = outcome.why or next((stage.why for stage in outcome.stages if stage.why), "see its conditions")
            self._events.warning(BENCHMARKS, raw, reason, said)

    async def _end(self, job: Json) -> None:
        """Pods that wait for a place, or have not noticed that their coordinator is gone, go. Those that have ended
        stay, with their logs."""
        meta = job["metadata"]
        try:
            await self._client.patch(_JOBS, meta["name"], {"spec": {"suspend": True}}, meta["namespace"])
        except (NotFound, Conflict, Invalid):
            return

    async def _after(self, benchmark: Benchmark) -> Result | None:
        """What is left of its Job is ended, and it is deleted when its time after the end is over."""
        past_s = self._clock.wall_s() - parse_time(benchmark.status.completion_time)
        ttl_s, left_s = benchmark.spec.ttl_seconds_after_finished, []
        job = next(iter(self.jobs.store.by_index("controller", benchmark.uid)), None)
        if job is not None and not see_job(job, ()).finished and not job["spec"].get("suspend"):
            if past_s >= LINGER_S:
                await self._end(job)
            else:
                left_s.append(LINGER_S - past_s)
        if ttl_s is None or past_s < ttl_s:
            left_s += [ttl_s - past_s] if ttl_s is not None else []
            return Result(max(0.05, min(left_s))) if left_s else None
        try:
            await self._client.delete(BENCHMARKS, benchmark.name, benchmark.namespace, uid=benchmark.uid)
        except (NotFound, Conflict):
            return None
        return None

    async def _write(self, raw: Json, benchmark: Benchmark, status: BenchmarkStatus) -> None:
        if status == benchmark.status:
            return
        try:
            changed = {**raw, "status": msgspec.to_builtins(status)}
            await self._client.replace(BENCHMARKS, changed, subresource="status", field_manager=FIELD_MANAGER)
        except NotFound:
            return

    def _now(self) -> str:
        return format_time(self._clock.wall_s())

    def _benchmark_of(self, pod: Pod) -> Iterable[ObjectKey]:
        uid = (pod.metadata.labels or {}).get(names.BENCHMARK_LABEL, "")
        return [key for key, known in self._uids.items() if known == uid]
