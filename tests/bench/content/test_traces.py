"""Traces as content: lengths by a real tokenizer, prefixes exactly as far as the ids of two requests are equal."""

import json
import random
import tracemalloc

import pytest

from fairlead.bench.config import Tokenizer, TraceContent
from fairlead.bench.content.sessions import sessions
from fairlead.bench.content.tokens import tokens_of
from fairlead.bench.content.traces import trace_times

LINES = [
    {"timestamp": 0, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 2]},
    {"timestamp": 500, "input_length": 1500, "output_length": 7, "hash_ids": [0, 1, 3]},
    {"timestamp": 1500, "input_length": 600, "output_length": 9, "hash_ids": [4, 1]},
    {"timestamp": 2500, "input_length": 2000, "output_length": 9, "hash_ids": [0]},
]


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return str(path)


@pytest.mark.parametrize("family", ["byte_level", "word_piece", "unigram", "unsplit"])
def test_prompts_are_as_long_as_traced_and_share_what_the_ids_share(trace, tokenizer_folders, family):
    tokens = tokens_of(Tokenizer(source=str(tokenizer_folders[family])), "completions")
    replayed = list(sessions(TraceContent(path=trace), tokens, 0))
    texts = [s.turns[0].text for s in replayed]
    assert [tokens.count(text) + tokens.added for text in texts] == [line["input_length"] for line in LINES]
    assert [s.turns[0].output_tokens for s in replayed] == [5, 7, 9, 9]
    assert [s.time_s for s in replayed] == [0, 0.5, 1.5, 2.5]

    def shared(one, two):
        same = next(at for at, (a, b) in enumerate(zip(texts[one], texts[two], strict=False)) if a != b)
        return tokens.count(texts[one][:same])

    assert 1020 <= shared(0, 1) <= 1030
    assert shared(0, 2) <= 6
    assert 508 <= shared(0, 3) <= 520


def test_an_adapter_and_another_size_of_blocks_share_nothing(tmp_path):
    path = tmp_path / "own.jsonl"
    base = {"time_s": 0, "prompt_tokens": 64, "output_tokens": 1, "hash_ids": [1], "block_tokens": 64}
    rows = [base, base | {"adapter": "x"}, base | {"adapter": "y"}, base | {"hash_ids": [1, 2], "block_tokens": 32}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    replayed = list(sessions(TraceContent(path=str(path)), tokens_of(Tokenizer()), 0))
    assert len({s.turns[0].text[:40] for s in replayed}) == 4
    assert [s.adapter for s in replayed] == ["", "x", "y", ""]
    weighted = TraceContent(path=str(path), adapter_weights={"z": 1.0})
    assert {s.adapter for s in sessions(weighted, tokens_of(Tokenizer()), 0)} == {"z"}


def test_a_part_of_a_trace_and_limits_of_lengths(trace):
    part = TraceContent(path=trace, first_s=0.5, last_s=2.0, max_prompt_tokens=700, max_output_tokens=8)
    replayed = list(sessions(part, tokens_of(Tokenizer()), 0))
    assert [(s.time_s, s.turns[0].prompt_tokens, s.turns[0].output_tokens) for s in replayed] == [
        (0.0, 700, 7),
        (1.0, 600, 8),
    ]
    assert list(trace_times(part)) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ('{"timestamp": 9, "input_length": "many"', "set content.skip_broken: true"),
        ('{"timestamp": 9, "input_length": 5, "output_length": 1}', "set content.sort: true"),
        ('{"timestamp": 1e9, "input_length": 5, "output_length": 1, "hash_ids": [1, 2, 3]}', "content.block_tokens"),
    ],
)
def test_a_broken_line_is_told_before_anything_is_sent(trace, broken, said):
    with open(trace, "a") as file:
        file.write(broken + "\n")
    with pytest.raises(ValueError, match=r"content\.path: .*:5: ") as raised:
        trace_times(TraceContent(path=trace))
    with pytest.raises(ValueError, match=r"content\.path: .*:5: "):
        next(sessions(TraceContent(path=trace), tokens_of(Tokenizer()), 0))
    assert said in str(raised.value) and "--" not in str(raised.value)


def test_what_was_asked_to_be_left_out_or_sorted_is(trace):
    with open(trace, "a") as file:
        file.write('{"timestamp": 9, "input_length": "many"\n')
        file.write('{"timestamp": 9, "input_length": 5, "output_length": 1}\n')
    times = trace_times(TraceContent(path=trace, skip_broken=True, sort=True))
    assert list(times) == pytest.approx([0, 0.009, 0.5, 1.5, 2.5])


def test_no_requests_in_a_window_is_an_error(trace):
    with pytest.raises(ValueError, match=r"no requests between content\.first_s and"):
        trace_times(TraceContent(path=trace, first_s=100))


def test_memory_does_not_grow_with_the_trace(tmp_path):
    def peak_bytes(count):
        path = tmp_path / f"{count}.jsonl"
        path.write_text(
            "".join(
                f'{{"timestamp": {at}, "input_length": 1024, "output_length": 5, "hash_ids": [{at}, {at + 1}]}}\n'
                for at in range(count)
            )
        )
        tokens = tokens_of(Tokenizer())
        tokens.text(1000, random.Random(0))
        tracemalloc.start()
        assert sum(1 for _ in sessions(TraceContent(path=str(path)), tokens, 0)) == count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    monkey = pytest.MonkeyPatch()
    monkey.setattr("fairlead.bench.content.tokens._BLOCKS_BYTES", 2**18)
    try:
        assert peak_bytes(4000) < peak_bytes(500) + 2**19
    finally:
        monkey.undo()
