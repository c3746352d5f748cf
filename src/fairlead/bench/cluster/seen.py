"""What is seen of a benchmark's Job and pods, and whether the run is over. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.bench.cluster import names
from fairlead.bench.cluster.outcome import Outcome, decode
from fairlead.kube.objects import Pod
from fairlead.kube.objects.meta import find_condition

_HARMLESS = {"", "ContainerCreating", "PodInitializing"}
_WORDS = 300
_TROUBLED = 3


class PodSeen(msgspec.Struct, frozen=True):
    """One pod of the Job. `is_up`: its program runs. `exit_code` None: it has not ended. `trouble`: why it does not
    run, in words; nothing where all goes its way."""

    index: int
    name: str
    ip: str = ""
    is_up: bool = False
    exit_code: int | None = None
    message: str = ""
    trouble: str = ""

    @property
    def has_ended(self) -> bool:
        return self.exit_code is not None


class Standing(msgspec.Struct, frozen=True):
    """A Job that was made. `finished` names the condition that ended it, if any; `is_gone`: somebody deleted it."""

    pods: Sequence[PodSeen] = ()
    finished: str = ""
    finished_why: str = ""
    is_gone: bool = False

    def is_up(self, workers: int) -> bool:
        """Whether all that is to be there has come: what has ended since did come too."""
        pod = self.coordinator
        came = sum(pod.is_up or pod.has_ended for pod in self.pods)
        return pod is not None and pod.is_up and came > workers

    @property
    def coordinator(self) -> PodSeen | None:
        """The last one, should there be several."""
        return next((pod for pod in reversed(self.pods) if pod.index == names.COORDINATOR), None)


def see_pod(pod: Pod) -> PodSeen | None:
    """None for one without an index."""
    index = (pod.metadata.annotations or {}).get(names.INDEX_ANNOTATION, "")
    if not index.isdigit():
        return None
    status = next((s for s in pod.status.container_statuses if s.name == names.CONTAINER), None)
    state = status.state if status is not None else None
    ended = state.terminated if state is not None else None
    is_up = state is not None and state.running is not None
    seen = PodSeen(int(index), pod.metadata.name, pod.status.pod_ip, is_up)
    if ended is not None:
        why = f"{ended.reason or 'Error'}, exit status {ended.exit_code}" if ended.exit_code else ""
        if why and seen.index != names.COORDINATOR and (last := ended.message.strip().splitlines()[-1:]):
            why = _cut(f"{why}: {last[0]}")
        return msgspec.structs.replace(seen, exit_code=ended.exit_code, message=ended.message, trouble=why)
    if pod.status.phase in ("Failed", "Succeeded"):  # evicted, or on a node that is gone
        why = ": ".join(filter(None, (pod.status.reason or pod.status.phase, pod.status.message)))
        return msgspec.structs.replace(seen, is_up=False, exit_code=-1, trouble=_cut(why))
    return msgspec.structs.replace(seen, trouble=_cut(_waits_for(pod, seen)))


def see_job(job: Mapping[str, Any] | None, pods: Sequence[Pod]) -> Standing:
    """`job` None: there is none any more."""
    listed = sorted(filter(None, map(see_pod, pods)), key=lambda pod: (pod.index, pod.has_ended, pod.name))
    if job is None:
        return Standing(listed, is_gone=True)
    conditions = (job.get("status") or {}).get("conditions") or ()
    for condition in conditions:
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            why = ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
            return Standing(listed, condition["type"], why)
    return Standing(listed)


def ending(standing: Standing, late: bool) -> Outcome | None:
    """How the run ended; None while it goes on. `late`: its pods were to be there by now."""
    pod = standing.coordinator
    if pod is not None and pod.has_ended:
        told = decode(pod.message)
        if told is None:
            said = f": {pod.message.strip().splitlines()[-1][:_WORDS]}" if pod.message.strip() else ""
            why = f"the coordinator's pod {pod.name} ended without a report ({pod.trouble or 'exit status 0'}){said}"
            return Outcome("failed", why)
        others = [each for each in standing.pods if each.index != names.COORDINATOR]
        if told.run or told.ended != "failed":
            # Why a worker was lost its node knows better than the coordinator, to which its connection ended.
            return msgspec.structs.replace(told, notes=[*told.notes, *troubles([p for p in others if p.has_ended])])
        return msgspec.structs.replace(told, why="; ".join([told.why, *troubles(others)]))
    if standing.is_gone:
        return Outcome("failed", "its Job was deleted before the run had ended")
    if standing.finished and pod is None:
        return Outcome("failed", f"its Job ended without a report of the coordinator ({standing.finished_why})")
    if late and not standing.finished and (pod is None or not pod.is_up):
        missing = troubles(standing.pods) or ["no pod of its Job was made, see the events of the Job"]
        return Outcome("failed", f"the coordinator did not come up within startDeadlineSeconds: {'; '.join(missing)}")
    return None


def troubles(pods: Sequence[PodSeen]) -> list[str]:
    """Of the first pods that have some."""
    found = [f"{pod.name}: {pod.trouble}" for pod in pods if pod.trouble]
    return found[:_TROUBLED] + ([f"and {len(found) - _TROUBLED} more"] if len(found) > _TROUBLED else [])


def _waits_for(pod: Pod, seen: PodSeen) -> str:
    if seen.is_up:
        return ""
    scheduled = find_condition(pod.status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return f"{scheduled.reason or 'Unschedulable'}: {scheduled.message}"
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting if status.state is not None else None
        if waiting is not None and waiting.reason not in _HARMLESS:
            return f"{waiting.reason}: {waiting.message}".rstrip(": ")
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= _WORDS else text[: _WORDS - 1] + "…"
