"""What a node does next for a pod, and the status that says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from agent_builders import NOW, container, ended, facts, pod, running
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.embedded.agent.backoff import Backoff, BackoffPolicy, compute_next, compute_ready_at_s, format_duration
from fairlead.embedded.agent.facts import NOTHING, Attempt, ContainerFacts, Ended, PodFacts, Trouble
from fairlead.embedded.agent.plan import (
    Plan,
    PrepareSandbox,
    RemovePod,
    StartContainer,
    StopContainer,
    compute_plan,
)
from fairlead.embedded.agent.pod import Pod, is_sidecar
from fairlead.embedded.agent.status import compute_status

POLICY = BackoffPolicy()


def plan(a_pod: Pod, known: PodFacts, now_s: float = NOW) -> Plan:
    return compute_plan(a_pod, known, POLICY, now_s)


def status(a_pod: Pod, known: PodFacts, now_s: float = NOW) -> dict[str, Any]:
    return compute_status(a_pod, known, plan(a_pod, known, now_s), now_s)


def condition(of: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(c for c in of["conditions"] if c["type"] == kind)


def started(a_plan: Plan) -> list[str]:
    return [a.name for a in a_plan.actions if isinstance(a, StartContainer)]


def stopped(a_plan: Plan) -> list[str]:
    return [a.name for a in a_plan.actions if isinstance(a, StopContainer)]


def test_a_new_pod_gets_its_sandbox_first():
    assert plan(pod(), facts(sandbox=False)).actions == (PrepareSandbox(),)
    shown = status(pod(), facts(sandbox=False))
    assert shown["phase"] == "Pending"
    assert shown["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert [c["type"] for c in shown["conditions"]] == [
        "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
    ]  # fmt: skip
    assert condition(shown, "PodReadyToStartContainers")["status"] == "False"
    assert condition(shown, "Ready")["message"] == "containers with unready status: [app]"


def test_all_containers_start_together():
    assert started(plan(pod(container("a"), container("b")), facts())) == ["a", "b"]


def test_init_containers_run_one_after_another():
    a_pod = pod(init=(container("one"), container("two")))
    assert started(plan(a_pod, facts())) == ["one"]
    assert started(plan(a_pod, facts(one=running()))) == []
    assert started(plan(a_pod, facts(one=ended(0)))) == ["two"]
    assert started(plan(a_pod, facts(one=ended(0), two=ended(0)))) == ["app"]
    shown = status(a_pod, facts(one=running()))
    assert shown["phase"] == "Pending"
    assert shown["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    assert condition(shown, "Initialized")["message"] == "containers with incomplete status: [one two]"


def test_a_sidecar_only_has_to_have_started():
    a_pod = pod(init=(container("proxy", restartPolicy="Always", startupProbe={"exec": {"command": ["true"]}}),))
    assert started(plan(a_pod, facts(proxy=running()))) == []
    assert started(plan(a_pod, facts(proxy=running(startup_passed=True)))) == ["app"]
    again = facts(proxy=ended(1, at_s=NOW - 100), app=running())
    assert started(plan(a_pod, again)) == ["proxy"]
    assert status(a_pod, again)["phase"] == "Running"


def test_sidecars_stop_last_first_once_the_others_have_ended():
    sidecars = (container("a", restartPolicy="Always"), container("b", restartPolicy="Always"))
    a_pod = pod(init=sidecars, restartPolicy="Never")
    assert stopped(plan(a_pod, facts(a=running(), b=running(), app=ended(0)))) == ["b"]
    assert stopped(plan(a_pod, facts(a=running(), b=ended(0), app=ended(0)))) == ["a"]
    assert status(a_pod, facts(a=ended(0), b=ended(0), app=ended(0)))["phase"] == "Succeeded"


def test_a_failed_init_container_ends_a_pod_that_never_restarts():
    a_pod = pod(init=(container("one"),), restartPolicy="Never")
    known = facts(one=ended(3))
    assert plan(a_pod, known).actions == ()
    assert status(a_pod, known)["phase"] == "Failed"
    assert started(plan(pod(init=(container("one"),)), facts(one=ended(3)))) == ["one"]


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "phase"),
    [
        ("Always", 0, True, "Running"),
        ("Always", 1, True, "Running"),
        ("OnFailure", 0, False, "Succeeded"),
        ("OnFailure", 1, True, "Running"),
        ("Never", 0, False, "Succeeded"),
        ("Never", 1, False, "Failed"),
    ],
)
def test_restart_policy(policy: str, code: int, restarts: bool, phase: str):
    a_pod, known = pod(restartPolicy=policy), facts(app=ended(code))
    assert bool(started(plan(a_pod, known))) == restarts
    assert status(a_pod, known)["phase"] == phase


def test_the_first_restart_is_immediate_and_the_second_backs_off():
    first = plan(pod(), facts(app=ended(1, at_s=NOW)))
    (start,) = first.actions
    assert isinstance(start, StartContainer)
    assert (start.number, start.backoff) == (1, Backoff(10, NOW))
    known = facts(app=ended(1, number=1, at_s=NOW + 2, backoff=start.backoff))
    held = plan(pod(), known, NOW + 3)
    assert held.actions == () and held.wake_at_s == NOW + 12
    shown = status(pod(), known, NOW + 3)["containerStatuses"][0]
    assert shown["state"]["waiting"] == {
        "reason": "CrashLoopBackOff",
        "message": "back-off 10s restarting failed container=app pod=web_default(uid-1)",
    }
    assert shown["lastState"]["terminated"]["exitCode"] == 1
    assert shown["restartCount"] == 1
    assert started(plan(pod(), known, NOW + 12)) == ["app"]


def test_backoff_doubles_to_its_maximum_and_is_forgotten_after_a_quiet_time():
    history, delays, now_s = None, [], NOW
    for _ in range(8):
        now_s = compute_ready_at_s(POLICY, history, now_s)
        history = compute_next(POLICY, history, now_s, now_s)
        delays.append(history.delay_s)
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert compute_next(POLICY, history, now_s + 601, now_s + 601).delay_s == 10
    assert [format_duration(d) for d in (10, 80, 160, 300, 0.5)] == ["10s", "1m20s", "2m40s", "5m0s", "500ms"]


def test_trouble_holds_a_container_until_its_retry():
    trouble = Trouble("CreateContainerConfigError", 'configmap "c" not found', NOW + 5)
    known = facts(app=ContainerFacts(trouble=trouble))
    shown = status(pod(), known)
    assert shown["containerStatuses"][0]["state"]["waiting"] == {"reason": trouble.reason, "message": trouble.message}
    assert started(plan(pod(), known)) == []
    assert started(plan(pod(), known, NOW + 5)) == ["app"]


def test_deletion_stops_everything_and_then_removes_the_pod():
    a_pod = pod(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5})
    known = replace(facts(app=running()), deleting=True)
    assert stopped(plan(a_pod, known)) == ["app"]
    assert plan(a_pod, replace(known, containers={"app": running(stopping=True)})).actions == ()
    assert plan(a_pod, replace(known, containers={"app": ended(0)})).actions == (RemovePod(),)


def test_a_pod_past_its_deadline_fails():
    known = replace(facts(app=running()), ended=Trouble("DeadlineExceeded", "too long"))
    assert stopped(plan(pod(), known)) == ["app"]
    shown = status(pod(), replace(known, containers={"app": ended(137)}))
    assert (shown["phase"], shown["reason"], shown["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_readiness_follows_probes_and_gates():
    probed = pod(container(readinessProbe={"httpGet": {"port": 80}}))
    assert condition(status(probed, facts(app=running())), "Ready")["status"] == "False"
    assert condition(status(probed, facts(app=running(ready=True))), "Ready")["status"] == "True"
    gated = pod(readinessGates=[{"conditionType": "example.com/up"}])
    shown = status(gated, facts(app=running()))
    assert condition(shown, "ContainersReady")["status"] == "True"
    assert condition(shown, "Ready")["reason"] == "ReadinessGatesNotReady"
    assert condition(shown, "Ready")["message"] == (
        'corresponding condition of pod readiness gate "example.com/up" does not exist.'
    )


def test_transition_times_change_only_with_the_condition():
    first = status(pod(), facts(app=running()), NOW)
    later = status(pod(status=first), facts(app=running()), NOW + 100)
    assert condition(later, "Ready")["lastTransitionTime"] == condition(first, "Ready")["lastTransitionTime"]
    foreign = {"type": "example.com/up", "status": "True"}
    kept = status(pod(status={"conditions": [foreign]}), facts(app=running()))
    assert foreign in kept["conditions"]


def test_a_terminal_phase_is_final():
    a_pod = pod(restartPolicy="Never", status={"phase": "Succeeded"})
    assert status(a_pod, facts(app=ended(1)))["phase"] == "Succeeded"


codes = st.sampled_from([0, 1, 137])
kinds = st.sampled_from(["Always", "OnFailure", "Never"])


@settings(max_examples=150, deadline=None)
@given(
    policy=kinds,
    inits=st.lists(st.booleans(), max_size=3),
    mains=st.integers(1, 3),
    script=st.lists(st.tuples(st.integers(0, 5), codes, st.floats(0.1, 400)), max_size=25),
    deleted_after=st.integers(0, 40),
)
def test_any_sequence_of_events_keeps_the_rules(policy, inits, mains, script, deleted_after):
    """A pod driven by random ends of its containers: order, back-off and termination always hold."""
    init = tuple(
        container(f"i{n}", **({"restartPolicy": "Always"} if sidecar else {})) for n, sidecar in enumerate(inits)
    )
    a_pod = pod(*(container(f"c{n}") for n in range(mains)), init=init, restartPolicy=policy)
    state: dict[str, ContainerFacts] = {}
    known, now_s, phases = facts(), NOW, []
    events = list(script)
    for step in range(120):
        known = replace(known, containers=dict(state), deleting=step > deleted_after + 60)
        a_plan = plan(a_pod, known, now_s)
        shown = status(a_pod, known, now_s)
        phases.append(shown["phase"])
        a_pod.status = shown
        names = [c["name"] for c in shown.get("initContainerStatuses", []) + shown["containerStatuses"]]
        assert names == [c.name for c in a_pod.containers()]
        assert all(len(c["state"]) == 1 for c in shown["containerStatuses"])
        if RemovePod() in a_plan.actions:
            assert not any(c.is_running for c in state.values())
            break
        for action in a_plan.actions:
            if isinstance(action, StartContainer):
                _check_start(a_pod, state, action, now_s)
                previous = state.get(action.name, NOTHING).current
                attempt = Attempt(action.number, f"process://{action.name}-{action.number}", "i", "i", now_s)
                state[action.name] = ContainerFacts(current=attempt, previous=previous, backoff=action.backoff)
            elif isinstance(action, StopContainer):
                assert state[action.name].is_running
                state[action.name] = _end(state[action.name], 143, now_s)
        if a_plan.actions:
            continue
        alive = [name for name, c in state.items() if c.is_running]
        if events and alive:
            index, code, wait_s = events.pop()
            now_s += wait_s
            victim = alive[index % len(alive)]
            state[victim] = _end(state[victim], code, now_s)
        elif a_plan.wake_at_s is not None:
            assert a_plan.wake_at_s > now_s
            now_s = a_plan.wake_at_s
        else:
            now_s += 1
    else:
        raise AssertionError("the pod was deleted but never removed")
    for terminal in ("Succeeded", "Failed"):
        if terminal in phases:
            assert set(phases[phases.index(terminal) :]) == {terminal}


def _check_start(a_pod: Pod, state: dict[str, ContainerFacts], action: StartContainer, now_s: float) -> None:
    before = state.get(action.name, NOTHING)
    assert not before.is_running
    assert action.number == (0 if before.current is None else before.current.number + 1)
    if before.current is not None and before.backoff is not None and before.current.ended is not None:
        assert now_s >= compute_ready_at_s(POLICY, before.backoff, before.current.ended.finished_at_s)
    position = [c.name for c in a_pod.containers()].index(action.name)
    for earlier in a_pod.spec.init_containers[:position]:
        own = state.get(earlier.name, NOTHING).current
        assert own is not None
        if not is_sidecar(earlier):
            assert own.ended is not None and own.ended.exit_code == 0


def _end(before: ContainerFacts, code: int, now_s: float) -> ContainerFacts:
    assert before.current is not None
    finished = Ended(code, now_s, "Completed" if code == 0 else "Error")
    return replace(before, current=replace(before.current, ended=finished))
