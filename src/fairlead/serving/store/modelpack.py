"""The media types and annotations of ModelPack (CNCF model-spec, docs/spec.md, docs/config.md, docs/annotations.md).

A layer is `application/vnd.cncf.model.<kind>.v1.<form>`; which kind a file is, is told by its name.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal, get_args

import msgspec

ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
FILEPATH = "org.cncf.model.filepath"
FILE_METADATA = "org.cncf.model.file.metadata+json"
UNTESTED = "org.cncf.model.file.mediatype.untested"

Kind = Literal["weight", "weight.config", "doc", "code", "dataset"]
Form = Literal["raw", "tar", "tar+gzip", "tar+zstd"]

_PREFIX = "application/vnd.cncf.model."
# The project's name before it joined the CNCF's model-spec; artifacts with it are still about.
_OLD_PREFIX = "application/vnd.cnai.model."
OLD_FILEPATH = "org.cnai.model.filepath"

_WEIGHTS = {
    ".safetensors", ".gguf", ".ggml", ".onnx", ".onnx_data", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".tflite",
    ".engine", ".plan", ".npz", ".npy", ".msgpack", ".pb", ".data", ".params", ".weights", ".mlmodel", ".model",
    ".nemo",
    ".fxb",
}  # fmt: skip
_CODE = {
    ".py",
    ".pyx",
    ".sh",
    ".ipynb",
    ".c",
    ".cc",
    ".cpp",
    ".cu",
    ".h",
    ".hpp",
    ".rs",
    ".go",
    ".js",
    ".ts",
    ".lua",
    ".so",
}
_DOCS = {".md", ".rst", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".html"}
_DATA = {".parquet", ".arrow", ".csv", ".tsv", ".tfrecord"}
_DOC_NAMES = (
    "readme",
    "license",
    "licence",
    "notice",
    "usage_policy",
    "use_policy",
    "changelog",
    "citation",
    "copying",
)
# Small, and read by whoever loads the weights.
_CONFIG_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.bin")


def media_type(kind: Kind, form: Form) -> str:
    """The media type of a layer."""
    return f"{_PREFIX}{kind}.v1.{form}"


def parse_media_type(text: str) -> tuple[Kind, Form] | None:
    """What a layer is; None: no layer of a model."""
    for prefix in (_PREFIX, _OLD_PREFIX):
        if text.startswith(prefix):
            kind, _, form = text[len(prefix) :].partition(".v1.")
            if kind in get_args(Kind) and form in get_args(Form):
                return kind, form  # type: ignore[return-value]
    return None


def kind_of(path: str) -> Kind:
    """Which kind of layer a file makes, by its name. What nobody knows is configuration: small, and loaded with it."""
    name = PurePosixPath(path).name.lower()
    suffix = PurePosixPath(name).suffix
    if name in _CONFIG_NAMES:
        return "weight.config"
    if name.startswith(_DOC_NAMES) or suffix in _DOCS:
        return "doc"
    if suffix in _CODE:
        return "code"
    if suffix in _DATA:
        return "dataset"
    return "weight" if suffix in _WEIGHTS else "weight.config"


class FileMetadata(msgspec.Struct, frozen=True):
    """Value of the annotation FILE_METADATA. `typeflag` is tar's: 48 (the character 0) is a regular file."""

    name: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: str
    typeflag: int


def model_config(descriptor: dict[str, Any], config: dict[str, Any], diff_ids: list[str]) -> bytes:
    """The config blob of a model: what it is, and the digests of its layers before compression."""
    return msgspec.json.encode(
        {"descriptor": descriptor, "config": config, "modelfs": {"type": "layers", "diffIds": diff_ids}}
    )
