"""The pod status a node reports: phase, conditions and container statuses, in a kubelet's words.

A pure function of the pod, what is known of it, and the plan (which says why containers wait).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.clock import format_time
from fairlead.embedded.agent.facts import Attempt, ContainerFacts, PodFacts, Trouble
from fairlead.embedded.agent.plan import Plan, is_started, should_restart, should_restart_init
from fairlead.embedded.agent.pod import ContainerSpec, Pod, is_sidecar
from fairlead.embedded.agent.resources import qos_class

Status = dict[str, Any]
OWNED_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
TERMINAL = ("Succeeded", "Failed")


def compute_status(pod: Pod, facts: PodFacts, plan: Plan, now_s: float) -> Status:
    """The whole status; conditions of others (readiness gates …) are kept."""
    waiting = dict(plan.waiting or {})
    has_init = bool(pod.spec.init_containers)
    init_statuses = [_init_status(pod, c, facts.of(c.name), waiting.get(c.name)) for c in pod.spec.init_containers]
    statuses = [_status(pod, c, facts.of(c.name), waiting.get(c.name), has_init) for c in pod.spec.containers]
    for shown in statuses:
        if facts.allocated.get(shown["name"]):
            shown["allocatedResourcesStatus"] = list(facts.allocated[shown["name"]])
    phase = _sticky(str(pod.status.get("phase", "")), compute_phase(pod, init_statuses, statuses, facts))
    held = _is_held_back(pod, phase, facts)
    # Once a pod is reported as ended, its devices go to others.
    reported = str(pod.status.get("phase") or "Pending") if held else phase
    status: Status = {"phase": reported, "observedGeneration": pod.metadata.generation or None}
    if facts.ended is not None and not held:
        status |= {"reason": facts.ended.reason, "message": facts.ended.message}
    conditions = compute_conditions(pod, phase, init_statuses, statuses, facts)
    status["conditions"] = _stamp(conditions, pod, now_s)
    status["hostIP"] = facts.host_ip
    status["hostIPs"] = [{"ip": facts.host_ip}]
    if facts.pod_ip:
        status["podIP"] = facts.pod_ip
        status["podIPs"] = [{"ip": facts.pod_ip}]
    status["startTime"] = format_time(facts.start_time_s or now_s)
    if init_statuses:
        status["initContainerStatuses"] = init_statuses
    status["containerStatuses"] = statuses
    status["qosClass"] = qos_class(pod.spec)
    return {key: value for key, value in status.items() if value is not None}


def compute_phase(pod: Pod, init_statuses: list[Status], statuses: list[Status], facts: PodFacts) -> str:
    if facts.ended is not None:
        return "Failed"
    init = zip(pod.spec.init_containers, init_statuses, strict=True)
    pending_init = False
    for container, status in init:
        ended = _terminated(status)
        if is_sidecar(container):
            pending_init |= not status["started"] and not _any_began(statuses)
        elif ended is None:
            pending_init |= not _any_began(statuses)
        elif ended["exitCode"] != 0:
            if "terminated" in status["state"] and pod.spec.restart_policy == "Never":
                return "Failed"
            pending_init = True
    if pending_init:
        return "Pending"
    return _phase_of_containers(pod, statuses)


def _phase_of_containers(pod: Pod, statuses: list[Status]) -> str:
    waiting = sum("waiting" in s["state"] and "terminated" not in s["lastState"] for s in statuses)
    running = sum("running" in s["state"] for s in statuses)
    stopped = [ended for s in statuses if "running" not in s["state"] and (ended := _terminated(s)) is not None]
    if waiting:
        return "Pending"
    if running:
        return "Running"
    if not stopped:
        return "Pending"
    again = [
        "waiting" in s["state"] or _restarts(pod, c, s) for c, s in zip(pod.spec.containers, statuses, strict=True)
    ]
    if any(again):
        return "Running"
    return "Succeeded" if all(ended["exitCode"] == 0 for ended in stopped) else "Failed"


def compute_conditions(
    pod: Pod, phase: str, init_statuses: list[Status], statuses: list[Status], facts: PodFacts
) -> list[Status]:
    ready = _containers_ready(pod, phase, init_statuses, statuses)
    sandbox = "True" if facts.sandbox_ready and phase not in TERMINAL else "False"
    return [
        {"type": "PodReadyToStartContainers", "status": sandbox},
        _initialized(pod, phase, init_statuses, statuses),
        _pod_ready(pod, ready) | {"type": "Ready"},
        ready | {"type": "ContainersReady"},
        {"type": "PodScheduled", "status": "True"},
    ]


def _containers_ready(pod: Pod, phase: str, init_statuses: list[Status], statuses: list[Status]) -> Status:
    if phase == "Succeeded":
        return {"status": "False", "reason": "PodCompleted"}
    if phase == "Failed":
        return {"status": "False", "reason": "PodFailed"}
    sidecars = {c.name for c in pod.spec.init_containers if is_sidecar(c)}
    unready = [s["name"] for s in init_statuses if s["name"] in sidecars and not s["ready"]]
    unready += [s["name"] for s in statuses if not s["ready"]]
    if unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        return {"status": "False", "reason": "ContainersNotReady", "message": message}
    return {"status": "True"}


def _pod_ready(pod: Pod, containers_ready: Status) -> Status:
    if containers_ready["status"] != "True":
        return containers_ready
    present = {c["type"]: c.get("status", "") for c in pod.status.get("conditions", ())}
    problems = []
    for gate in pod.spec.readiness_gates:
        name = gate.condition_type
        if name not in present:
            problems.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif present[name] != "True":
            problems.append(f'the status of pod readiness gate "{name}" is not "True", but {present[name]}')
    if problems:
        return {"status": "False", "reason": "ReadinessGatesNotReady", "message": ", ".join(problems)}
    return {"status": "True"}


def _initialized(pod: Pod, phase: str, init_statuses: list[Status], statuses: list[Status]) -> Status:
    incomplete = [
        status["name"]
        for container, status in zip(pod.spec.init_containers, init_statuses, strict=True)
        if not (status["started"] if is_sidecar(container) else status["ready"])
    ]
    if phase == "Succeeded":
        return {"type": "Initialized", "status": "True", "reason": "PodCompleted"}
    if incomplete and not _any_began(statuses):
        message = f"containers with incomplete status: [{' '.join(incomplete)}]"
        return {"type": "Initialized", "status": "False", "reason": "ContainersNotInitialized", "message": message}
    return {"type": "Initialized", "status": "True"}


def _status(
    pod: Pod, container: ContainerSpec, facts: ContainerFacts, waiting: Trouble | None, has_init: bool
) -> Status:
    running = facts.is_running and facts.hook_done
    started = is_started(container, facts)
    ready = started and (container.readiness_probe is None or facts.ready is True)
    again = facts.current is not None and facts.current.ended is not None
    again = again and should_restart(pod, container, facts.current.ended)  # type: ignore[union-attr,arg-type]
    default = Trouble("PodInitializing" if has_init else "ContainerCreating", "")
    return _container_status(container, facts, waiting or _start_error(facts, again), default) | {
        "ready": ready,
        "started": started if running else False,
    }


def _init_status(pod: Pod, container: ContainerSpec, facts: ContainerFacts, waiting: Trouble | None) -> Status:
    ended = facts.current.ended if facts.current else None
    again = ended is not None and should_restart_init(pod, container, ended)
    status = _container_status(container, facts, waiting or _start_error(facts, again), Trouble("PodInitializing", ""))
    started = is_started(container, facts)
    if is_sidecar(container):
        ready = started and (container.readiness_probe is None or facts.ready is True)
    else:
        ready = ended is not None and ended.exit_code == 0
    return status | {"ready": ready, "started": started}


def _container_status(
    container: ContainerSpec, facts: ContainerFacts, waiting: Trouble | None, default: Trouble
) -> Status:
    current = facts.current
    last = facts.previous
    if current is None:
        state = _waiting(waiting or default)
    elif current.ended is None:
        state = {"running": {"startedAt": format_time(current.started_at_s)}} if facts.hook_done else _waiting(default)
    elif waiting is not None:
        state, last = _waiting(waiting), current
    else:
        state = {"terminated": _ended(current)}
    status: Status = {
        "name": container.name,
        "state": state,
        "lastState": {} if last is None or last.ended is None else {"terminated": _ended(last)},
        "ready": False,
        "restartCount": current.number if current else 0,
        "image": current.image if current else container.image,
        "imageID": current.image_id if current else "",
    }
    if current is not None:
        status["containerID"] = current.id
    return status | {"started": False} | _resources(container, current) | _volume_mounts(container)


def _resources(container: ContainerSpec, current: Attempt | None) -> Status:
    if current is None:
        return {}
    limits, requests = dict(container.resources.limits), dict(container.resources.requests)
    shown: Status = {"allocatedResources": requests} if requests else {}
    both = {key: value for key, value in (("limits", limits), ("requests", requests)) if value}
    return shown | {"resources": both}


def _volume_mounts(container: ContainerSpec) -> Status:
    mounts = [
        {"name": m.name, "mountPath": m.mount_path}
        | ({"readOnly": True, "recursiveReadOnly": "Disabled"} if m.read_only else {})
        for m in container.volume_mounts
    ]
    return {"volumeMounts": mounts} if mounts else {}


def _waiting(trouble: Trouble) -> Status:
    shown = {"reason": trouble.reason}
    return {"waiting": shown | ({"message": trouble.message} if trouble.message else {})}


def _ended(attempt: Attempt) -> Status:
    ended = attempt.ended
    assert ended is not None
    shown: Status = {"exitCode": ended.exit_code}
    if ended.signal:
        shown["signal"] = ended.signal
    shown["reason"] = ended.reason
    if ended.message:
        shown["message"] = ended.message
    # A program that never ran has no start; clients get the epoch for it from a kubelet.
    shown["startedAt"] = format_time(attempt.started_at_s)
    shown["finishedAt"] = format_time(ended.finished_at_s)
    shown["containerID"] = attempt.id
    return shown


def _start_error(facts: ContainerFacts, again: bool) -> Trouble | None:
    current = facts.current
    if again and current is not None and current.ended is not None and current.ended.reason == "StartError":
        return Trouble("RunContainerError", current.ended.message)
    return None


def _restarts(pod: Pod, container: ContainerSpec, status: Status) -> bool:
    ended = status["state"].get("terminated")
    if ended is None:
        return False
    policy = container.restart_policy or pod.spec.restart_policy
    return policy == "Always" or (policy == "OnFailure" and ended["exitCode"] != 0)


def _terminated(status: Status) -> Status | None:
    state, last = status["state"], status["lastState"]
    found = state.get("terminated") or (last.get("terminated") if "waiting" in state else None)
    return None if found is None else dict(found)


def _any_began(statuses: list[Status]) -> bool:
    return any("containerID" in status for status in statuses)


def _sticky(before: str, now: str) -> str:
    return before if before in TERMINAL else now


def _is_held_back(pod: Pod, phase: str, facts: PodFacts) -> bool:
    """Whether the end of the pod is not reported yet because its devices are not given back."""
    return phase in TERMINAL and facts.devices_held and pod.status.get("phase") not in TERMINAL


def _stamp(conditions: list[Status], pod: Pod, now_s: float) -> list[Status]:
    before: Mapping[str, Status] = {c["type"]: c for c in pod.status.get("conditions", ())}
    stamped = []
    for condition in conditions:
        old = before.get(condition["type"], {})
        same = old.get("status") == condition["status"] and old.get("lastTransitionTime")
        complete = {"type": condition["type"], "lastProbeTime": None} | condition
        complete["lastTransitionTime"] = same or format_time(now_s)
        if pod.metadata.generation:
            complete["observedGeneration"] = pod.metadata.generation
        stamped.append(complete)
    kept = [dict(c) for kind, c in before.items() if kind not in OWNED_CONDITIONS]
    return stamped + kept
