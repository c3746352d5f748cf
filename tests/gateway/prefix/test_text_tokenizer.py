from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from fairlead.gateway.prefix import text_tokenizer
from fairlead.gateway.prefix.text_tokenizer import TextTokenizer, TokenizerError

PLAIN = Path(__file__).parents[2] / "simulator/server/data/model/tokenizer.json"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = ["the", "it's", "fox", " ", "  ", "\n", "\n\n", "\t", "123456", "naïve", "你好", ".", "'s", "<s>", "<|end of|>",
         "<|end", " of|>", "a", "I'LL", "é", "\u0301", "🙂", "x=1;"]  # fmt: skip


def variant(folder: Path, **changes: object) -> Path:
    settings_ = json.loads(PLAIN.read_text())
    settings_.update(changes)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(settings_))
    return path


def like_llama(folder: Path, **token: bool) -> Path:
    """Splits, special tokens and a token with spaces in it, as models of that family have them."""
    added = json.loads(PLAIN.read_text())["added_tokens"]
    more = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} | token
    added.append({"id": 308, "content": "<|end of|>", **more})
    split = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    return variant(
        folder,
        added_tokens=added,
        pre_tokenizer={"type": "Sequence", "pretokenizers": [split, level]},
        post_processor=template,
    )


@pytest.fixture(params=["gpt2", "llama3", "rstrip"])
def path(request, tmp_path) -> Path:
    if request.param == "gpt2":
        return PLAIN
    return like_llama(tmp_path, rstrip=request.param == "rstrip")


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(text_tokenizer, "BLOCK_CHARACTERS", 24)


def test_texts_that_share_beginnings_have_the_tokens_they_would_have_alone(path, small_blocks) -> None:
    whole = Tokenizer.from_file(str(path))
    seen = TextTokenizer(path)
    assert seen.can_cut
    texts = st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join) | st.lists(st.sampled_from(WORDS)).map("".join)

    @settings(max_examples=300, deadline=None)
    @given(texts, st.lists(st.tuples(st.floats(0, 1), texts), max_size=4))
    def check(beginning: str, others: list) -> None:
        for share, rest in others:
            text = beginning[: int(share * len(beginning))] + rest
            assert seen.encode(text).tolist() == whole.encode(text).ids
            assert seen.encode(beginning + rest).tolist() == whole.encode(beginning + rest).ids

    check()
    assert seen.reused_characters > 0


def test_a_conversation_that_grows_is_read_once(path) -> None:
    draw = random.Random(1)
    seen, whole = TextTokenizer(path), Tokenizer.from_file(str(path))
    text = ""
    for _ in range(20):
        text += " ".join(draw.choice(["alpha", "beta", "it's", "12", "gamma."]) for _ in range(400)) + "\n"
        assert seen.encode(text).tolist() == whole.encode(text).ids
    assert seen.encoded_characters < 2.5 * len(text)


def test_what_is_kept_is_bounded(small_blocks) -> None:
    seen = TextTokenizer(PLAIN, max_cached_tokens=4000)
    for number in range(100):
        seen.encode(f"text {number} " + "word and word " * 40)
        assert seen.cached_tokens <= 4000
    assert len(seen._cuts) < 4000 / 24 * 5
    assert set(seen._prompts) >= {cut.prompt for cut in seen._cuts.values()}
    seen.encode("far too long " * 10_000)
    assert seen.cached_tokens <= 4000


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}},
    ],
)
def test_tokenizers_that_cannot_be_cut_read_all_of_it(tmp_path, changes) -> None:
    path = variant(tmp_path, **changes)
    seen, whole = TextTokenizer(path), Tokenizer.from_file(str(path))
    assert not seen.can_cut
    for text in ("ab " * 3000, "ab " * 3000 + "c"):
        assert seen.encode(text).tolist() == whole.encode(text).ids
    assert seen.cached_tokens == 0


def test_the_template_s_tokens_are_left_out_on_demand(tmp_path) -> None:
    seen = TextTokenizer(like_llama(tmp_path))
    assert seen.encode("fox").tolist() == [0, *seen.encode("fox", special_tokens=False).tolist()]


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": {"type": "Alien"}}', None])
def test_a_file_that_is_no_tokenizer(tmp_path, content) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: "):
        TextTokenizer(path)


def test_a_text_that_is_none() -> None:
    with pytest.raises(TokenizerError, match="1 characters"):
        TextTokenizer(PLAIN).encode("\ud800")
    with pytest.raises(TokenizerError, match="characters"):
        TextTokenizer(PLAIN).encode("\ud800" * 5000)
