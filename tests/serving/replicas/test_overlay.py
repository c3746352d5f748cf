"""The overlay of our own writes against a plain one that looks at everything each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.objects import Pod
from fairlead.kube.objects.meta import ObjectMeta, OwnerReference
from fairlead.serving.replicas.overlay import FORGET_S, Overlay

PODS = st.integers(0, 4)
OWNERS = st.sampled_from(["", "a", "b"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("made"), PODS, OWNERS),
        st.tuples(st.just("seen"), PODS, OWNERS),
        st.tuples(st.just("changed"), PODS, st.just("")),
        st.tuples(st.just("wait"), st.integers(1, int(FORGET_S) + 5), st.just("")),
    ),
    max_size=25,
)


def _pod(uid: str, owner: str) -> Pod:
    owners = [OwnerReference(api_version="v1", kind="K", name=owner, uid=owner, controller=True)] if owner else []
    return Pod(metadata=ObjectMeta(name=f"p-{uid}", namespace="n", uid=uid, owner_references=owners))


@given(STEPS)
def test_what_was_made_is_shown_until_it_is_seen_or_forgotten(steps: list[tuple[str, int, str]]) -> None:
    overlay, now_s = Overlay(), 0.0
    made: dict[str, tuple[float, str]] = {}
    changed: dict[str, float] = {}
    for what, number, owner in steps:
        uid = str(number)
        if what == "made":
            overlay.made(_pod(uid, owner), now_s)
            made[uid] = (now_s, owner)
        elif what == "changed":
            overlay.changed(uid, now_s, labels={"changed": "yes"})
            changed[uid] = now_s
        elif what == "wait":
            now_s += number
        seen = [_pod(uid, owner)] if what == "seen" else []
        shown = next(iter(overlay.over(seen, now_s)), None)
        made = {u: m for u, m in made.items() if now_s - m[0] <= FORGET_S}
        changed = {u: at_s for u, at_s in changed.items() if now_s - at_s <= FORGET_S}
        if what == "seen":
            made.pop(uid, None)
            assert shown is not None
            assert shown.metadata.labels == ({"changed": "yes"} if uid in changed else {})
        for whose in ("", "a", "b"):
            unseen = overlay.unseen(whose)
            assert sorted(p.metadata.uid for p in unseen) == sorted(u for u, m in made.items() if m[1] == whose)
            assert all(("changed" in p.metadata.labels) == (p.metadata.uid in changed) for p in unseen)
        assert {u for u in map(str, range(5)) if overlay.has(u)} == made.keys() | changed.keys()
