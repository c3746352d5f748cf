"""Which files of a repository are fetched: one form of the weights, without what no engine reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.store.sources import NotThere, SourceFile
from fairlead.serving.store.sources.selection import select

REPOSITORY = [
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja", "modeling.py",
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
    "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json", "consolidated.safetensors",
    "original/consolidated.00.pth", "original/params.json", "flax_model.msgpack", "tf_model.h5", "m.Q4_K_M.gguf",
    "m.Q8_0.gguf", "onnx/model.onnx", "README.md", "LICENSE", "figures/a.png", ".gitattributes", ".git/config",
]  # fmt: skip


def chosen(**how: object) -> set[str]:
    return {f.name for f in select([SourceFile(n, 1) for n in REPOSITORY], **how)}  # type: ignore[arg-type]


SMALL = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja",
         "modeling.py"}  # fmt: skip


def test_safetensors_alone() -> None:
    weights = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
    assert chosen() == SMALL | weights
    assert chosen(format="safetensors") == chosen()
    assert chosen(format="something-else") == chosen(), "what is no form of weights chooses nothing"


def test_other_forms() -> None:
    assert {"m.Q4_K_M.gguf", "m.Q8_0.gguf"} <= chosen(format="gguf")
    assert not any(n.endswith((".safetensors", ".bin")) for n in chosen(format="gguf"))
    assert "onnx/model.onnx" in chosen(format="onnx")
    assert chosen(include=["*.Q4_K_M.gguf", "config.json"]) == {"m.Q4_K_M.gguf", "config.json"}
    assert "modeling.py" not in chosen(exclude=["*.py"])
    assert {"README.md", "LICENSE"} <= chosen(is_curated=True)


def test_what_is_not_there() -> None:
    with pytest.raises(NotThere, match="it has no gguf weights, but safetensors"):
        select([SourceFile("a.safetensors", 1)], format="gguf")
    with pytest.raises(NotThere, match="none that match"):
        select([SourceFile("a.safetensors", 1)], include=["*.gguf"])
    with pytest.raises(NotThere):
        select([])


@given(st.lists(st.sampled_from(REPOSITORY), unique=True, min_size=1))
def test_nothing_is_made_up_and_no_weights_are_there_twice(names: list[str]) -> None:
    try:
        found = {f.name for f in select([SourceFile(n, 1) for n in names])}
    except NotThere:
        return
    assert found <= set(names)
    forms = [any(n.endswith(s) for n in found) for s in (".safetensors", (".bin", ".pth"), ".gguf", ".onnx")]  # type: ignore[arg-type]
    assert sum(forms) <= 1
