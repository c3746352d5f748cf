"""The replica planner: bounds hold at every step and every rollout ends."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.plan import MAX_SURGE, Replica, Step, compute_step

replicas = st.lists(
    st.builds(Replica, name=st.just(""), updated=st.booleans(), ready=st.booleans(), deleting=st.booleans(),
              failed=st.booleans(), created_s=st.floats(0, 100)),
    max_size=7,
).map(lambda rs: [replace(r, name=f"r{i}") for i, r in enumerate(rs)])  # fmt: skip


def play(desired: int, pods: list[Replica], steps: int = 100) -> tuple[list[Replica], int]:
    """Carry steps out as a cluster would: deleted pods vanish, created ones become ready one step later."""
    for n in range(steps):
        step = compute_step(desired, pods)
        if step == Step() and all((p.ready or not p.updated) and not p.deleting for p in pods):
            return pods, n
        pods = [replace(p, ready=p.ready or p.updated) for p in pods if p.name not in step.delete and not p.deleting]
        pods += [Replica(f"n{n}-{i}", updated=True, ready=False, created_s=1000.0 + n) for i in range(step.create)]
    raise AssertionError("the rollout did not end")


@given(st.integers(0, 5), replicas)
def test_every_rollout_ends_with_the_desired_updated_replicas(desired: int, pods: list[Replica]) -> None:
    final, _ = play(desired, pods)
    assert len(final) == desired
    assert all(r.updated and r.ready for r in final)


@given(st.integers(0, 5), replicas)
def test_ready_replicas_are_never_deleted_below_desired(desired: int, pods: list[Replica]) -> None:
    step = compute_step(desired, pods)
    ready = [r for r in pods if r.ready and not r.deleting and not r.failed]
    updated = [r for r in pods if r.updated and not r.deleting and not r.failed]
    kept = [r for r in ready if r.name not in step.delete]
    if len(updated) <= desired:
        assert len(kept) >= min(desired, len(ready))


@given(st.integers(0, 5), replicas)
def test_surge_stays_bounded(desired: int, pods: list[Replica]) -> None:
    step = compute_step(desired, pods)
    alive = [r for r in pods if not r.deleting and not r.failed]
    if step.create:
        assert len(alive) + step.create <= desired + MAX_SURGE


def test_a_changed_template_is_rolled_one_by_one() -> None:
    old = [Replica("a", updated=False, ready=True), Replica("b", updated=False, ready=True)]
    assert compute_step(2, old) == Step(1, (), "replacing 2 replica(s) of an older template")
    waiting = [*old, Replica("c", updated=True, ready=False)]
    assert compute_step(2, waiting) == Step()
    ready = [*old, Replica("c", updated=True, ready=True)]
    assert len(compute_step(2, ready).delete) == 1


def test_the_youngest_unready_replica_goes_first_on_scale_down() -> None:
    pods = [
        Replica("old-ready", updated=True, ready=True, created_s=1),
        Replica("new-ready", updated=True, ready=True, created_s=9),
        Replica("starting", updated=True, ready=False, created_s=5),
    ]
    assert compute_step(2, pods).delete == ("starting",)
    assert compute_step(1, pods).delete == ("starting", "new-ready")
