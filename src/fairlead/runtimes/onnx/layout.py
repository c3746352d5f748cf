"""Which models a path holds.

A file `name.onnx`; a folder of one model, with `model.onnx` or `<version>/model.onnx`; or a folder of such files and
folders. Beside `name.onnx` may stand `name.serving.json`, in a model's folder `serving.json` (see `settings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL_FILE = "model.onnx"
SETTINGS_FILE = "serving.json"
DEFAULT_VERSION = "1"


class LayoutError(ValueError):
    """The path holds no model; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One model: version -> file of its graph, and the file of its settings if there is one."""

    versions: Mapping[str, Path]
    settings: Path | None


def source_path(source: str) -> Path:
    """The path of `file:///path` or `/path`. Raises LayoutError for other sources."""
    text = source.removeprefix("file://")
    if not text.startswith("/"):
        raise LayoutError(f"model source {source!r} is not an absolute path or file:///path")
    return Path(text)


def find_models(root: Path, name: str | None = None) -> dict[str, ModelFiles]:
    """Model name -> files. `name` is what a path that holds a single model is called, instead of its own name.

    Raises LayoutError when there is none.
    """
    if not root.exists():
        raise LayoutError(f"{root} does not exist")
    if root.is_file():
        if root.suffix != ".onnx":
            raise LayoutError(f"{root} is not an .onnx file")
        return {name or root.stem: _flat(root)}
    single = _folder(root)
    if single is not None:
        return {name or root.resolve().name: single}
    found: dict[str, ModelFiles] = {}
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            model = _folder(entry)
            if model is not None:
                found[entry.name] = model
        elif entry.suffix == ".onnx":
            found.setdefault(entry.stem, _flat(entry))
    if not found:
        raise LayoutError(f"{root} holds no model: expected NAME.onnx, NAME/{MODEL_FILE} or NAME/VERSION/{MODEL_FILE}")
    return found


def version_order(version: str) -> int:
    """Versions are numbers; the highest is the newest."""
    return int(version)


def _flat(file: Path) -> ModelFiles:
    return ModelFiles({DEFAULT_VERSION: file}, _existing(file.with_suffix(".serving.json")))


def _folder(folder: Path) -> ModelFiles | None:
    versions = {
        entry.name: entry / MODEL_FILE
        for entry in folder.iterdir()
        if entry.name.isascii() and entry.name.isdigit() and (entry / MODEL_FILE).is_file()
    }
    if not versions and (folder / MODEL_FILE).is_file():
        versions = {DEFAULT_VERSION: folder / MODEL_FILE}
    return ModelFiles(versions, _existing(folder / SETTINGS_FILE)) if versions else None


def _existing(file: Path) -> Path | None:
    return file if file.is_file() else None
