"""How one model is run: the server's defaults, overridden by a file beside the model or by the load request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.runtimes.onnx.errors import invalid

MAX_THREADS = 256


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_batch_size` counts rows put together; 1 turns dynamic batching off. With `max_delay_ms` 0 a batch is what
    waits when the model is free; more makes it wait for company that long. `instances` batches run at once."""

    max_batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 32
    max_delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 0.0
    max_queue: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    instances: Annotated[int, Meta(ge=1, le=MAX_THREADS)] = 1
    intra_op_threads: Annotated[int, Meta(ge=0, le=MAX_THREADS)] = 1
    """Threads within one operator; 0: one per core."""
    inter_op_threads: Annotated[int, Meta(ge=1, le=MAX_THREADS)] = 1
    """Operators run at once; more than 1 turns on ONNX Runtime's parallel execution."""


def override(defaults: ModelSettings, text: bytes, where: str) -> ModelSettings:
    """`defaults` with the fields that a JSON object gives. Raises InferenceError that names `where` and the field."""
    try:
        given = msgspec.json.decode(text, type=dict[str, object])
        return msgspec.convert({**msgspec.to_builtins(defaults), **given}, ModelSettings)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise invalid(f"{where}: {str(error).replace('`', '')}; fields: {', '.join(_FIELDS)}") from error


def settings_of(file: Path | None, defaults: ModelSettings) -> ModelSettings:
    """The settings of a model whose file is `file`, if it has one. Raises InferenceError."""
    if file is None:
        return defaults
    try:
        text = file.read_bytes()
    except OSError as error:
        raise invalid(f"{file} cannot be read: {error.strerror}") from error
    return override(defaults, text, str(file))


_FIELDS = ModelSettings.__struct_fields__
