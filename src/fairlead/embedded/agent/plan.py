"""What a node does next for a pod: a pure function from the pod and what is known of it to actions.

The order is a kubelet's: init containers one after another (sidecars stay and only have to have started), then all
containers; ended ones start again by restart policy and back-off; once no container will run again the sidecars are
stopped, last first. A pod that is deleted or past its deadline only stops.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.embedded.agent.backoff import Backoff, BackoffPolicy, compute_next, compute_ready_at_s, format_duration
from fairlead.embedded.agent.facts import ContainerFacts, Ended, PodFacts, Trouble
from fairlead.embedded.agent.pod import ContainerSpec, Pod, is_sidecar


@dataclass(frozen=True, slots=True)
class PrepareSandbox:
    """Give the pod its address, folders and volumes."""


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Start attempt `number`; `backoff` is the history to remember with it."""

    name: str
    number: int
    backoff: Backoff | None


@dataclass(frozen=True, slots=True)
class StopContainer:
    """preStop, SIGTERM, grace, SIGKILL. `reason` is for people."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class RemovePod:
    """Nothing runs any more and the pod is deleted: let the API forget it."""


Action = PrepareSandbox | StartContainer | StopContainer | RemovePod


@dataclass(frozen=True, slots=True)
class Plan:
    """`waiting` holds, per container, why it does not run now; `wake_at_s` when to plan again at the latest."""

    actions: tuple[Action, ...] = ()
    waiting: dict[str, Trouble] | None = None
    wake_at_s: float | None = None


class _Planner:
    def __init__(self, pod: Pod, facts: PodFacts, policy: BackoffPolicy, now_s: float) -> None:
        self.pod, self.facts, self.policy, self.now_s = pod, facts, policy, now_s
        self.actions: list[Action] = []
        self.waiting: dict[str, Trouble] = {}
        self.wake_at_s: float | None = None

    def result(self) -> Plan:
        return Plan(tuple(self.actions), self.waiting, self.wake_at_s)

    def wake(self, at_s: float) -> None:
        self.wake_at_s = at_s if self.wake_at_s is None else min(self.wake_at_s, at_s)

    def stop(self, names: list[str], reason: str) -> bool:
        """Stop those that still run; True once none does."""
        running = [name for name in names if self.facts.of(name).is_running or self.facts.of(name).starting]
        for name in running:
            if not self.facts.of(name).stopping and not self.facts.of(name).starting:
                self.actions.append(StopContainer(name, reason))
        return not running

    def start(self, container: ContainerSpec) -> None:
        """Start the container now, or note what it waits for."""
        facts = self.facts.of(container.name)
        if facts.is_running or facts.starting:
            return
        if facts.trouble is not None and self.now_s < facts.trouble.retry_at_s:
            self.waiting[container.name] = facts.trouble
            self.wake(facts.trouble.retry_at_s)
            return
        ended = facts.current.ended if facts.current else None
        if facts.current is None or ended is None:
            self.actions.append(StartContainer(container.name, 0, facts.backoff))
            return
        ready_at_s = compute_ready_at_s(self.policy, facts.backoff, ended.finished_at_s)
        if self.now_s < ready_at_s:
            self.waiting[container.name] = self._crash_loop(container, facts, ready_at_s)
            self.wake(ready_at_s)
            return
        following = compute_next(self.policy, facts.backoff, ended.finished_at_s, self.now_s)
        self.actions.append(StartContainer(container.name, facts.current.number + 1, following))

    def _crash_loop(self, container: ContainerSpec, facts: ContainerFacts, until_s: float) -> Trouble:
        delay = format_duration(facts.backoff.delay_s if facts.backoff else 0.0)
        message = f"back-off {delay} restarting failed container={container.name} pod={self.pod.full_name}"
        return Trouble("CrashLoopBackOff", message, until_s)


def should_restart(pod: Pod, container: ContainerSpec, ended: Ended) -> bool:
    """Whether an ended container is to run again, by its own restart policy or the pod's."""
    policy = container.restart_policy or pod.spec.restart_policy
    return policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0)


