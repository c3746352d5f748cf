"""Small models to push: a folder with a config, a document and safetensors of random tensors."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from pathlib import Path

from fairlead.serving.store.connections import Settings


def tensors(sizes: Sequence[int], seed: int) -> list[bytes]:
    """Random bytes per tensor; the same for the same size, place and seed."""
    return [random.Random(f"{seed} {i} {size}").randbytes(size) for i, size in enumerate(sizes)]


def write_safetensors(path: Path, data: Sequence[bytes], note: str = "") -> None:
    header: dict[str, object] = {"__metadata__": {"note": note}} if note else {}
    at = 0
    for i, tensor in enumerate(data):
        header[f"layer.{i}"] = {"dtype": "U8", "shape": [len(tensor)], "data_offsets": [at, at + len(tensor)]}
        at += len(tensor)
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"".join(data))


def write_model(folder: Path, sizes: Sequence[int] = (300_000, 40, 500_000), seed: int = 1) -> Path:
    """A model's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "README.md").write_text("A model.\n")
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "tokenizer.json").write_text("{}")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "empty.txt").write_text("")
    write_safetensors(folder / "model.safetensors", tensors(sizes, seed))
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Path to bytes and whether it may be executed, of all files that are not hidden."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


QUICK = Settings(silence_s=1.0, first_wait_s=0.01, attempts=3, longest_wait_s=0.2)
"""Settings with which a test does not wait for a peer that is silent on purpose."""
