"""A cache under any sequence of fetches, pods, pins and time: its folder never takes more than its capacity, what is
pinned or in use stays, and what leaves is what was unused for longest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairlead.clock import VirtualClock
from fairlead.serving.store.cache import holds, locks
from fairlead.serving.store.cache.cache import Full
from serving.store.cache.models import cache_at, fetch_now, model

NAMES = ["a", "b", "c", "d", "e"]
SIZES = {"a": 50_000, "b": 120_000, "c": 200_000, "d": 90_000, "e": 700_000}
CAPACITY = 600_000
_QUICK_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="fairlead-cache-", dir=_QUICK_DISK))
        self.clock = VirtualClock()
        self.cache = cache_at(self.root / "cache", CAPACITY, self.clock)
        self.sources = {name: model(self.root / name, SIZES[name], name) for name in NAMES}
        self.used: dict[str, float] = {}
        self.pods: dict[str, tuple[str, int]] = {}
        self.pinned: set[str] = set()
        self.number = 0

    def here(self) -> set[str]:
        return {Path(m.record.source).name for m in self.cache.models()}

    def digest(self, name: str) -> str:
        return next(m.record.digest for m in self.cache.models() if m.record.source == self.sources[name])

    def _after_fetch(self, name: str, before: set[str]) -> None:
        left = before - self.here() - {name}
        kept = {n for n, _ in self.pods.values()} | self.pinned
        assert not left & kept, "what is used or pinned has left"
        stayed = (self.here() - {name}) - kept
        assert all(self.used[gone] <= self.used[stays] for gone in left for stays in stayed), "not the longest unused"

    @rule(name=st.sampled_from(NAMES))
    def fetch(self, name: str) -> None:
        asyncio.run(self.clock.advance(1))
        before = self.here()
        try:
            found = fetch_now(self.cache, self.sources[name])
        except Full:
            assert self.here() == before, "nothing leaves for a model that does not fit"
            return
        self.used[name] = self.clock.wall_s()
        assert (found.path / "model.safetensors").stat().st_size == SIZES[name]
        assert found.was_here == (name in before)
        self._after_fetch(name, before)

    @rule(name=st.sampled_from(NAMES))
    def start_pod(self, name: str) -> None:
        asyncio.run(self.clock.advance(1))
        uid = f"pod-{self.number}"
        self.number += 1
        before = self.here()
        with contextlib.suppress(Full):
            fetch_now(self.cache, self.sources[name], uid)
            self.used[name] = self.clock.wall_s()
            lock = locks.take(self.cache.places.pod(uid) / "lock", 1)
            self.pods[uid] = (name, lock)
            self._after_fetch(name, before)

    @precondition(lambda self: bool(self.pods))
    @rule(data=st.data())
    def end_pod(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.pods)))
        _, lock = self.pods.pop(uid)
        shutil.rmtree(self.cache.places.pod(uid))
        os.close(lock)

    @rule(data=st.data(), is_pinned=st.booleans())
    def pin(self, data: st.DataObject, is_pinned: bool) -> None:
        if here := sorted(self.here()):
            name = data.draw(st.sampled_from(here))
            self.cache.pin(self.digest(name), is_pinned)
            (self.pinned.add if is_pinned else self.pinned.discard)(name)

    @rule(to_bytes=st.integers(0, CAPACITY))
    def prune(self, to_bytes: int) -> None:
        self.cache.prune(to_bytes)

    @invariant()
    def capacity_is_kept(self) -> None:
        # Less than what `du` may count for empty folders and the cache's own lock.
        taken = sum(p.stat().st_blocks * 512 for p in self.cache.places.root.rglob("*") if p.is_file())
        assert taken <= CAPACITY
        assert sum(m.record.bytes for m in self.cache.models()) <= CAPACITY

    @invariant()
    def what_is_used_or_pinned_is_whole(self) -> None:
        here = self.here()
        assert self.pinned <= here
        for uid, (name, _) in self.pods.items():
            assert name in here
            link = self.cache.places.pod(uid) / "model"
            assert (link / "model.safetensors").stat().st_size == SIZES[name]

    def teardown(self) -> None:
        for _, lock in self.pods.values():
            os.close(lock)
        shutil.rmtree(self.root)


CacheMachine.TestCase.settings = settings(
    max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCache = CacheMachine.TestCase


def test_a_pod_that_was_killed_counts_for_a_while(tmp_path: Path) -> None:
    clock = VirtualClock()
    cache = cache_at(tmp_path / "cache", clock=clock)
    source = model(tmp_path / "m")
    fetch_now(cache, source, "pod-1")
    with cache.changing():
        assert [len(o) for o in holds.users(cache.places, clock.wall_s()).values()] == [1]
    asyncio.run(clock.advance(holds.GRACE_S + 1))
    with cache.changing():
        assert holds.users(cache.places, clock.wall_s(), own_uid="pod-1"), "the pod on whose behalf it runs is alive"
        assert not holds.users(cache.places, clock.wall_s())
    assert not cache.places.pod("pod-1").exists()


@pytest.mark.parametrize("name", ["../x", "", "/etc", "lock", "a/b", ".hidden"])
def test_names_of_pods_and_slots_stay_inside(tmp_path: Path, name: str) -> None:
    cache = cache_at(tmp_path / "cache")
    with pytest.raises(ValueError, match="is no"):
        holds.link(cache.places, "pod-1", name, "x")
    if name != "lock":
        with pytest.raises(ValueError, match="is no"):
            cache.places.pod(name)
