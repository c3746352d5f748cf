"""The gRPC side: `inference.GRPCInferenceService` and the standard health service.

Tensors come in typed `contents` or in `raw_input_contents`, and leave in the form they came; outputs of FP16, for which
no typed contents exist, leave raw.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fairlead import __version__
from fairlead.runtimes.onnx.errors import InferenceError, invalid
from fairlead.runtimes.onnx.inference import InferenceService, InferRequest, InferResponse
from fairlead.runtimes.onnx.messages import SERVICE, message
from fairlead.runtimes.onnx.rest import EXTENSIONS, SERVER_NAME
from fairlead.runtimes.onnx.signature import TensorSpec
from fairlead.runtimes.onnx.tensors import Array, from_bytes, from_values, to_bytes, to_json
from fairlead.runtimes.onnx.v2_json import classes_text

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP status of a refusal -> gRPC code; INTERNAL for the rest."""

_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> field of InferTensorContents."""

_Method = Callable[[Any], Awaitable[Any]]


class GrpcApi:
    """Serves on an address until stopped."""

    def __init__(self, service: InferenceService, *, max_message_bytes: int) -> None:
        self._service = service
        self._repository = service.repository
        self._max_message_bytes = max_message_bytes
        self._server: grpc.aio.Server | None = None
        self._checks = health.aio.HealthServicer()

    async def start(self, address: str) -> int:
        """Listen on host:port; returns the port. Raises OSError when the address cannot be bound."""
        server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", -1),
            )
        )
        methods: dict[str, _Method] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        handlers = {name: _handler(name, method) for name, method in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._checks, server)
        await self.serving(False)
        try:
            port: int = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(None, f"the address {address} is taken or not of this machine") from error
        await server.start()
        self._server = server
        return port

    async def serving(self, ready: bool) -> None:
        """What the standard health service answers."""
        status = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await self._checks.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def stop(self, grace_s: float = 0.5) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _server_live(self, _: Any) -> Any:
        return message("ServerLiveResponse")(live=True)

    async def _server_ready(self, _: Any) -> Any:
        return message("ServerReadyResponse")(ready=self._service.ready)

    async def _model_ready(self, request: Any) -> Any:
        return message("ModelReadyResponse")(ready=self._repository.ready(request.name, request.version))

    async def _server_metadata(self, _: Any) -> Any:
        return message("ServerMetadataResponse")(name=SERVER_NAME, version=__version__, extensions=EXTENSIONS)

    async def _model_metadata(self, request: Any) -> Any:
        served = await self._repository.get(request.name, request.version)
        response = message("ModelMetadataResponse")(
            name=request.name, versions=self._repository.versions(served.name), platform="onnx_onnxruntime"
        )
        for field, specs in (
            (response.inputs, served.model.signature.inputs),
            (response.outputs, served.model.signature.outputs),
        ):
            for spec in specs:
                field.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return response

    async def _model_infer(self, request: Any) -> Any:
        call = self._service.begin("grpc")
        try:
            served = await self._service.find(call, request.model_name, request.model_version)
            response = await self._service.infer(served, infer_request(request))
            answer = infer_response(response, raw=bool(request.raw_input_contents))
            call.code = 200
            return answer
        except InferenceError as error:
            call.code = error.status
            raise
        finally:
            self._service.end(call)

    async def _index(self, request: Any) -> Any:
        response = message("RepositoryIndexResponse")()
        for entry in await self._repository.index(only_ready=request.ready):
            response.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
        return response

    async def _load(self, request: Any) -> Any:
        config = request.parameters["config"].string_param if "config" in request.parameters else None
        await self._repository.load(request.model_name, config)
        return message("RepositoryModelLoadResponse")()

    async def _unload(self, request: Any) -> Any:
        await self._repository.unload(request.model_name)
        return message("RepositoryModelUnloadResponse")()


def infer_request(request: Any) -> InferRequest:
    """From a ModelInferRequest. Raises InferenceError 400."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise invalid(f"raw_input_contents has {len(raw)} elements for {len(request.inputs)} inputs")
    inputs: dict[str, Array] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in inputs:
            raise invalid(f"input '{tensor.name}' is given twice")
        if raw:
            if tensor.HasField("contents"):
                raise invalid(f"input '{tensor.name}' has contents although raw_input_contents is used")
            inputs[tensor.name] = from_bytes(tensor.name, tensor.datatype, tensor.shape, raw[index])
        else:
            inputs[tensor.name] = _typed(tensor)
    timeout_us = request.parameters["timeout"].int64_param if "timeout" in request.parameters else 0
    return InferRequest(inputs, tuple(output.name for output in request.outputs), request.id, timeout_us)


def infer_response(response: InferResponse, *, raw: bool) -> Any:
    """A ModelInferResponse."""
    raw = raw or any(spec.datatype not in _CONTENTS for spec, _ in response.outputs)
    answer = message("ModelInferResponse")(model_name=response.model, model_version=response.version, id=response.id)
    for spec, output in response.outputs:
        tensor = answer.outputs.add(name=spec.name, datatype=spec.datatype, shape=output.array.shape)
        if output.classes is not None:
            tensor.parameters["classes"].string_param = classes_text(output.classes)
        if raw:
            answer.raw_output_contents.append(to_bytes(output.array, spec.datatype))
        else:
            getattr(tensor.contents, _CONTENTS[spec.datatype]).extend(_elements(spec, output.array))
    return answer


def _elements(spec: TensorSpec, array: Array) -> list[Any]:
    return [str(text).encode() for text in array.ravel()] if spec.datatype == "BYTES" else to_json(array)


def _typed(tensor: Any) -> Array:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        # An unknown datatype is refused by name, FP16 for want of a field.
        from_bytes(tensor.name, tensor.datatype, (0,), b"")
        raise invalid(f"input '{tensor.name}': {tensor.datatype} has no typed contents, use raw_input_contents")
    for other in set(_CONTENTS.values()) - {field}:
        if getattr(tensor.contents, other):
            raise invalid(f"input '{tensor.name}': {tensor.datatype} is carried in {field}, got {other}")
    return from_values(tensor.name, tensor.datatype, tuple(tensor.shape), getattr(tensor.contents, field))


def _handler(name: str, method: _Method) -> Any:
    async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method(request)
        except InferenceError as error:
            if error.retry_after_s is not None:
                context.set_trailing_metadata((("retry-after", str(error.retry_after_s)),))
            await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.message)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=message(f"{name}Request").FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )
