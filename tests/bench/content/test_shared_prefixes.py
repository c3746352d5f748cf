"""What a prefix cache sees: prompts share tokens exactly as far as the configuration, or the ids of a trace, say."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.bench.config import SyntheticContent, Tokenizer, TraceContent
from fairlead.bench.content.alphabet import load_tokenizer
from fairlead.bench.content.sessions import sessions
from fairlead.bench.content.tokens import tokens_of
from fairlead.workload import Fixed, Prefixes

BY_CHANCE = 12
"""Words of random texts that may be alike before the first that is not: of 16 words or more, one in 16^12 is longer."""
BLOCK = 32


@pytest.fixture(scope="module", params=["byte_level", "word_piece", "unigram"])
def counted(request, tokenizer_folders, tmp_path_factory):
    """Tokens of a family, and how a server tokenises."""
    monkey = pytest.MonkeyPatch()
    monkey.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    folder = tokenizer_folders[request.param]
    server = load_tokenizer((folder / "tokenizer.json").read_bytes())
    yield (
        tokens_of(Tokenizer(source=str(folder)), "chat"),
        lambda text: server.encode(text, add_special_tokens=False).ids,
    )
    monkey.undo()


def common(one, other):
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 90)), min_size=1, max_size=3),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
def test_a_tree_shares_the_tokens_of_the_levels_that_two_paths_have_in_common(counted, levels, fresh, seed):
    tokens, ids_of = counted
    content = SyntheticContent(
        prompt_tokens=Fixed(fresh),
        output_tokens=Fixed(1),
        prefixes=tuple(Prefixes(count=count, tokens=Fixed(length)) for count, length in levels),
    )
    drawn = [(s.shared, s.turns[0].text) for s in itertools.islice(sessions(content, tokens, seed), 8)]
    prompts = [ids_of(shared + text) for shared, text in drawn]
    above = list(itertools.accumulate((length for _, length in levels), initial=0))
    for (a, one), (b, other) in itertools.combinations(zip(drawn, prompts, strict=True), 2):
        assert len(one) == len(other) == above[-1] + fresh
        same = common(one, other)
        if a[0] == b[0]:
            assert above[-1] <= same <= above[-1] + min(fresh, BY_CHANCE)
        else:  # they part within some level: a whole number of levels is shared, and no more than chance
            assert any(level <= same <= level + BY_CHANCE for level in above[:-1])
    assert len({shared for shared, _ in drawn}) <= len({tuple(ids[: above[-1]]) for ids in prompts})


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=5), st.integers(1, BLOCK)), min_size=2, max_size=6))
def test_equal_ids_are_equal_tokens_and_different_ones_part(counted, tmp_path_factory, rows):
    """Of prompts whose last block may be partial; ids may come twice, and in any order."""
    tokens, ids_of = counted
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    lines = [
        {
            "time_s": at,
            "prompt_tokens": len(ids) * BLOCK + rest,
            "output_tokens": 1,
            "block_tokens": BLOCK,
            "hash_ids": ids,
        }
        for at, (ids, rest) in enumerate(rows)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    prompts = [ids_of(s.turns[0].text) for s in sessions(TraceContent(path=str(path)), tokens, 0)]
    for ((a, rest), one), ((b, other_rest), other) in itertools.combinations(zip(rows, prompts, strict=True), 2):
        assert len(one) == len(a) * BLOCK + rest and len(other) == len(b) * BLOCK + other_rest
        shared = common(a, b) * BLOCK
        assert shared <= common(one, other) <= shared + BY_CHANCE
