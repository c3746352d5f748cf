"""Columns of pods. Their status is the most telling reason among phase, conditions and containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.clock import parse_time
from fairlead.embedded.apiserver.printing.cells import AGE, NAME, NONE, computed, get
from fairlead.embedded.apiserver.printing.duration import human_duration
from fairlead.embedded.apiserver.registry import Column, Object

_FINISHED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


def row_conditions(pod: Object) -> Sequence[Mapping[str, Any]]:
    """Marks the rows of finished pods, which clients may leave out."""
    phase = get(pod, "status", "phase", default="")
    message = _FINISHED.get(phase)
    if message is None:
        return ()
    return ({"type": "Completed", "status": "True", "reason": phase, "message": message},)


class _Summary:
    """What the containers of a pod say together: how many are ready, how often they restarted, and why they wait."""

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.status: Mapping[str, Any] = pod.get("status") or {}
        self.init_containers = get(pod, "spec", "initContainers", default=())
        self.sidecars = {item.get("name") for item in self.init_containers if item.get("restartPolicy") == "Always"}
        self.total = len(get(pod, "spec", "containers", default=())) + len(self.sidecars)
        self.ready = 0
        self.restarts = 0
        self.last_restart = ""
        self.reason = self._phase_reason()
        is_initializing = self._read_init_containers()
        if not is_initializing or self._condition("Initialized") == "True":
            self._read_containers()
        self._read_deletion()

    def _phase_reason(self) -> str:
        for condition in self.status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
                return "SchedulingGated"
        return self.status.get("reason") or self.status.get("phase") or ""

    def _condition(self, type_: str) -> str:
        for condition in self.status.get("conditions") or ():
            if condition.get("type") == type_:
                return str(condition.get("status", ""))
        return ""

    def _count_restarts(self, container: Mapping[str, Any]) -> None:
        self.restarts += container.get("restartCount", 0)
        finished = get(container, "lastState", "terminated", "finishedAt", default="")
        self.last_restart = max(self.last_restart, finished)

    def _read_init_containers(self) -> bool:
        for index, container in enumerate(self.status.get("initContainerStatuses") or ()):
            self._count_restarts(container)
            terminated = get(container, "state", "terminated")
            if terminated is not None and not terminated.get("exitCode"):
                continue
            if container.get("name") in self.sidecars and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            waiting = get(container, "state", "waiting", "reason", default="")
            if terminated is not None:
                self.reason = "Init:" + (terminated.get("reason") or _exit(terminated))
            elif waiting and waiting != "PodInitializing":
                self.reason = f"Init:{waiting}"
            else:
                self.reason = f"Init:{index}/{len(self.init_containers)}"
            return True
        return False

    def _read_containers(self) -> None:
        self.restarts, self.last_restart = 0, ""
        for container in self.status.get("initContainerStatuses") or ():
            if container.get("name") in self.sidecars:
                self._count_restarts(container)
        is_any_running = False
        # The first container has the last word.
        for container in reversed(self.status.get("containerStatuses") or ()):
            self._count_restarts(container)
            terminated = get(container, "state", "terminated")
            waiting = get(container, "state", "waiting", "reason", default="")
            if waiting:
                self.reason = waiting
            elif terminated is not None:
                self.reason = terminated.get("reason") or _exit(terminated)
            elif container.get("ready") and get(container, "state", "running") is not None:
                is_any_running = True
                self.ready += 1
        if self.reason == "Completed" and is_any_running:
            self.reason = "Running" if self._condition("Ready") == "True" else "NotReady"

    def _read_deletion(self) -> None:
        if not self.pod.get("metadata", {}).get("deletionTimestamp"):
            return
        if self.status.get("reason") == "NodeLost":
            self.reason = "Unknown"
        elif self.status.get("phase") not in _FINISHED:
            self.reason = "Terminating"


def _exit(terminated: Mapping[str, Any]) -> str:
    signal = terminated.get("signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _restarts(pod: Object, now: float) -> str:
    summary = _Summary(pod)
    if not summary.restarts or not summary.last_restart:
        return str(summary.restarts)
    return f"{summary.restarts} ({human_duration(now - parse_time(summary.last_restart))} ago)"


def _ready(pod: Object) -> str:
    summary = _Summary(pod)
    return f"{summary.ready}/{summary.total}"


def _address(pod: Object) -> str:
    addresses = get(pod, "status", "podIPs", default=())
    return (addresses[0].get("ip") if addresses else get(pod, "status", "podIP")) or NONE


def _readiness_gates(pod: Object) -> str:
    gates = get(pod, "spec", "readinessGates", default=())
    if not gates:
        return NONE
    wanted = {gate.get("conditionType") for gate in gates}
    conditions = get(pod, "status", "conditions", default=())
    true = {item.get("type") for item in conditions if item.get("status") == "True"}
    return f"{len(wanted & true)}/{len(gates)}"


POD: tuple[Column, ...] = (
    NAME,
    computed("Ready", "The aggregate readiness state of this pod for accepting traffic.", _ready),
    computed("Status", "What the pod's containers do, or why they do not run.", lambda pod: _Summary(pod).reason),
    Column("Restarts", "string", "How often containers were restarted, and when last.", _restarts),
    AGE,
    computed("IP", "The pod's address.", _address, priority=1),
    computed("Node", "The node of the pod.", lambda pod: get(pod, "spec", "nodeName") or NONE, priority=1),
    computed(
        "Nominated Node",
        "The node that is being cleared for the pod.",
        lambda pod: get(pod, "status", "nominatedNodeName") or NONE,
        priority=1,
    ),
    computed("Readiness Gates", "How many readiness gates are true.", _readiness_gates, priority=1),
)
