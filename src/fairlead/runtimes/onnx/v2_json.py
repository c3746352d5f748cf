"""Bodies of REST inference in the Open Inference Protocol v2, with the binary tensor data extension both ways.

A body is a JSON object; when header `Inference-Header-Content-Length` gives its length, binary tensors follow it in the
order of the tensors in the object.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fairlead.runtimes.onnx.errors import invalid
from fairlead.runtimes.onnx.inference import InferRequest, InferResponse
from fairlead.runtimes.onnx.signature import Signature, TensorSpec
from fairlead.runtimes.onnx.tensors import Array, from_bytes, from_json, to_bytes, to_json

Parameters = dict[str, bool | int | float | str | None]

_BINARY_SIZE = "binary_data_size"
_BINARY = "binary_data"
_ALL_BINARY = "binary_data_output"


class _Input(msgspec.Struct):
    name: str
    shape: list[Annotated[int, Meta(le=2**62)]]
    datatype: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters = {}


class _RequestedOutput(msgspec.Struct):
    name: str
    parameters: Parameters = {}


class _Body(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    outputs: list[_RequestedOutput] = []
    parameters: Parameters = {}


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request, and which outputs are to be binary: those named, and by `binary` all others."""

    request: InferRequest
    binary_outputs: dict[str, bool]
    binary: bool

    def is_binary(self, output: str) -> bool:
        return self.binary_outputs.get(output, self.binary)


_decoder = msgspec.json.Decoder(_Body)


def parse(body: bytes, header_length: str | None) -> ParsedRequest:
    """Raises InferenceError 400."""
    length = _header_length(header_length, len(body))
    try:
        parsed = _decoder.decode(body[:length] if length < len(body) else body)
    except msgspec.ValidationError as error:
        raise invalid(f"the request is not valid: {str(error).replace('`', '')}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"the request is not JSON: {error}") from error
    inputs: dict[str, Array] = {}
    rest = memoryview(body)[length:]
    for tensor in parsed.inputs:
        if tensor.name in inputs:
            raise invalid(f"input '{tensor.name}' is given twice")
        inputs[tensor.name], rest = _input(tensor, rest)
    if len(rest):
        raise invalid(f"{len(rest)} bytes follow the binary data that the inputs claim by '{_BINARY_SIZE}'")
    request = InferRequest(
        inputs, tuple(o.name for o in parsed.outputs), parsed.id, _whole(parsed.parameters, "timeout") or 0
    )
    choices = {o.name: _flag(o.parameters, _BINARY) for o in parsed.outputs if _BINARY in o.parameters}
    return ParsedRequest(request, choices, _flag(parsed.parameters, _ALL_BINARY))


def render(response: InferResponse, asked: ParsedRequest) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON if binary tensors follow."""
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for spec, output in response.outputs:
        tensor: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(output.array.shape)}
        parameters: dict[str, Any] = {}
        if output.classes is not None:
            parameters["classes"] = classes_text(output.classes)
        if asked.is_binary(spec.name):
            data = to_bytes(output.array, spec.datatype)
            parameters[_BINARY_SIZE] = len(data)
            binary.append(data)
        else:
            tensor["data"] = to_json(output.array)
        if parameters:
            tensor["parameters"] = parameters
        outputs.append(tensor)
    head = {"model_name": response.model, "model_version": response.version, "outputs": outputs}
    text = msgspec.json.encode({"id": response.id, **head} if response.id else head)
    return (b"".join((text, *binary)), len(text)) if binary else (text, None)


def classes_text(classes: tuple[int | str, ...]) -> str:
    """Parameter `classes` of an output with a column for each class: a JSON list, as parameters cannot be lists."""
    return json.dumps(list(classes))


def metadata(model: str, versions: list[str], signature: Signature) -> dict[str, Any]:
    """The model metadata response."""
    return {
        "name": model,
        "versions": versions,
        "platform": "onnx_onnxruntime",
        "inputs": [_tensor_metadata(spec) for spec in signature.inputs],
        "outputs": [_tensor_metadata(spec) for spec in signature.outputs],
    }


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _header_length(text: str | None, body_bytes: int) -> int:
    if text is None:
        return body_bytes
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > body_bytes:
        raise invalid(
            f"Inference-Header-Content-Length is the length of the JSON at the start of a body of {body_bytes} bytes, "
            f"got {text[:40]}"
        )
    return int(text)


def _input(tensor: _Input, rest: memoryview) -> tuple[Array, memoryview]:
    """The array of an input, and the binary data behind it."""
    size = _whole(tensor.parameters, _BINARY_SIZE)
    if size is None:
        if isinstance(tensor.data, msgspec.UnsetType):
            raise invalid(f"input '{tensor.name}' has neither data nor parameter '{_BINARY_SIZE}'")
        return from_json(tensor.name, tensor.datatype, tensor.shape, bytes(tensor.data)), rest
    if not isinstance(tensor.data, msgspec.UnsetType):
        raise invalid(f"input '{tensor.name}' has both data and parameter '{_BINARY_SIZE}'")
    if not 0 <= size <= len(rest):
        raise invalid(f"input '{tensor.name}': '{_BINARY_SIZE}' is {size}, the body has {len(rest)} bytes left")
    return from_bytes(tensor.name, tensor.datatype, tensor.shape, rest[:size]), rest[size:]


def _whole(parameters: Parameters, name: str) -> int | None:
    value = parameters.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise invalid(f"parameter '{name}' is a whole number, got {value!r}")
    return value


def _flag(parameters: Parameters, name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"parameter '{name}' is true or false, got {value!r}")
    return value
