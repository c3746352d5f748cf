"""Targets with tokenizers of their own: each is asked in its own tokens, and content is shared out among them."""

from __future__ import annotations

import json

import msgspec

from fairlead.bench.config import Benchmark, Tokenizer
from fairlead.bench.content.tokens import tokens_of
from fairlead.bench.run.preparation import Preparation


def prepared(folders, content, count):
    sources = [str(folders["byte_level"]), str(folders["word_piece"]), str(folders["byte_level"])]
    document = {
        "targets": [
            {"url": "http://x", "model": "m", "api": "completions", "tokenizer": {"source": source}}
            for source in sources
        ],
        "load": {"kind": "open", "stages": [{"rate_per_s": 1, "seconds": 1}]},
        "content": content,
    }
    preparation = Preparation(msgspec.convert(document, Benchmark))
    found = []
    for number in range(count):
        session = preparation.take()
        if session is None:
            assert preparation.ended
            break
        job = preparation.job(session, 0, float(number))
        found.append((job, msgspec.json.decode(job.turns[0].pieces[0])["prompt"]))
    counts = [tokens_of(Tokenizer(source=source), "completions") for source in sources]
    return found, counts


def test_each_target_is_asked_in_its_own_tokens(tokenizer_folders):
    content = {
        "kind": "synthetic", "prompt_tokens": {"kind": "uniform", "low": 20, "high": 200},
        "prefixes": [{"count": 3, "tokens": {"kind": "fixed", "tokens": 64}}],
    }  # fmt: skip
    found, counts = prepared(tokenizer_folders, content, 60)
    assert {job.target for job, _ in found} == {0, 1, 2}
    for job, prompt in found:
        mine = counts[job.target]
        assert mine.count(prompt) + mine.added == job.turns[0].prompt_tokens


def test_each_row_of_a_file_is_asked_once(tokenizer_folders, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [f"row number {number} of the file" for number in range(31)]
    path.write_text("\n".join(json.dumps({"prompt": row}) for row in rows))
    found, counts = prepared(tokenizer_folders, {"kind": "file", "path": str(path), "repeat": False}, 99)
    assert [prompt for _, prompt in found] == rows
    for job, prompt in found:
        mine = counts[job.target]
        assert mine.count(prompt) + mine.added == job.turns[0].prompt_tokens
