"""Which of a repository's files an engine needs. Pure.

Repositories carry the same weights in several forms. Where there are safetensors, the other forms of the same weights
are left out; so is what no engine reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from fairlead.serving.store.sources.errors import NotThere
from fairlead.serving.store.sources.listing import SourceFile

NEVER = (".git*", ".git/*", ".cache/*", ".DS_Store", "__MACOSX/*", "*.lock")
UNREAD = ("*.md", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.mp4", "*.pdf", "LICENSE*", "USE_POLICY*")
"""Documents, of repositories that a person made for people."""
OTHER_FRAMEWORKS = ("*.msgpack", "*.h5", "*.ot", "tf_model*", "flax_model*", "*.mlmodel", "*.mlpackage/*", "*.tflite")
SAFETENSORS, PICKLED, GGUF, ONNX = (
    ("*.safetensors", "*.safetensors.index.json"),
    ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.bin.index.json"),
    ("*.gguf",),
    ("*.onnx", "*.onnx_data", "*.onnx.data"),
)
_FORMS = {"safetensors": SAFETENSORS, "pytorch": PICKLED, "gguf": GGUF, "onnx": ONNX}
_WEIGHTS = {"safetensors": ("*.safetensors",), "pytorch": PICKLED[:-1], "gguf": GGUF, "onnx": ONNX}


def select(
    files: Sequence[SourceFile],
    *,
    format: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    is_curated: bool = False,
) -> tuple[SourceFile, ...]:
    """The files to fetch.

    `format`: form of the weights that is wanted (safetensors, pytorch, gguf, onnx); empty: the first of these that is
    there. `include`: patterns that choose, in place of all rules but `exclude`. `is_curated`: the folder was put
    together for serving, so that documents and forms of other frameworks stay.

    Raises NotThere if nothing is left.
    """
    kept = [f for f in files if not _matches(f.name, NEVER) and not _matches(f.name, exclude)]
    if include:
        kept = [f for f in kept if _matches(f.name, include)]
    else:
        kept = _without_duplicates(kept, format)
        if not is_curated:
            kept = [f for f in kept if not _matches(f.name, (*UNREAD, *OTHER_FRAMEWORKS))]
    if not kept:
        asked = f" that match {', '.join(include)}" if include else f" in the format {format!r}" if format else ""
        raise NotThere(f"of {len(files)} files there are none{asked}")
    return tuple(sorted(kept, key=lambda f: f.name))


def _without_duplicates(files: Sequence[SourceFile], format: str) -> list[SourceFile]:
    there = {form for form, patterns in _WEIGHTS.items() if any(_matches(f.name, patterns) for f in files)}
    # GGUF and ONNX alone hold a whole model, and are taken on demand where other weights are there too.
    chosen = format if format in _FORMS else next((form for form in _FORMS if form in there), "")
    if format in _FORMS and format not in there:
        raise NotThere(f"it has no {format} weights" + (f", but {', '.join(sorted(there))}" if there else ""))
    if not chosen:
        return list(files)
    others = [pattern for form, patterns in _FORMS.items() if form != chosen for pattern in patterns]
    kept = [f for f in files if _matches(f.name, _FORMS[chosen]) or not _matches(f.name, others)]
    if chosen == "safetensors":
        kept = _without_original_shards(kept)
    return kept


def _without_original_shards(files: list[SourceFile]) -> list[SourceFile]:
    """Without the second copy that some publishers add in their own layout (`original/`, `consolidated*`)."""
    usual = any(
        "/" not in f.name and f.name.endswith(".safetensors") and not f.name.startswith("consolidated") for f in files
    )
    if not usual:
        return files
    return [f for f in files if not _matches(f.name, ("original/*", "metal/*", "consolidated*.safetensors"))]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """By the whole path, or by the last part of it for patterns without a folder."""
    last = name.rpartition("/")[2]
    return any(fnmatchcase(name, p) or ("/" not in p and fnmatchcase(last, p)) for p in patterns)
