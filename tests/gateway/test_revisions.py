"""Engines of different revisions never share a request: whoever computes a prompt or encodes its pictures is of the
revision of the engine that answers, whatever is there during a rollout."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.assembly import Assembly
from fairlead.gateway.disaggregation import spread_encoders
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.gateway.membership import REVISION_LABEL
from fairlead.gateway.pick import NoPick, Query, decide
from fairlead.gateway.plan import PoolSettings, plan_of

ROLES = ("prefill", "decode", "encode", "both")


def _pool(*engines):
    """Engines as (role, revision)."""
    return Pool(
        "ns/tiny",
        ("tiny",),
        tuple(
            Endpoint(f"10.0.0.{n}:80", f"ns/{n}", role, {REVISION_LABEL: revision} if revision else {})
            for n, (role, revision) in enumerate(engines)
        ),
    )


def _plan(*engines):
    return plan_of(_pool(*engines), PoolSettings())


def _revision(plan, address):
    return plan.by_address[address].labels.get(REVISION_LABEL, "")


@given(st.lists(st.tuples(st.sampled_from(ROLES), st.sampled_from(["old", "new", "newer", ""])), max_size=12))
def test_every_pair_is_of_one_revision(engines):
    plan = _plan(*engines)
    for address in plan.answering:
        own = _revision(plan, address)
        beside = plan.beside(address)
        for other in (*beside.prefilling, *beside.encoding):
            assert not own or _revision(plan, other) in ("", own)


@given(
    st.lists(st.tuples(st.sampled_from(ROLES), st.sampled_from(["old", "new"])), min_size=1, max_size=10),
    st.integers(0, 10_000),
)
def test_whatever_is_picked_goes_with_what_answers(engines, seed):
    parts, draw = Assembly(random=Random(seed)), Random(seed)
    parts.registry.set_pool(_pool(*engines))
    plan = parts.plans.get("ns/tiny")
    context = parts.picker.context(Query("tiny", prompt_tokens=100), None, plan.answering, 0.0, draw.random())
    pick = decide(plan.settings.profile, context)
    if isinstance(pick, NoPick):
        assert not plan.answering
        return
    pick = plan.kept_apart(pick)
    own = _revision(plan, pick.address)
    beside = plan.beside(pick.address)
    if plan.is_split:
        others = (*pick.fallbacks, *spread_encoders(beside.encoding, 3, draw.random()))
        assert {_revision(plan, a) for a in others} <= {own}
    found = parts.picker.context(Query("tiny", prompt_tokens=100), None, beside.prefilling, 0.0, draw.random())
    prefill = decide(plan.settings.profile, found)
    if not isinstance(prefill, NoPick):
        assert {_revision(plan, a) for a in (prefill.address, *prefill.fallbacks)} <= {own}


def test_one_revision_needs_no_telling_apart():
    assert _plan(("prefill", "old"), ("decode", "old")).revisions == {}
    assert _plan(("both", "old"), ("both", "new")).revisions == {}
    plan = _plan(("prefill", ""), ("decode", ""))
    assert plan.beside("10.0.0.1:80").prefilling == ("10.0.0.0:80",)


def test_a_decode_engine_whose_revision_has_no_prefill_engine_yet_waits_for_it():
    plan = _plan(("prefill", "old"), ("decode", "old"), ("decode", "new"))
    assert plan.answering == ("10.0.0.1:80",)
    assert _plan(("prefill", "old"), ("decode", "new"), ("prefill", "old")).answering == ("10.0.0.1:80",)
    assert len(_plan(("prefill", "old"), ("decode", "old"), ("decode", "new"), ("prefill", "new")).answering) == 2


def test_engines_that_do_not_say_go_with_all():
    plan = _plan(("prefill", ""), ("decode", "old"), ("decode", "new"), ("prefill", "new"))
    assert plan.beside("10.0.0.1:80").prefilling == ("10.0.0.0:80",)
    assert plan.beside("10.0.0.2:80").prefilling == ("10.0.0.0:80", "10.0.0.3:80")
