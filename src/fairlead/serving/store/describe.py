"""What a folder of weights tells of its model: ModelPack's `config`, from config.json and the files' headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

_FORMATS = {
    ".safetensors": "safetensors", ".gguf": "gguf", ".onnx": "onnx", ".pt": "pt", ".pth": "pt", ".bin": "pt",
    ".engine": "tensorrt-engine", ".plan": "tensorrt-engine", ".tflite": "tflite", ".h5": "h5",
}  # fmt: skip
# safetensors' names of types, and the transformers library's, to those of ModelPack's config.
_PRECISIONS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8",
    "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
    "float64": "float64", "float32": "float32", "float16": "float16", "bfloat16": "bfloat16",
}  # fmt: skip
_HEADER_LIMIT_BYTES = 100 << 20
_CONFIG_LIMIT_BYTES = 16 << 20


def technical(files: Mapping[str, Path]) -> dict[str, Any]:
    """`config` of a model's config blob; only what is known. `files`: path within the model -> file."""
    config = _read_json(files.get("config.json"))
    suffixes = {PurePosixPath(path).suffix for path in files}
    found: dict[str, Any] = {}
    if config.get("architectures") or config.get("model_type"):
        found["architecture"] = "transformer"
    if form := next((form for suffix, form in _FORMATS.items() if suffix in suffixes), ""):
        found["format"] = form
    weights: dict[str, int] = {}
    for path, at in files.items():
        if path.endswith(".safetensors"):
            for kind, count in safetensors_counts(at).items():
                weights[kind] = weights.get(kind, 0) + count
    if total := sum(weights.values()):
        found["paramSize"] = size_text(total)
    if precision := _precision(weights, config):
        found["precision"] = precision
    quantization = config.get("quantization_config")
    if isinstance(quantization, dict) and isinstance(quantization.get("quant_method"), str):
        found["quantization"] = quantization["quant_method"]
    return found


def general(files: Mapping[str, Path], name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """`descriptor` of a model's config blob: what was given, and the family that config.json names."""
    config = _read_json(files.get("config.json"))
    found: dict[str, Any] = {"name": name}
    if isinstance(config.get("model_type"), str):
        found["family"] = config["model_type"]
    found.update({key: value for key, value in given.items() if value})
    if isinstance(found.get("licenses"), str):
        found["licenses"] = [found["licenses"]]
    return found


def safetensors_counts(path: Path) -> dict[str, int]:
    """Number of elements by the format's name of their type; empty if the header cannot be read."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _HEADER_LIMIT_BYTES:
                return {}
            header = json.loads(file.read(length))
        counts: dict[str, int] = {}
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            count = 1
            for extent in tensor["shape"]:
                count *= int(extent)
            counts[str(tensor["dtype"])] = counts.get(str(tensor["dtype"]), 0) + count
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return counts


def size_text(count: int) -> str:
    """A number of parameters as ModelPack writes it: at most one digit after the point, and a letter."""
    for scale, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= scale:
            return f"{count / scale:.1f}".removesuffix(".0") + letter
    return f"{count / 1000:.1f}K"


def _precision(weights: Mapping[str, int], config: Mapping[str, Any]) -> str:
    if weights:
        # The kinds that carry a model, not the odd counter or mask beside them.
        least = sum(weights.values()) / 100
        names = [_PRECISIONS[kind] for kind, count in sorted(weights.items()) if kind in _PRECISIONS and count >= least]
        return ",".join(names)
    said = config.get("torch_dtype") or config.get("dtype")
    return _PRECISIONS.get(said, "") if isinstance(said, str) else ""


def _read_json(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        if path.stat().st_size > _CONFIG_LIMIT_BYTES:
            return {}
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
