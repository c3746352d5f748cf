"""Plugin types and profiles built from data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick import (
    PLUGIN_TYPES,
    BadPlugin,
    Candidate,
    Context,
    NoPick,
    Query,
    Step,
    Use,
    build_profile,
    decide,
    default_profile,
    llm_d_profile,
)

KNOWN_ELSEWHERE = {
    "active-request-scorer", "by-label", "by-label-selector", "context-length-aware", "decode-filter", "encode-filter",
    "kv-cache-utilization-scorer", "label-selector-filter", "latency-scorer", "load-aware-scorer",
    "lora-affinity-scorer", "max-score-picker", "no-hit-lru-scorer", "prefill-filter", "prefix-cache-affinity-filter",
    "prefix-cache-scorer", "queue-scorer", "random-picker", "running-requests-size-scorer", "session-affinity-filter",
    "session-affinity-scorer", "slo-headroom-tier-filter", "token-load-scorer", "utilization-filter",
    "weighted-random-picker",
}  # fmt: skip
OURS = {"adapter-filter", "least-cost-scorer", "reachable-filter", "room-filter", "subset-filter"}


def test_the_types_that_configurations_name_are_there():
    assert set(PLUGIN_TYPES) == KNOWN_ELSEWHERE | OURS


@pytest.mark.parametrize("name", sorted(PLUGIN_TYPES))
def test_every_type_has_a_name_a_docstring_and_a_part_to_play(name):
    plugin = PLUGIN_TYPES[name]
    assert plugin.name == name
    assert any((plugin.filter, plugin.scorer, plugin.picker))
    assert plugin.parameters.__doc__


NEEDED = {
    "by-label": {"label": "gpu", "allowsNoLabel": True},
    "utilization-filter": {"conditions": [{"metric": "waiting-queue", "maxValue": 10}]},
}
candidates = st.lists(
    st.builds(Candidate, address=st.integers(1, 10**6).map(str), waiting=st.none() | st.integers(0, 20)),
    min_size=1, max_size=6, unique_by=lambda c: c.address,
)  # fmt: skip


@given(st.sets(st.sampled_from(sorted(PLUGIN_TYPES)), max_size=8), candidates, st.floats(0, 1, exclude_max=True))
def test_any_plugins_together_decide_and_every_part_is_told(names, given_candidates, draw):
    pickers = sorted(n for n in names if PLUGIN_TYPES[n].picker)
    used = [n for n in sorted(names) if n not in pickers[1:]]
    profile = build_profile("p", [Use(n, parameters=NEEDED.get(n, {})) for n in used])
    steps: list[Step] = []
    decision = decide(
        profile, Context(Query("m", prompt_tokens=50), given_candidates, [0] * len(given_candidates), 0.0, draw), steps
    )
    if isinstance(decision, NoPick):
        return
    assert decision.address in {c.address for c in given_candidates}
    assert decision.address not in decision.fallbacks
    told = {step.plugin for step in steps}
    assert told >= {n for n in used if not PLUGIN_TYPES[n].picker}
    for step in steps:
        if step.kind == "scorer":
            assert all(0.0 <= v <= 1.0 for v in step.values.values())


def test_every_profile_begins_with_the_guards_once():
    guards = ["subset-filter", "adapter-filter", "reachable-filter"]
    for profile in (default_profile(), llm_d_profile(), build_profile("p", [])):
        assert [f.name for f in profile.filters] == guards
    assert [f.name for f in build_profile("p", [Use("reachable-filter")]).filters] == guards


def test_what_a_profile_was_built_of_builds_it_again():
    uses = [Use("queue-scorer", 2.0, name="q"), Use("prefix-cache-scorer", parameters={"matchLengthWeight": 0.5})]
    profile = build_profile("p", uses)
    assert [use.type for use in profile.uses] == [
        "subset-filter", "adapter-filter", "reachable-filter", "queue-scorer", "prefix-cache-scorer",
        "max-score-picker",
    ]  # fmt: skip
    again = build_profile("p", profile.uses, guards=())
    assert again.uses == profile.uses
    assert [(s.name, s.weight) for s in again.scorers] == [("q", 2.0), ("prefix-cache-scorer", 1.0)]


@pytest.mark.parametrize(
    ("uses", "told"),
    [
        ([Use("nonsense")], "unknown plugin type 'nonsense': known are active-request-scorer"),
        ([Use("queue-scorer", parameters={"x": 1})], "parameters of queue-scorer: .*unknown field `x`; it knows: none"),
        ([Use("random-picker"), Use("max-score-picker")], r"2 pickers \(random-picker, max-score-picker\): keep one"),
    ],
)
def test_what_cannot_be_built_is_named(uses, told):
    with pytest.raises(BadPlugin, match=told):
        build_profile("p", uses)
