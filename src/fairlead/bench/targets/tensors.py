"""Bodies of the Open Inference Protocol v2 (REST, tensors as JSON) and of Triton's generate extension."""

from __future__ import annotations

import math
import random
from typing import Any

from fairlead.bench.config.target import Tensor
from fairlead.bench.session import Turn

DATATYPES = frozenset(
    ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16",
     "BYTES")
)  # fmt: skip
LARGEST = 64 * 2**20
"""Values of one tensor: more are a mistake in a shape."""
_TOKEN_IDS = 1000
"""Identifiers of tokens are drawn below it: every vocabulary has that many."""


def checked(tensor: Tensor) -> Tensor:
    """Raises ValueError for one that cannot be written."""
    where = f"tensors[{tensor.name!r}]"
    if tensor.datatype not in DATATYPES:
        raise ValueError(f"{where}.datatype is {tensor.datatype!r}: use one of {', '.join(sorted(DATATYPES))}")
    if any(size < 1 and size != -1 for size in tensor.shape):
        raise ValueError(f"{where}.shape is {list(tensor.shape)}: sizes are 1 or more, or -1 for the prompt's length")
    if (tensor.datatype == "BYTES") != (tensor.values == "text"):
        raise ValueError(f"{where}.values is {tensor.values!r} with datatype {tensor.datatype}: BYTES has text alone")
    if tensor.low > tensor.high:
        raise ValueError(f"{where}.low is {tensor.low:g}, above high {tensor.high:g}: exchange them")
    return tensor


def guessed(name: str, datatype: str, shape: tuple[int, ...]) -> Tensor:
    """What an input is for, by its name, as transformers name theirs: identifiers of tokens, masks, or numbers."""
    lower = name.lower()
    # The first dimension that is open is the batch's.
    sizes = tuple(1 if size < 0 and at == 0 else size for at, size in enumerate(shape))
    if datatype == "BYTES":
        return Tensor(name=name, datatype=datatype, shape=_closed(sizes), values="text")
    if datatype.startswith(("INT", "UINT")) and len(sizes) > 1:
        if "mask" in lower:
            return Tensor(name=name, datatype=datatype, shape=sizes, values="ones")
        if "type" in lower or "segment" in lower:
            return Tensor(name=name, datatype=datatype, shape=sizes, values="zeros")
        if "id" in lower or "token" in lower:
            return Tensor(name=name, datatype=datatype, shape=sizes, values="token_ids", low=1, high=_TOKEN_IDS)
    return Tensor(name=name, datatype=datatype, shape=_closed(sizes))


def _closed(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if size < 0 else size for size in sizes)


def inference(tensors: tuple[Tensor, ...], text: str, turn: Turn, rng: random.Random) -> dict[str, Any]:
    """One inference. Raises ValueError for a tensor of more values than anyone means to send."""
    return {"inputs": [_written(tensor, text, turn, rng) for tensor in tensors]}


def _written(tensor: Tensor, text: str, turn: Turn, rng: random.Random) -> dict[str, Any]:
    shape = [max(1, turn.prompt_tokens) if size == -1 else size for size in tensor.shape]
    count = math.prod(shape)
    if count > LARGEST:
        raise ValueError(f"tensors[{tensor.name!r}].shape makes {count:,} values of it: {LARGEST:,} are the most")
    return {"name": tensor.name, "shape": shape, "datatype": tensor.datatype, "data": _data(tensor, text, count, rng)}


def _data(tensor: Tensor, text: str, count: int, rng: random.Random) -> list[Any]:
    low, high = tensor.low, tensor.high
    if tensor.values == "text":
        return [text] * count
    if tensor.values in ("ones", "zeros"):
        return [tensor.values == "ones" if tensor.datatype == "BOOL" else int(tensor.values == "ones")] * count
    if tensor.datatype == "BOOL":
        return [rng.random() < 0.5 for _ in range(count)]
    if tensor.datatype.startswith(("FP", "BF")):
        return [round(rng.uniform(low, high), 4) for _ in range(count)]
    return [rng.randint(math.ceil(low), math.floor(high)) for _ in range(count)]


def generation(
    text: str, output_tokens: int | None, stream: bool, ignore_eos: bool, inputs: tuple[Tensor, ...]
) -> dict[str, Any]:
    """Of Triton's generate. Models of its vLLM backend take sampling as parameters of the request, those of
    TensorRT-LLM as tensors; which it is, the model's inputs tell (none known: as TensorRT-LLM)."""
    if any(tensor.name == "sampling_parameters" for tensor in inputs):
        sampling: dict[str, Any] = {"max_tokens": output_tokens} if output_tokens is not None else {}
        sampling |= {"ignore_eos": True} if ignore_eos and output_tokens is not None else {}
        return {"text_input": text, "stream": stream, "exclude_input_in_output": True, "parameters": sampling}
    body: dict[str, Any] = {"text_input": text, "stream": stream}
    if output_tokens is not None:
        body["max_tokens"] = output_tokens
        if ignore_eos and any(tensor.name == "min_tokens" for tensor in inputs):
            body["min_tokens"] = output_tokens
    return body
