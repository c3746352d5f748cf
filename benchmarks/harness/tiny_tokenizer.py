"""A tokenizer of this machine's own making, so that every tool has the same one, and none downloads it."""

from __future__ import annotations

import json
import pydoc_data.topics
from pathlib import Path

NAME = "bench/tiny"
"""As a name of the Hugging Face hub, for tools that take no folder."""
_REVISION = "0" * 40


def tiny_tokenizer(folder: Path) -> Path:
    """A folder with a byte-level BPE of some thousand tokens, trained on English text that comes with Python, in which
    the null server's " token" is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([*pydoc_data.topics.topics.values(), " token" * 10_000], trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "model_max_length": 4096,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4000, "hidden_size": 64}
    (folder / "config.json").write_text(json.dumps(model))
    return folder


def hub_cache(tokenizer: Path, home: Path) -> None:
    """Make `home` an HF_HOME in which the tokenizer is the hub's `NAME`, as if it had been downloaded."""
    entry = home / "hub" / f"models--{NAME.replace('/', '--')}"
    snapshot = entry / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    for file in tokenizer.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(_REVISION)
