"""The gRPC side: the same service, in the upstream messages."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fairlead.runtimes.onnx.datatypes import NUMPY
from fairlead.runtimes.onnx.messages import message
from fairlead.runtimes.onnx.tensors import to_bytes
from runtimes.onnx import graphs


def _request(datatype="FP32", shape=(1, 1), contents=None, raw=None, **fields):
    request = message("ModelInferRequest")(model_name="m", **fields)
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    for field, values in (contents or {}).items():
        getattr(tensor.contents, field).extend(values)
    if raw is not None:
        request.raw_input_contents.append(raw)
    return request


def test_field_numbers_are_those_of_the_protocol():
    """Bytes of a request as protoc's generated code writes them: id "7", input "x" FP32 [1], raw 0.0."""
    wire = b"\n\x01m\x1a\x017*\x0c\n\x01x\x12\x04FP32\x1a\x01\x01:\x04\0\0\0\0"
    request = message("ModelInferRequest").FromString(wire)
    assert (request.model_name, request.id, request.raw_input_contents[0]) == ("m", "7", b"\0\0\0\0")
    assert (request.inputs[0].name, request.inputs[0].datatype, list(request.inputs[0].shape)) == ("x", "FP32", [1])
    assert request.SerializeToString() == wire


async def test_server_and_model_resources(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "m.onnx", columns=4))
    assert (await one.grpc("ServerLive")).live
    assert (await one.grpc("ServerReady")).ready
    assert (await one.grpc("ModelReady", name="m")).ready
    assert "model_repository" in (await one.grpc("ServerMetadata")).extensions
    metadata = await one.grpc("ModelMetadata", name="m")
    assert (metadata.name, list(metadata.versions), list(metadata.inputs[0].shape)) == ("m", ["1"], [-1, 4])
    health = await health_pb2_grpc.HealthStub(one.channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("datatype", sorted(NUMPY))
async def test_every_datatype_raw(serve, tmp_path, datatype):
    one = await serve(graphs.echo(tmp_path / "m.onnx", datatype))
    array = np.array([["a", "é"]], object) if datatype == "BYTES" else np.array([[0, 1]]).astype(NUMPY[datatype])
    raw = to_bytes(array, datatype)
    answer = await one.call("ModelInfer", _request(datatype, (1, 2), raw=raw, id="7"))
    assert (answer.id, list(answer.raw_output_contents)) == ("7", [raw])
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (datatype, [1, 2])


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-1, 1]),
        ("INT32", "int_contents", [-1, 1]),
        ("INT64", "int64_contents", [-(2**62), 1]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 1]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [0.5, -1]),
        ("FP64", "fp64_contents", [0.1, -1]),
        ("BYTES", "bytes_contents", [b"", "é".encode()]),
    ],
)
async def test_typed_contents(serve, tmp_path, datatype, field, values):
    one = await serve(graphs.echo(tmp_path / "m.onnx", datatype))
    answer = await one.call("ModelInfer", _request(datatype, (1, 2), {field: values}))
    assert list(getattr(answer.outputs[0].contents, field)) == values
    assert not answer.raw_output_contents


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (_request("FP64", contents={"fp64_contents": [1]}), grpc.StatusCode.INVALID_ARGUMENT, "expected datatype FP32"),
        (_request("FP32", contents={"fp64_contents": [1]}), grpc.StatusCode.INVALID_ARGUMENT, "carried in fp32"),
        (_request("FP16", contents={"fp32_contents": [1]}), grpc.StatusCode.INVALID_ARGUMENT, "use raw_input_contents"),
        (_request("NOPE"), grpc.StatusCode.INVALID_ARGUMENT, "unknown datatype 'NOPE'"),
        (_request("FP32", raw=b"abc"), grpc.StatusCode.INVALID_ARGUMENT, "3 bytes of data"),
        (_request("FP32", (1, 2), {"fp32_contents": [1]}), grpc.StatusCode.INVALID_ARGUMENT, "has 1 elements"),
        (
            _request("FP32", contents={"fp32_contents": [1]}, raw=b"abcd"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "although raw_input_contents",
        ),
        (_request("FP32", raw=b"abcd", model_version="9"), grpc.StatusCode.NOT_FOUND, "has no version '9'"),
        (_request("FP32", raw=b"x" * 2_000_000), grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
    ],
)
async def test_refusals(serve, tmp_path, request_, code, words):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await one.call("ModelInfer", request_)
    assert caught.value.code() == code
    assert words in caught.value.details()


async def test_the_repository(serve, tmp_path):
    graphs.scaled(tmp_path / "m.onnx")
    one = await serve(tmp_path)
    await one.grpc("RepositoryModelUnload", model_name="m")
    index = (await one.grpc("RepositoryIndex")).models
    assert [(m.name, m.state, m.reason) for m in index] == [("m", "UNAVAILABLE", "unloaded")]
    assert not (await one.grpc("RepositoryIndex", ready=True)).models
    assert not (await one.grpc("ModelReady", name="m")).ready
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await one.call("ModelInfer", _request(raw=b"abcd"))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert ("retry-after", "1") in tuple(caught.value.trailing_metadata())
    load = message("RepositoryModelLoadRequest")(model_name="m")
    load.parameters["config"].string_param = '{"max_batch_size": 0}'
    with pytest.raises(grpc.aio.AioRpcError, match="max_batch_size"):
        await one.call("RepositoryModelLoad", load)
    await one.grpc("RepositoryModelLoad", model_name="m")
    assert (await one.call("ModelInfer", _request(raw=b"\0\0\x80?"))).raw_output_contents[0] == b"\0\0\0@"


async def test_a_deadline_takes_the_request_off_the_queue(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"), max_delay_ms=30_000)
    call = one.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(_request(raw=b"abcd").SerializeToString(), timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    for _ in range(200):
        if b'nv_inference_request_failure{model="m",version="1",reason="CANCELED"} 1' in one.service.metrics.page():
            break
        await asyncio.sleep(0.01)
    page = one.service.metrics.page()
    assert b'reason="CANCELED"} 1' in page
    assert b'nv_inference_pending_request_count{model="m",version="1"} 0' in page
