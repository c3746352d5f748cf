"""Tensors between their wire forms and numpy: JSON data, and little-endian bytes without padding.

Protocol: Open Inference Protocol v2, "tensor data"; binary tensor data extension (an element of BYTES is a four-byte
length and as many bytes).
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fairlead.runtimes.onnx.datatypes import NUMPY
from fairlead.runtimes.onnx.errors import invalid, shortened

Array = NDArray[Any]

MAX_RANK = 16
_MAX_EXTENT = 2**40
"""Elements that a shape may span, its empty dimensions counted as one: an empty tensor has few bytes and any shape."""

_LENGTH = struct.Struct("<I")


def from_json(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Array:
    """An array from the JSON text of `data`: a flat list, or lists nested as the shape says. Raises InferenceError."""
    dtype, count = _expected(name, datatype, shape)
    depth = _depth(data)
    if depth not in (1, max(1, len(shape))):
        raise invalid(f"input '{name}': data is nested {depth} deep, expected a flat list or {len(shape)} levels")
    try:
        values = _decoder(datatype, depth).decode(data)
    except msgspec.ValidationError as error:
        raise invalid(f"input '{name}': data is not {datatype}: {_plain(error)}") from error
    except msgspec.DecodeError as error:
        raise invalid(f"input '{name}': data is not a JSON list: {error}") from error
    try:
        # JSON has no infinity: a number that would become one is a mistake, not a value.
        with np.errstate(over="raise"):
            array = np.array(values, dtype)
    except (OverflowError, FloatingPointError) as error:
        raise invalid(f"input '{name}': a value is out of the range of {datatype}: {error}") from error
    except ValueError as error:
        raise invalid(f"input '{name}': the rows of data differ in length, expected shape {list(shape)}") from error
    if depth > 1 and array.shape != tuple(shape):
        raise invalid(f"input '{name}': data has shape {list(array.shape)}, expected {list(shape)}")
    if array.size != count:
        raise invalid(f"input '{name}': data has {array.size} elements, shape {list(shape)} needs {count}")
    return array.reshape(shape)


def to_json(array: Array) -> list[Any]:
    """The elements in row-major order. NaN and infinities, which JSON lacks, become null when encoded."""
    values: list[Any] = array.ravel().tolist()
    return values


def from_bytes(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> Array:
    """An array on the bytes of its binary form, without a copy where it can be. Raises InferenceError."""
    dtype, count = _expected(name, datatype, shape)
    if datatype == "BYTES":
        return _strings(name, bytes(data), count).reshape(shape)
    if len(data) != count * dtype.itemsize:
        raise invalid(
            f"input '{name}': {len(data)} bytes of data, shape {list(shape)} of {datatype} needs "
            f"{count * dtype.itemsize}"
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    # In an HTTP body a tensor begins wherever the JSON before it ends.
    return array if array.flags.aligned else array.copy()


def to_bytes(array: Array, datatype: str) -> bytes:
    """The binary form."""
    if datatype == "BYTES":
        encoded = [str(text).encode() for text in array.ravel()]
        return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))
    return np.ascontiguousarray(array, NUMPY[datatype]).tobytes()


def from_values(name: str, datatype: str, shape: Sequence[int], values: Sequence[Any]) -> Array:
    """An array from values that a typed message already holds (gRPC `contents`). Raises InferenceError."""
    dtype, count = _expected(name, datatype, shape)
    if len(values) != count:
        raise invalid(f"input '{name}': contents has {len(values)} elements, shape {list(shape)} needs {count}")
    if datatype == "BYTES":
        return _object_array([_text(name, value) for value in values]).reshape(shape)
    try:
        return np.array(values, dtype).reshape(shape)
    except OverflowError as error:
        raise invalid(f"input '{name}': a value is out of the range of {datatype}: {error}") from error


def _expected(name: str, datatype: str, shape: Sequence[int]) -> tuple[np.dtype[np.generic], int]:
    """dtype and number of elements."""
    dtype = NUMPY.get(datatype)
    if dtype is None:
        known = ", ".join(NUMPY)
        raise invalid(f"input '{name}': unknown datatype '{shortened(datatype, 40)}', expected one of {known}")
    if len(shape) > MAX_RANK:
        raise invalid(f"input '{name}': a shape has at most {MAX_RANK} dimensions, got {len(shape)}")
    if any(size < 0 for size in shape):
        raise invalid(f"input '{name}': shape {list(shape)} has a negative dimension; requests give whole sizes")
    if math.prod(max(1, size) for size in shape) > _MAX_EXTENT:
        raise invalid(f"input '{name}': shape {list(shape)} spans more than {_MAX_EXTENT} elements")
    return dtype, math.prod(shape)


def _depth(data: bytes) -> int:
    """How many lists open at the start of a JSON text."""
    depth = 0
    for byte in data:
        if byte == 0x5B:
            depth += 1
            if depth > MAX_RANK:
                break
        elif byte not in b" \t\r\n":
            break
    return depth


@functools.cache
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    element: Any = float
    if datatype == "BOOL":
        element = bool
    elif datatype == "BYTES":
        element = str
    elif datatype.startswith(("INT", "UINT")):
        element = int
    for _ in range(max(1, depth)):
        element = list[element]
    return msgspec.json.Decoder(element)


def _plain(error: Exception) -> str:
    """msgspec's "Expected `int`, got `str` - at `$[2]`" without the characters of code."""
    return str(error).replace("`", "")


def _strings(name: str, data: bytes, count: int) -> Array:
    texts: list[str] = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            break
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise invalid(f"input '{name}': element {len(texts)} claims {length} bytes, {len(data) - at} are left")
        texts.append(_text(name, data[at : at + length]))
        at += length
    if at != len(data) or len(texts) != count:
        raise invalid(f"input '{name}': {len(data)} bytes of data hold {len(texts)} elements, expected {count}")
    return _object_array(texts)


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise invalid(f"input '{name}': BYTES must be UTF-8 text, as strings of ONNX are: {error.reason}") from error


def _object_array(values: list[str]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array
