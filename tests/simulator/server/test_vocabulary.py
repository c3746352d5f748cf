"""A model's own tokenizer: what is generated is what is tokenised again, and what is wrong with a folder is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.simulator.server.bodies.chat import PlainTemplate
from fairlead.simulator.server.text.vocabulary import FileTokenizer, TokenizerError
from fairlead.simulator.server.text.words import Words

FOLDER = Path(__file__).parent / "data" / "model"
TOKENIZER = FileTokenizer(FOLDER)
WORDS = Words(TOKENIZER.words(), TOKENIZER.words())


def test_it_has_the_ids_of_the_model():
    config = json.loads((FOLDER / "config.json").read_text())
    assert TOKENIZER.vocabulary == config["vocab_size"]
    assert TOKENIZER.eos == config["eos_token_id"]
    assert TOKENIZER.decode([TOKENIZER.eos]) == ""


@given(st.text("the quick brown fox,.\n", max_size=60))
def test_texts_come_back(text):
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert "".join(TOKENIZER.pieces(ids)) == text


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_generated_words_stay_the_tokens_they_were(seed, count):
    ids, texts = WORDS.draw(seed, count)
    assert len({text for _, text in WORDS.rest}) == len(WORDS.rest) > 3
    assert TOKENIZER.encode("".join(texts)) == ids
    assert TOKENIZER.decode(ids) == "".join(texts)
    prompt = PlainTemplate().render([{"role": "user", "content": "hello"}], None)
    assert TOKENIZER.encode(prompt + "".join(texts)) == TOKENIZER.encode(prompt) + ids


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "tokenizer.json does not exist"),
        ({"tokenizer.json": "{}"}, "is not a tokenizer"),
        ({"tokenizer.json": None, "tokenizer_config.json": "{"}, "tokenizer_config.json is not JSON"),
    ],
)
def test_a_folder_without_a_tokenizer_is_named(tmp_path, files, says):
    for name, content in files.items():
        (tmp_path / name).write_text((FOLDER / name).read_text() if content is None else content)
    with pytest.raises(TokenizerError, match=says):
        FileTokenizer(tmp_path)
