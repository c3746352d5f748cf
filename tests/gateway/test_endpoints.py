"""The registry: who serves a name, who is told of what, and what a change costs."""

import logging
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.endpoints import Endpoint, Pool, Registry, Rewrite

A, B = Endpoint("127.0.0.1:1"), Endpoint("127.0.0.1:2")


def test_the_oldest_pool_keeps_a_model_name_and_passes_it_on(caplog):
    registry = Registry()
    registry.set_pool(Pool("ns/young", ("m", "n"), (A,), age_key="2026-01-02"))
    registry.set_pool(Pool("ns/old", ("m",), (B,), age_key="2026-01-01"))
    assert registry.pool_of("m").key == "ns/old"
    assert registry.pool_of("n").key == "ns/young"
    assert registry.shadowed == {"m": ("ns/young",)}
    assert "not the newer ns/young" in caplog.text
    registry.remove_pool("ns/old")
    assert registry.pool_of("m").key == "ns/young"
    assert registry.shadowed == {}
    assert list(registry.models) == ["m", "n"]


def test_listeners_hear_which_addresses_came_and_went_of_all_pools():
    registry, heard = Registry(), []
    registry.on_change(heard.append)
    registry.set_pool(Pool("ns/p", ("m",), (A, B)))
    registry.set_pool(Pool("ns/q", ("n",), (A,)))
    assert set(registry.pools_at(A.address)) == {"ns/p", "ns/q"}
    registry.set_pool(Pool("ns/p", ("m",), ()))
    registry.set_pool(Pool("ns/p", ("m",), ()))
    registry.remove_pool("ns/q")
    registry.remove_pool("ns/q")
    assert [(c.key, set(c.came), set(c.gone)) for c in heard] == [
        ("ns/p", {A.address, B.address}, set()),
        ("ns/q", set(), set()),
        ("ns/p", set(), {B.address}),
        ("ns/q", set(), {A.address}),
    ]
    assert heard[0].before is None
    assert heard[-1].now is None
    assert registry.addresses() == frozenset()
    assert registry.pools_at(A.address) == ()


def test_which_pool_a_foreign_gateway_means():
    registry, v6 = Registry(), Endpoint("[fd00::1]:80")
    registry.set_pool(Pool("ns/old", ("m",), (A, v6), age_key="1", rewrites=(Rewrite(("x",), (("m", 1),)),)))
    registry.set_pool(Pool("ns/new", ("n",), (A, B), age_key="2"))
    assert registry.pool_at((A.address,), "n").key == "ns/new"
    assert registry.pool_at((A.address,), "x").key == "ns/old"
    assert registry.pool_at((A.address,), "unknown").key == "ns/old"
    assert registry.pool_at(("10.9.9.9:1", B.address), "m").key == "ns/new"
    assert registry.pool_at(("fd00::1",), "n").key == "ns/old"
    assert registry.pool_at(("127.0.0.1",), "n").key == "ns/new"
    assert registry.pool_at((), "m") is None
    registry.remove_pool("ns/new")
    registry.remove_pool("ns/old")
    assert registry.pool_at(("127.0.0.1", "fd00::1", A.address), "m") is None
    assert registry._on_host == registry._at == {}


def test_a_pool_has_its_addresses_at_hand():
    assert Pool("ns/p", ("m",), (A, B)).addresses == (A.address, B.address)


def test_problems_of_a_pool_are_said_once(caplog):
    caplog.set_level(logging.WARNING)
    registry = Registry()
    registry.set_pool(Pool("ns/p", ("m",), problems=("no such runtime",)))
    registry.set_pool(Pool("ns/p", ("m",), (A,), problems=("no such runtime",)))
    assert caplog.text.count("no such runtime") == 1


def test_configurations_and_who_hears_of_them():
    registry, heard = Registry(), []
    registry.on_config(heard.append)
    registry.set_config("ns/c/config.yaml", "a")
    registry.set_config("ns/c/config.yaml", "a")
    registry.set_config("ns/c/config.yaml", "b")
    assert registry.configs == {"ns/c/config.yaml": "b"}
    registry.set_config("ns/c/config.yaml", None)
    registry.set_config("ns/c/config.yaml", None)
    assert heard == ["ns/c/config.yaml"] * 3


_names = st.lists(st.sampled_from("mnopq"), max_size=3, unique=True).map(tuple)
_pools = st.builds(
    Pool,
    key=st.sampled_from(["ns/" + c for c in string.ascii_lowercase[:5]]),
    models=_names,
    endpoints=st.lists(st.sampled_from([Endpoint(f"h:{i}") for i in range(4)]), max_size=3, unique=True).map(tuple),
    age_key=st.sampled_from("123"),
    adapters=_names,
    rewrites=st.lists(st.builds(Rewrite, models=_names, targets=st.just((("m", 1),))), max_size=2).map(tuple),
)


@given(st.lists(st.one_of(_pools, st.sampled_from(["ns/a", "ns/b", "ns/c"])), max_size=12))
def test_changes_lead_to_what_the_last_pools_alone_would(steps):
    changed, had = Registry(), set()
    told = []
    changed.on_change(told.append)
    for step in steps:
        if isinstance(step, str):
            changed.remove_pool(step)
        else:
            changed.set_pool(step)
        if told:
            had = (had - told[-1].gone) | told[-1].came
            assert had == changed.addresses()
    fresh = Registry()
    for pool in changed.pools.values():
        fresh.set_pool(pool)
    assert changed.models == fresh.models
    assert changed.shadowed == fresh.shadowed
    for name in "mnopqz":
        assert changed.pool_of(name) == fresh.pool_of(name)
    oldest = sorted(changed.pools.values(), key=lambda p: (p.age_key, p.key))
    for name in "mnopq":
        listing = [p.key for p in oldest if name in p.models or name in p.adapters]
        if listing:
            assert changed.pool_of(name).key == listing[0]
    assert {a for p in changed.pools.values() for a in p.addresses} == changed.addresses()


@pytest.mark.parametrize("others", [0, 1000])
def test_a_change_does_not_look_at_other_pools(others):
    """Counted in look-ups of names, not in time."""
    registry, looked = Registry(), []
    for i in range(others):
        registry.set_pool(Pool(f"ns/other-{i}", (f"model-{i}",), (Endpoint(f"10.0.{i // 250}.{i % 250}:80"),)))

    class Counted(dict):
        def __iter__(self):
            looked.append("all")
            return super().__iter__()

        def items(self):
            looked.append("all")
            return super().items()

        def values(self):
            looked.append("all")
            return super().values()

    registry._pools = Counted(registry._pools)
    registry._at = Counted(registry._at)
    registry.names._homes = Counted(registry.names._homes)
    registry.names._by_name = Counted(registry.names._by_name)
    registry.set_pool(Pool("ns/p", ("m",), (A, B)))
    registry.set_pool(Pool("ns/p", ("m", "n"), (A,)))
    registry.remove_pool("ns/p")
    assert looked == []
