"""Made content, counted by a real tokenizer: lengths, prefixes, conversations, agents, adapters."""

import random
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.bench.config import SyntheticContent, Tokenizer, ToolUse
from fairlead.bench.content.sessions import sessions
from fairlead.bench.content.shares import Shares
from fairlead.bench.content.tokens import tokens_of
from fairlead.workload import Adapters, Conversations, Fixed, LogNormal, Prefixes, Uniform


def first(content, tokens, count, seed=0):
    return list(islice(sessions(content, tokens, seed), count))


@pytest.fixture(params=["byte_level", "word_piece", "unigram", "melting"])
def exact(request, tokenizer_folders):
    return tokens_of(Tokenizer(source=str(tokenizer_folders[request.param])), "completions")


def test_prompts_have_the_lengths_that_were_drawn_special_tokens_included(exact):
    content = SyntheticContent(prompt_tokens=Uniform(3, 200), output_tokens=Fixed(9))
    drawn = first(content, exact, 60)
    for session in drawn:
        (turn,) = session.turns
        assert exact.count(turn.text) + exact.added == turn.prompt_tokens
        assert turn.output_tokens == 9
    assert all(3 <= s.turns[0].prompt_tokens <= 200 for s in drawn)
    assert first(SyntheticContent(prompt_tokens=Fixed(64)), exact, 1)[0].turns[0].prompt_tokens == 64


def test_prefixes_form_a_tree_of_the_same_texts_and_count_on_top(exact):
    levels = (Prefixes(count=3, tokens=Fixed(100)), Prefixes(count=2, tokens=Uniform(20, 60), zipf=1.0))
    content = SyntheticContent(prompt_tokens=Fixed(32), output_tokens=Fixed(4), prefixes=levels)
    drawn = first(content, exact, 80)
    assert 4 <= len({s.shared for s in drawn}) <= 6
    for session in drawn:
        counted = exact.count(session.shared + session.turns[0].text) + exact.added
        assert counted == session.turns[0].prompt_tokens
        if exact.additive:
            assert 152 <= counted <= 192
    beginnings = {s.shared[:100] for s in drawn}
    assert len(beginnings) == 3  # the second level is under the first
    assert {s.shared for s in first(content, exact, 80, seed=1)}.isdisjoint({s.shared for s in drawn})


def test_conversations_count_all_that_was_said_before(tokenizer_folders):
    tokens = tokens_of(Tokenizer(source=str(tokenizer_folders["byte_level"])))
    talk = Conversations(turns=Fixed(4), pause_s=5.0)
    content = SyntheticContent(prompt_tokens=Fixed(10), output_tokens=Fixed(7), conversations=talk)
    drawn = first(content, tokens, 50)
    for session in drawn:
        assert [turn.prompt_tokens for turn in session.turns] == [10, 27, 44, 61]
        assert session.turns[0].pause_s == 0 and all(turn.pause_s > 0 for turn in session.turns[1:])
        assert [turn.role for turn in session.turns] == ["user"] * 4
    pauses = [turn.pause_s for session in drawn for turn in session.turns[1:]]
    assert 3.5 < sum(pauses) / len(pauses) < 6.5


def test_agents_call_tools_whose_definitions_stand_in_front_of_all(tokenizer_folders):
    tokens = tokens_of(Tokenizer(source=str(tokenizer_folders["unigram"])))
    tools = ToolUse(calls=Fixed(2), result_tokens=Fixed(30), seconds=0.5, definition_tokens=Fixed(80))
    talk = Conversations(turns=Fixed(2), pause_s=1.0)
    content = SyntheticContent(prompt_tokens=Fixed(10), output_tokens=Fixed(5), tools=tools, conversations=talk)
    drawn = first(content, tokens, 5)
    for session in drawn:
        assert [turn.role for turn in session.turns] == ["user", "tool", "tool"] * 2
        assert [turn.prompt_tokens for turn in session.turns] == [90, 125, 160, 175, 210, 245]
    assert len({s.shared for s in drawn}) == 1
    assert tokens.count(drawn[0].shared) == 80


def test_adapters_have_their_shares_over_every_stretch():
    weights = {"": 2.0, "a": 5.0, "b": 2.0, "c": 1.0}
    content = SyntheticContent(prompt_tokens=Fixed(1), output_tokens=Fixed(1), adapter_weights=weights)
    names = [s.adapter for s in first(content, tokens_of(Tokenizer()), 3000)]
    for begin in range(0, 3000, 500):
        counted = Counter(names[begin : begin + 500])
        for name, weight in weights.items():
            assert abs(counted[name] - weight * 50) <= 2
    zipf = SyntheticContent(prompt_tokens=Fixed(1), adapters=Adapters(count=3, zipf=1.0, base_share=0.2))
    counted = Counter(s.adapter for s in first(zipf, tokens_of(Tokenizer()), 1000))
    assert counted[""] == pytest.approx(200, abs=2)
    assert counted["lora-0"] == pytest.approx(800 * 6 / 11, abs=2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.integers(1, 400), st.integers())
def test_shares_stay_within_two_turns_of_their_due(weights, turns, seed):
    shares = Shares(weights, random.Random(seed))
    counted = Counter(shares.next() for _ in range(turns))
    for at, weight in enumerate(weights):
        assert abs(counted[at] - turns * weight / sum(weights)) <= 1 + len(weights) / 2


def test_two_streams_of_shares_do_not_fall_into_step():
    one, two = Shares([1, 1], random.Random(1)), Shares([1, 1], random.Random(2))
    together = sum(one.next() == two.next() for _ in range(2000))
    assert 800 < together < 1200


def test_the_same_seed_gives_the_same_and_other_lengths_leave_adapters_as_they_were():
    tokens = tokens_of(Tokenizer())
    content = SyntheticContent(prompt_tokens=LogNormal(80.0), adapters=Adapters(count=5))
    assert first(content, tokens, 20) == first(content, tokens, 20) != first(content, tokens, 20, seed=1)
    longer = SyntheticContent(prompt_tokens=LogNormal(900.0), adapters=Adapters(count=5))
    assert [s.adapter for s in first(longer, tokens, 20)] == [s.adapter for s in first(content, tokens, 20)]
