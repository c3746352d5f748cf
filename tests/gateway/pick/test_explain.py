"""Decisions on record: the replay comes to the same, and says why."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.pick import (
    Candidate,
    Context,
    DecisionRecord,
    NamedPicker,
    NoPick,
    Pick,
    Profile,
    Query,
    Speed,
    Use,
    build_profile,
    decide,
    default_profile,
    explain,
    llm_d_profile,
)

counts = st.integers(0, 500)
candidates = st.lists(
    st.builds(
        Candidate,
        address=st.integers(1, 10**6).map(lambda n: f"10.0.0.1:{n}"),
        in_flight=counts,
        others=st.none() | counts,
        kv_cache_usage_ratio=st.none() | st.floats(0, 1),
        reachable=st.booleans(),
        last_pick=counts,
        last_cold_pick=counts,
        role=st.sampled_from(["both", "decode", "prefill"]),
        running=st.none() | counts,
        waiting=st.none() | counts,
        kv_capacity_tokens=st.none() | st.integers(1, 10**6),
        prefill_backlog_tokens=st.floats(0, 1e6),
        in_flight_tokens=st.integers(0, 10**7),
        running_adapters=st.none() | st.frozensets(st.sampled_from("xyz")),
        max_adapters=st.none() | st.integers(0, 4),
        speed=st.none() | st.builds(
            Speed, overhead_s=st.floats(0, 1), prefill_token_s=st.floats(0, 0.001), itl_base_s=st.floats(0, 1),
            itl_request_s=st.floats(0, 0.01),
        ),
        labels=st.dictionaries(st.sampled_from(["llm-d.ai/role", "gpu"]), st.sampled_from(["decode", "a"])),
    ),
    max_size=6,
    unique_by=lambda c: c.address,
)  # fmt: skip
queries = st.builds(
    Query,
    model=st.text(max_size=5),
    adapter=st.sampled_from(["", "x"]),
    prompt_tokens=st.integers(0, 100_000),
    output_tokens=st.floats(0, 1000),
    ttft_slo_s=st.none() | st.floats(0.01, 10),
    subset=st.none() | st.frozensets(st.sampled_from(["10.0.0.1", "10.0.0.2"])),
)
profiles = st.sampled_from(
    [
        default_profile(),
        llm_d_profile(),
        build_profile(
            "many",
            [
                Use("decode-filter"), Use("prefix-cache-affinity-filter"), Use("slo-headroom-tier-filter"),
                Use("token-load-scorer", 2.0), Use("lora-affinity-scorer"), Use("no-hit-lru-scorer", 0.5),
                Use("latency-scorer"), Use("weighted-random-picker", name="any"),
            ],
        ),
    ]
)  # fmt: skip


@given(profiles, queries, candidates, st.floats(0, 1, exclude_max=True), st.data())
def test_the_replay_of_a_record_comes_to_the_same(profile, query, given_candidates, draw, data):
    n = len(given_candidates)
    matched = data.draw(st.lists(st.integers(0, 100_000), min_size=n, max_size=n))
    context = Context(query, given_candidates, matched, 7.5, draw, data.draw(st.integers(0, 100_000)))
    decision = decide(profile, context)
    record = DecisionRecord.from_json(DecisionRecord.of(profile, context, decision, request_id="r", pool="p").to_json())
    assert record.context() == context
    assert record.replay() == decision
    explanation = explain(record)
    assert explanation.same
    assert explanation.sentence
    assert explanation.picked == (decision.address if isinstance(decision, Pick) else "")
    assert len(explanation.rows) == n
    assert all(len(row) == len(explanation.header) for row in explanation.rows)
    if isinstance(decision, Pick):
        assert explanation.rows[0][0] == decision.address
        assert explanation.rows[0][-1] == "picked"


def told(profile, *given_candidates, matched=None, **query):
    cs = list(given_candidates)
    context = Context(Query("m", **query), cs, matched or [0] * len(cs))
    return explain(DecisionRecord.of(profile, context, decide(profile, context)))


def test_the_sentence_names_the_rival_and_what_made_the_difference():
    a = Candidate("a:1", waiting=0, kv_cache_usage_ratio=0.5)
    b = Candidate("b:1", waiting=5, kv_cache_usage_ratio=0.5)
    explanation = told(llm_d_profile(), a, b, matched=[0, 64], prompt_tokens=640)
    assert explanation.sentence == (
        "a:1 had the best total of 2 endpoints, 3.000, before b:1 with 1.300; queue-scorer made the largest "
        "difference, +2.000"
    )
    assert explanation.header[8:] == (
        "queue-scorer x2", "kv-cache-utilization-scorer x2", "prefix-cache-scorer x3", "total", "",
    )  # fmt: skip
    assert explanation.rows[1][:4] == ("b:1", "0+?", "5", "50%")
    assert explanation.rows[1][8:] == ("0.000", "0.500", "0.100", "1.300", "")


def test_filters_say_whom_they_dropped():
    profile = build_profile("p", [Use("decode-filter")])
    explanation = told(profile, Candidate("a:1", role="prefill"), Candidate("b:1"), Candidate("c:1", reachable=False))
    assert explanation.sentence == (
        "reachable-filter dropped 1; decode-filter dropped 1; b:1 was the only endpoint left"
    )
    assert [row[-1] for row in explanation.rows] == [
        "picked",
        "dropped by decode-filter",
        "dropped by reachable-filter",
    ]
    alone = told(profile, Candidate("a:1", reachable=False))
    assert alone.sentence == (
        "reachable-filter would have left nobody and was passed over; a:1 was the only endpoint left"
    )


def test_nobody_is_explained_too():
    explanation = told(default_profile(), Candidate("a:1"), subset=frozenset())
    assert (explanation.picked, explanation.sentence) == ("", "subset-filter leaves none of 1 endpoints")
    assert explanation.rows[0][-1] == "dropped by subset-filter"
    assert told(default_profile()).sentence == "no replica is ready"


def test_equal_totals_are_the_pickers_choice():
    explanation = told(llm_d_profile(), Candidate("a:1"), Candidate("b:1"))
    assert explanation.sentence == "a:1 and b:1 had the same total of 4.000; max-score-picker chose"


def test_a_replay_that_differs_says_so():
    profile = llm_d_profile()
    context = Context(Query("m"), [Candidate("a:1", waiting=0), Candidate("b:1", waiting=9)], [0, 0])
    record = DecisionRecord.of(profile, context, Pick("b:1", (), "otherwise"))
    assert not explain(record).same


def test_a_profile_of_unknown_parts_cannot_be_recorded():
    profile = Profile("mine", (), (), NamedPicker("first", lambda context, totals: [0]))
    with pytest.raises(ValueError, match="'mine' was put together by hand"):
        DecisionRecord.of(profile, Context(Query("m"), [], []), NoPick("x", "y"))
    with pytest.raises(msgspec.DecodeError):
        DecisionRecord.from_json(b"{}")
