"""The planner against every state of up to three replicas of two generations, and all that follows from it in a cluster
that works. Failures and changed specs need no path of their own: what they lead to is one of these states, and bounds
and convergence are looked at from each of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations_with_replacement

import pytest

from fairlead.serving.actions import Create, Delete, Drain, Step, Undrain
from fairlead.serving.rollout import Intent, RoleIntent, plan_rollout
from serving.rollout.states import (
    CONDITIONS,
    NEW,
    OLD,
    Atom,
    State,
    carried_out,
    helpful_events,
    snapshot_of,
)

UNITS: tuple[Atom, ...] = tuple(("unified", rev, c) for rev in (OLD, NEW) for c in CONDITIONS)


def all_states(units: tuple[Atom, ...], most: int) -> Iterable[State]:
    for number in range(most + 1):
        yield from combinations_with_replacement(sorted(units), number)


class Explorer:
    """Walks the states that follow from one another, each once."""

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.done: dict[State, bool] = {}

    def settle(self, state: State) -> State:
        """All steps that the planner takes while the cluster stands still."""
        for _ in range(4):
            snapshot, atoms = snapshot_of(state)
            step = plan_rollout(self.intent, snapshot)
            if not step.actions:
                return state
            self.check(state, atoms, step)
            state = carried_out(state, atoms, step)
        raise AssertionError(f"{self.intent}: the planner does not come to rest at {state}")

    def check(self, state: State, atoms: dict[str, Atom], step: Step) -> None:
        told = [a.replica for a in step.actions if isinstance(a, (Drain, Delete, Undrain))]
        assert len(told) == len(set(told)), step
        after = carried_out(state, atoms, step)
        for role in self.intent.roles:
            least = role.desired - role.unavailable
            serving = _serving(state, role.role)
            lost = sum(isinstance(a, Drain) and atoms[a.replica][0] == role.role for a in step.actions)
            assert serving - lost >= min(serving, least), (state, step)
            if any(isinstance(a, (Create, Undrain)) for a in step.actions):
                assert _counted(after, role.role) <= role.desired + max(role.surge, not role.unavailable), (state, step)
        for action in step.actions:
            if isinstance(action, Delete):
                assert "ready" not in atoms[action.replica][2], (state, step)
            if isinstance(action, Drain):
                assert "ready" in atoms[action.replica][2], (state, step)

    def converges(self, start: State) -> None:
        """However a working cluster goes on, it ends as wanted: no cycles, and no other ends."""
        stack: list[tuple[State, list[State] | None]] = [(start, None)]
        path: set[State] = set()
        while stack:
            state, nexts = stack.pop()
            if nexts is None:
                if self.done.get(state):
                    continue
                assert state not in path, f"{self.intent}: comes back to {state}"
                settled = self.settle(state)
                nexts = list(helpful_events(settled))
                if not nexts:
                    self.check_end(settled)
                path.add(state)
            if not nexts:
                path.discard(state)
                self.done[state] = True
                continue
            stack.append((state, nexts[1:]))
            stack.append((nexts[0], None))

    def check_end(self, state: State) -> None:
        wanted = tuple(
            sorted((r.role, self.intent.target, "ready") for r in self.intent.roles for _ in range(r.desired))
        )
        assert state == wanted, f"{self.intent}: ends at {state}"


def _serving(state: State, role: str) -> int:
    return sum(a[0] == role and a[2] in ("ready", "broken-ready") for a in state)


def _counted(state: State, role: str) -> int:
    return sum(a[0] == role and a[2] not in ("deleting", "draining") for a in state)


@pytest.mark.parametrize("desired", [0, 1, 2, 3])
@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (0, 1), (1, 1), (3, 0)])
@pytest.mark.parametrize("stable", [OLD, ""])
def test_bounds_hold_and_every_state_comes_to_rest(desired: int, surge: int, unavailable: int, stable: str) -> None:
    role = RoleIntent("unified", desired, surge, min(unavailable, desired) if surge else unavailable)
    explorer = Explorer(Intent("s", NEW, (role,), stable=stable))
    for state in all_states(UNITS, 3):
        explorer.converges(state)
