"""Texts have the tokens that were asked for: counted by real tokenizers, with the special tokens that a server adds."""

import random

import pytest
from tokenizers import Tokenizer as Real

from fairlead.bench.config import Tokenizer
from fairlead.bench.content.tokens import EstimatedTokens, MeasuredTokens, WordTokens, tokens_of

ADDITIVE = ["byte_level", "word_piece", "unigram", "unsplit", "bytes_alone"]


def real_count(folder, text, special=False):
    tokenizer = Real.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return len(tokenizer.encode(text, add_special_tokens=special).ids)


@pytest.mark.parametrize("family", ADDITIVE)
def test_texts_behind_each_other_have_the_sum_of_their_tokens(tokenizer_folders, family):
    tokens = tokens_of(Tokenizer(source=str(tokenizer_folders[family])))
    assert isinstance(tokens, WordTokens) and tokens.exact and tokens.additive
    rng = random.Random(5)
    for counts in [(1,), (2, 1, 1), (64,), (31, 32, 33), (700, 5), (1, 3000), (16, 16, 16, 1)]:
        whole = tokens.opened("".join(tokens.text(count, rng) for count in counts))
        assert real_count(tokenizer_folders[family], whole) == sum(counts), whole[:80]
        assert tokens.count(whole) == sum(counts)
    for _ in range(20):
        assert tokens.count(tokens.opened(tokens.text(400, rng))) == 400
    blocks = tokens.opened(tokens.block(1, 512) + tokens.block(2, 512) + tokens.text(9, rng))
    assert real_count(tokenizer_folders[family], blocks) == 1033


def test_a_prompt_that_is_trimmed_by_a_template_keeps_its_count(tokenizer_folders):
    tokens = tokens_of(Tokenizer(source=str(tokenizer_folders["byte_level"])))
    text = tokens.opened(tokens.text(40, random.Random(0)))
    assert text == text.strip()


def test_special_tokens_count_where_a_server_adds_them(tokenizer_folders):
    source = Tokenizer(source=str(tokenizer_folders["word_piece"]))
    assert tokens_of(source, "chat").added == 0
    tokens = tokens_of(source, "completions")
    assert tokens.added == 2
    text = tokens.opened(tokens.text(62, random.Random(0)))
    assert real_count(tokenizer_folders["word_piece"], text, special=True) == 64


def test_without_whole_words_each_text_is_counted_as_it_is_made(tokenizer_folders):
    tokens = tokens_of(Tokenizer(source=str(tokenizer_folders["melting"])))
    assert isinstance(tokens, MeasuredTokens) and tokens.exact and not tokens.additive
    rng = random.Random(3)
    for count in (1, 2, 17, 64, 500):
        assert real_count(tokenizer_folders["melting"], tokens.text(count, rng)) == count


def test_blocks_are_the_same_for_one_identity_and_shorter_ones_begin_longer_ones(tokenizer_folders):
    source = Tokenizer(source=str(tokenizer_folders["unigram"]))
    for tokens in (tokens_of(source), tokens_of(Tokenizer())):
        again = tokens_of(source) if tokens.exact else tokens_of(Tokenizer())
        assert tokens.block(7, 512) == again.block(7, 512) != tokens.block(8, 512)
        assert tokens.block(7, 512).startswith(tokens.block(7, 200))
        assert tokens.block(7, 512)[:60] != tokens.block(8, 512)[:60]


def test_texts_begin_differently_and_are_the_same_for_the_same_seed():
    tokens = EstimatedTokens(4.0)
    rng = random.Random(1)
    texts = [tokens.text(2000, rng) for _ in range(300)]
    assert len({text[:128] for text in texts}) == 300
    again = random.Random(1)
    assert texts == [tokens.text(2000, again) for _ in range(300)]


@pytest.mark.parametrize("characters", [2.5, 4.0, 5.3])
def test_an_estimate_says_that_it_is_one_and_has_its_characters(characters):
    tokens = tokens_of(Tokenizer(characters_per_token=characters))
    assert not tokens.exact and "estimate" in tokens.name
    for count in (1, 30, 64, 900):
        assert len(tokens.text(count, random.Random(0))) == max(1, round(count * characters))
        assert tokens.count(tokens.text(count, random.Random(0))) == count


def test_what_was_found_is_kept_and_a_broken_file_of_the_cache_is_not_believed(tokenizer_folders, cache):
    source = Tokenizer(source=str(tokenizer_folders["byte_level"]))
    tokens = tokens_of(source)
    (kept,) = cache.rglob("*.json")
    again = tokens_of(source)
    assert again.text(50, random.Random(0)) == tokens.text(50, random.Random(0))
    assert "tokenizer" not in vars(again._loaded)  # nothing was loaded
    kept.write_text("{")
    assert tokens_of(source).text(50, random.Random(0)) == tokens.text(50, random.Random(0))


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda path: None, "there is no such folder or file; give the model's folder"),
        (lambda path: path.mkdir(), "the folder has no tokenizer.json"),
        (lambda path: (path.mkdir(), (path / "tokenizer.model").touch()), "only tokenizer.model, which is another"),
        (lambda path: path.write_text("{}"), "it is no tokenizer.json"),
    ],
)
def test_a_tokenizer_that_cannot_be_had_is_named_with_a_remedy(tmp_path, prepare, said):
    path = tmp_path / "model"
    prepare(path)
    with pytest.raises(ValueError, match=r"tokenizer\.source is ") as raised:
        tokens_of(Tokenizer(source=str(path)))
    assert said in str(raised.value)


def test_a_name_of_the_hub_is_looked_for_in_its_cache_and_then_at_its_address(tmp_path, tokenizer_folders, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"cannot be reached at http://127\.0\.0\.1:9/org/model"):
        tokens_of(Tokenizer(source="org/model"))
    snapshot = tmp_path / "hf/hub/models--org--model/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_bytes((tokenizer_folders["unigram"] / "tokenizer.json").read_bytes())
    assert tokens_of(Tokenizer(source="org/model")).name == "org/model"