def should_restart_init(pod: Pod, container: ContainerSpec, ended: Ended) -> bool:
    """An init container runs again until it succeeds, unless the pod never restarts anything."""
    if is_sidecar(container):
        return True
    if container.restart_policy is not None:
        return should_restart(pod, container, ended) and ended.exit_code != 0
    return ended.exit_code != 0 and pod.spec.restart_policy != "Never"


def is_started(container: ContainerSpec, facts: ContainerFacts) -> bool:
    """Running, its postStart hook done and its startup probe, if any, passed."""
    return facts.is_running and facts.hook_done and (container.startup_probe is None or facts.startup_passed is True)


def pending_init(pod: Pod, facts: PodFacts) -> int | None:
    """Index of the init container that the pod waits for; None once it is initialized.

    A sidecar that has started once does not hold up the pod again, which the existence of later containers shows.
    """
    containers = pod.containers()
    reached = max((i for i, c in enumerate(containers) if facts.of(c.name).current is not None), default=-1)
    for index, container in enumerate(pod.spec.init_containers):
        own = facts.of(container.name)
        if index < reached:
            continue
        if is_sidecar(container):
            if not is_started(container, own):
                return index
        elif own.current is None or own.current.ended is None or own.current.ended.exit_code != 0:
            return index
    return None


def failed_init(pod: Pod, facts: PodFacts) -> ContainerSpec | None:
    """The init container whose failure is final, if there is one."""
    for container in pod.spec.init_containers:
        current = facts.of(container.name).current
        if current is None or current.ended is None or is_sidecar(container):
            continue
        if current.ended.exit_code != 0 and not should_restart_init(pod, container, current.ended):
            return container
    return None


def is_finished(pod: Pod, facts: PodFacts) -> bool:
    """Whether no container of the pod will run again by its restart policies."""
    if failed_init(pod, facts) is not None:
        return True
    for container in pod.spec.containers:
        current = facts.of(container.name).current
        if current is None or current.ended is None or should_restart(pod, container, current.ended):
            return False
    return True


def compute_plan(pod: Pod, facts: PodFacts, policy: BackoffPolicy, now_s: float) -> Plan:
    planner = _Planner(pod, facts, policy, now_s)
    if facts.deleting or facts.ended is not None:
        _plan_end(planner)
    elif is_finished(pod, facts):
        _plan_finish(planner)
    elif facts.blocked is not None:
        planner.wake(facts.blocked.retry_at_s)
        if now_s >= facts.blocked.retry_at_s:
            planner.actions.append(PrepareSandbox())
    elif not facts.sandbox_ready:
        planner.actions.append(PrepareSandbox())
    else:
        _plan_run(planner)
    return planner.result()


def _plan_run(planner: _Planner) -> None:
    pod, facts = planner.pod, planner.facts
    deadline_s = pod.spec.active_deadline_seconds
    if deadline_s is not None and facts.start_time_s:
        planner.wake(facts.start_time_s + deadline_s)
    waiting_for = pending_init(pod, facts)
    for index, container in enumerate(pod.spec.init_containers):
        if waiting_for is not None and index > waiting_for:
            return
        current = facts.of(container.name).current
        if is_sidecar(container) or index == waiting_for or current is None:
            planner.start(container)
    if waiting_for is not None:
        return
    for container in pod.spec.containers:
        current = facts.of(container.name).current
        if current is None or current.ended is None or should_restart(pod, container, current.ended):
            planner.start(container)


def _plan_finish(planner: _Planner) -> None:
    pod = planner.pod
    if planner.stop([c.name for c in pod.spec.containers], "the pod's init container failed"):
        _stop_sidecars(planner, "all containers of the pod have ended")


def _plan_end(planner: _Planner) -> None:
    facts, pod = planner.facts, planner.pod
    reason = "the pod was deleted" if facts.deleting else (facts.ended.message if facts.ended else "")
    regular = [c.name for c in pod.containers() if not (c in pod.spec.init_containers and is_sidecar(c))]
    done = planner.stop(regular, reason) and _stop_sidecars(planner, reason)
    if done and facts.deleting:
        planner.actions.append(RemovePod())


def _stop_sidecars(planner: _Planner, reason: str) -> bool:
    """Stop sidecars one at a time, last first; True once none runs."""
    for container in reversed(planner.pod.spec.init_containers):
        if is_sidecar(container) and not planner.stop([container.name], reason):
            return False
    return True
