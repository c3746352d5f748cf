"""Bodies of KServe's V1 protocol: `{"instances": [...]}` in, `{"predictions": [...]}` out.

An instance is a row of the model's only input, or an object with a value for each input; a prediction is a row of the
only output, or an object with a value for each.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from fairlead.runtimes.onnx.errors import invalid
from fairlead.runtimes.onnx.inference import InferRequest, InferResponse
from fairlead.runtimes.onnx.signature import Signature, TensorSpec
from fairlead.runtimes.onnx.tensors import Array, from_json


class _Body(msgspec.Struct):
    instances: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Body)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse(body: bytes, signature: Signature) -> InferRequest:
    """Raises InferenceError 400."""
    try:
        instances = _decoder.decode(body).instances
        objects = bool(instances) and bytes(instances[0])[:1] == b"{"
        rows = [_fields.decode(instance) for instance in instances] if objects else []
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"the request is not valid: {str(error).replace('`', '')}") from error
    if not instances:
        raise invalid("'instances' is empty: it lists at least one row")
    if not objects:
        if len(signature.inputs) != 1:
            names = ", ".join(spec.name for spec in signature.inputs)
            raise invalid(f"the model has several inputs: an instance is an object with {names}")
        return InferRequest({signature.inputs[0].name: _column(signature.inputs[0], [bytes(i) for i in instances])})
    inputs: dict[str, Array] = {}
    for spec in signature.inputs:
        for index, row in enumerate(rows):
            if spec.name not in row:
                raise invalid(f"instance {index} lacks input '{spec.name}'")
        inputs[spec.name] = _column(spec, [bytes(row[spec.name]) for row in rows])
    known = {spec.name for spec in signature.inputs}
    for index, row in enumerate(rows):
        for name in row.keys() - known:
            raise invalid(f"instance {index} has '{name[:80]}', which is no input of the model")
    return InferRequest(inputs)


def render(response: InferResponse) -> bytes:
    columns = [(spec.name, output.array.tolist()) for spec, output in response.outputs]
    for name, column in columns:
        if not isinstance(column, list):
            raise invalid(f"output '{name}' has no rows; ask for it by protocol v2")
    if len(columns) == 1:
        return msgspec.json.encode({"predictions": columns[0][1]})
    names = [name for name, _ in columns]
    rows: list[dict[str, Any]] = [
        dict(zip(names, row, strict=True)) for row in zip(*(c for _, c in columns), strict=True)
    ]
    return msgspec.json.encode({"predictions": rows})


def _column(spec: TensorSpec, rows: list[bytes]) -> Array:
    """One input of all instances: every row has the shape of the input without its first dimension."""
    texts = b"[" + b",".join(rows) + b"]"
    try:
        shape = np.shape(msgspec.json.decode(texts))
    except ValueError as error:
        raise invalid(f"input '{spec.name}': the instances differ in shape") from error
    # A column vector may be given as plain numbers.
    if len(spec.shape) == 2 and len(shape) == 1 and spec.shape[1] in (-1, 1):
        return from_json(spec.name, spec.datatype, (shape[0], 1), texts)
    return from_json(spec.name, spec.datatype, shape, texts)
