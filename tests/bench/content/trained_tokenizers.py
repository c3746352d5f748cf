"""Real tokenizers, trained in a moment on made text: one of each family that model servers have."""

import random

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ONSETS = ["b", "br", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w"]
RIMES = ["an", "ed", "ing", "o", "ur", "ight", "ea", "ock", "ump", "ile"]


def corpus():
    rng = random.Random(0)
    words = [a + b for a in ONSETS for b in RIMES] + [a + b + c for a in ONSETS for b in RIMES for c in ("s", "er")]
    return [" ".join(rng.choices(words, k=60)) + "." for _ in range(400)]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False))


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    trained(tokenizer, trainers.WordPieceTrainer(vocab_size=900, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_truncation(16)  # as embedding models come: it must not cut what is counted
    tokenizer.enable_padding(length=16)
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    trained(tokenizer, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def unsplit():
    """As Llama 2's: no pre-tokeniser, a space put in front, pairs that may melt over spaces."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trained(tokenizer, trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>"], show_progress=False))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def bytes_alone():
    """Every byte is a token: there are no words."""
    return byte_level_of({letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])


def melting():
    """Pairs of letters melt, and no word is whole."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    signs = "abcdefghijklmnopqrstuvwxyz0123456789"
    merges = [(a, b) for a in signs for b in signs]
    vocabulary = {token: at for at, token in enumerate([*letters, *(a + b for a, b in merges)])}
    return byte_level_of(vocabulary, merges)


def byte_level_of(vocabulary, merges):
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


def trained(tokenizer, trainer):
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


FAMILIES = {
    f.__name__: f for f in (byte_level, word_piece, unigram, unsplit, bytes_alone, melting)
}  # name -> makes one
