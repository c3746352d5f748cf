"""Where a tokenizer's file comes from: a folder, a file, or the Hugging Face hub and what was downloaded from it."""

from __future__ import annotations

from pathlib import Path

from fairlead.bench.content import hub
from fairlead.bench.paths import user_path


def tokenizer_file(source: str) -> bytes:
    """The contents of a `tokenizer.json`. Raises ValueError, naming the field, for one that cannot be had."""
    path = user_path(source)
    try:
        if path.is_dir():
            return _of_folder(path, source)
        if path.is_file():
            return path.read_bytes()
        if _is_hub_name(source):
            return _of_hub(source)
    except OSError as error:
        raise ValueError(f"tokenizer.source is {source!r}: {error.strerror or error}") from None
    raise ValueError(
        f"tokenizer.source is {source!r}: there is no such folder or file; give the model's folder, its "
        "tokenizer.json, a name of the hub (org/model), or leave it out for an estimate by characters"
    )


def _of_folder(folder: Path, source: str) -> bytes:
    path = folder / "tokenizer.json"
    if path.is_file():
        return path.read_bytes()
    other = next((name for name in ("tokenizer.model", "vocab.json", "spiece.model") if (folder / name).exists()), None)
    has = f", only {other}, which is another form" if other else ""
    raise ValueError(
        f"tokenizer.source is {source!r}: the folder has no tokenizer.json{has}; save it with the `tokenizers` library "
        "(a fast tokenizer), or leave source out for an estimate by characters"
    )


def _is_hub_name(source: str) -> bool:
    parts = source.split("/")
    return len(parts) == 2 and all(part and part[0] not in ".~" for part in parts)


def _of_hub(name: str) -> bytes:
    found = sorted(hub.own_cache().glob(f"models--{name.replace('/', '--')}/snapshots/*/tokenizer.json"))
    if found:
        return found[-1].read_bytes()
    kept = hub.cache_folder() / "tokenizers" / name / "tokenizer.json"
    try:
        return hub.download(f"{hub.endpoint()}/{name}/resolve/main/tokenizer.json", kept).read_bytes()
    except hub.HubError as error:
        raise ValueError(f"tokenizer.source is {name!r}: no such folder here, and {error}") from None
