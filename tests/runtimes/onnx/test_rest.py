"""The REST side of the protocol, answer by answer."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from fairlead.runtimes.onnx.datatypes import NUMPY
from fairlead.runtimes.onnx.tensors import to_bytes
from runtimes.onnx import graphs


def _x(data, shape, datatype="FP32", **more):
    return {"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}], **more}


def _binary(tensors, **more):
    """Body and header of inputs, all binary: (name, datatype, array)."""
    inputs, parts = [], []
    for name, datatype, array in tensors:
        parts.append(to_bytes(array, datatype))
        size = {"binary_data_size": len(parts[-1])}
        inputs.append({"name": name, "shape": array.shape, "datatype": datatype, "parameters": size})
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + b"".join(parts), {"Inference-Header-Content-Length": str(len(head))}


async def test_server_and_model_resources(serve, tmp_path):
    graphs.scaled(tmp_path / "m" / "1" / "model.onnx", columns=4)
    graphs.scaled(tmp_path / "m" / "2" / "model.onnx", 5.0, columns=4)
    one = await serve(tmp_path)
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/m/ready", "/v2/models/m/versions/1/ready"):
        assert (await one.rest.get(path)).status == 200
    server = await (await one.rest.get("/v2")).json()
    assert server["name"] == "fairlead-onnx"
    assert {"binary_tensor_data", "model_repository"} <= set(server["extensions"])
    assert await (await one.rest.get("/v2/models/m")).json() == {
        "name": "m",
        "versions": ["1", "2"],
        "platform": "onnx_onnxruntime",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}],
    }
    body = _x([1, 2, 3, 4], [1, 4], id="abc")
    newest = await one.infer("m", body)
    assert newest == {
        "id": "abc",
        "model_name": "m",
        "model_version": "2",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [5, 10, 15, 20]}],
    }
    assert (await one.infer("m/versions/1", body))["outputs"][0]["data"] == [2, 4, 6, 8]


@pytest.mark.parametrize("datatype", sorted(NUMPY))
async def test_every_datatype_in_json_and_in_binary(serve, tmp_path, datatype):
    one = await serve(graphs.echo(tmp_path / "m.onnx", datatype))
    if datatype == "BYTES":
        array = np.array([["", "é☃"], ["a", "b\n"]], object)
    else:
        array = np.array([[0, 1], [1, 100]]).astype(NUMPY[datatype])
    answer = await one.infer("m", _x(array.tolist(), [2, 2], datatype))
    assert answer["outputs"][0] == {"name": "y", "datatype": datatype, "shape": [2, 2], "data": array.ravel().tolist()}
    body, headers = _binary([("x", datatype, array)], parameters={"binary_data_output": True})
    async with one.rest.post("/v2/models/m/infer", data=body, headers=headers) as response:
        assert response.status == 200
        text = await response.read()
        length = int(response.headers["Inference-Header-Content-Length"])
    output = json.loads(text[:length])["outputs"][0]
    assert output["parameters"] == {"binary_data_size": len(text) - length}
    assert text[length:] == to_bytes(array, datatype)


async def test_outputs_are_those_asked_for_each_in_its_form(serve, tmp_path):
    one = await serve(graphs.sum_and_difference(tmp_path / "m.onnx"))
    a, b = np.array([[1, 2, 3]], np.float32), np.array([[3, 2, 1]], np.float32)
    wanted = [{"name": "difference", "parameters": {"binary_data": False}}, {"name": "sum"}]
    body, headers = _binary(
        [("b", "FP32", b), ("a", "FP32", a)], outputs=wanted, parameters={"binary_data_output": True}
    )
    async with one.rest.post("/v2/models/m/infer", data=body, headers=headers) as response:
        text = await response.read()
        length = int(response.headers["Inference-Header-Content-Length"])
    first, second = json.loads(text[:length])["outputs"]
    assert (first["name"], first["data"]) == ("difference", [-2, 0, 2])
    assert second["name"] == "sum"
    assert np.frombuffer(text[length:], "<f4").tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not valid"),
        (b"{}", "inputs"),
        (_x([1], [1, 1], "FP64"), "expected datatype FP32, got FP64"),
        (_x([1], [1]), "expected shape [-1, -1], got [1]"),
        (_x([1, 2], [1, 1]), "2 elements"),
        (_x([1], [1, 1], "NOPE"), "unknown datatype"),
        ({"inputs": []}, "input 'x' of model 'm' is missing"),
        ({"inputs": [{"name": "z", "shape": [1], "datatype": "FP32", "data": [1]}]}, "has no input 'z'"),
        ({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32"}]}, "neither data"),
        ({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}] * 2}, "given twice"),
        (_x([1], [1, 1], outputs=[{"name": "q"}]), "has no output 'q'; its outputs: y"),
        (_x([1], [1, 1], outputs=[{"name": "y"}, {"name": "y"}]), "named twice"),
        (_x([1], [1, 1], parameters={"timeout": -1}), "timeout"),
        (_x([1], [1, 1], parameters={"timeout": "1"}), "timeout"),
    ],
)
async def test_bad_requests_are_refused_in_words(serve, tmp_path, body, words):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"))
    answer = await one.infer("m", body, 400)
    assert words in answer["error"]


@pytest.mark.parametrize("length", ["-1", "x", "999999", "", "1e3", "9" * 40])
async def test_a_wrong_length_of_the_json_is_refused(serve, tmp_path, length):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"))
    body = json.dumps(_x([1], [1, 1])).encode()
    answer = await one.infer("m", body, 400, **{"Inference-Header-Content-Length": length})
    assert "Inference-Header-Content-Length" in answer["error"]


@pytest.mark.parametrize("size", [0, 3, 5, 1 << 40, -4])
async def test_a_wrong_binary_size_is_refused(serve, tmp_path, size):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"))
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    await one.infer("m", head + b"abcd", 400, **{"Inference-Header-Content-Length": str(len(head))})


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v2/models/zz", 404, "models of this server: m"),
        ("POST", "/v2/models/zz/infer", 404, "unknown model 'zz'"),
        ("GET", "/v2/models/m/versions/7", 404, "has no version '7'; its versions: 1"),
        ("GET", "/v2/models/m/infer", 405, "Method Not Allowed"),
        ("GET", "/nothing", 404, "GET /nothing"),
        ("POST", "/v2/repository/models/zz/load", 404, "no model 'zz'"),
        ("POST", "/v2/repository/models/zz/unload", 404, "unknown model 'zz'"),
        ("POST", "/v1/models/zz:predict", 404, "unknown model 'zz'"),
    ],
)
async def test_what_is_not_there(serve, tmp_path, method, path, status, words):
    graphs.scaled(tmp_path / "m.onnx")
    one = await serve(tmp_path)
    async with one.rest.request(method, path, json=_x([1], [1, 1]) if method == "POST" else None) as response:
        assert response.status == status
        assert words in (await response.json())["error"]


async def test_a_huge_body_is_refused_and_the_server_goes_on(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"), max_body_bytes=10_000)
    answer = await one.infer("m", b"x" * 20_000, 413)
    assert "10000 bytes" in answer["error"]
    await one.infer("m", _x([1], [1, 1]))


async def test_a_timeout_that_passes_in_the_queue_is_said(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"), max_delay_ms=20_000)
    answer = await one.infer("m", _x([1], [1, 1], parameters={"timeout": 20_000}), 504)
    assert "0.02 s" in answer["error"]
    assert one.service.metrics.page().count(b'reason="REJECTED"} 1') == 1


async def test_a_timeout_of_centuries_is_none(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"))
    await one.infer("m", _x([1], [1, 1], parameters={"timeout": 2**62}))


@pytest.mark.parametrize("padding", range(9))
async def test_binary_data_may_begin_anywhere(serve, tmp_path, padding):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"))
    array = np.arange(999, dtype=np.float32).reshape(9, 111)
    body, headers = _binary([("x", "FP32", array)], id="i" * padding)
    async with one.rest.post("/v2/models/m/infer", data=body, headers=headers) as response:
        assert (await response.json())["outputs"][0]["data"] == (array.ravel() * 2).tolist()


async def test_an_empty_batch_has_an_empty_answer(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"))
    assert (await one.infer("m", _x([], [0, 3])))["outputs"][0] == {
        "name": "y",
        "datatype": "FP32",
        "shape": [0, 3],
        "data": [],
    }


async def test_compressed_bodies_are_taken_and_bombs_are_not(serve, tmp_path):
    one = await serve(graphs.scaled(tmp_path / "m.onnx"), max_body_bytes=100_000)
    body = json.dumps(_x([1], [1, 1])).encode()
    for content, status in ((body, 200), (b" " * 50_000_000, 413)):
        packed = gzip.compress(content)
        async with one.rest.post("/v2/models/m/infer", data=packed, headers={"Content-Encoding": "gzip"}) as response:
            assert response.status == status


async def test_kserve_v1(serve, tmp_path):
    graphs.scaled(tmp_path / "m.onnx", columns=2)
    graphs.sum_and_difference(tmp_path / "two.onnx")
    one = await serve(tmp_path)
    async with one.rest.post("/v1/models/m:predict", json={"instances": [[1, 2], [3, 4]]}) as response:
        assert await response.json() == {"predictions": [[2, 4], [6, 8]]}
    instance = {"a": [1, 2, 3], "b": [3, 2, 1]}
    async with one.rest.post("/v1/models/two:predict", json={"instances": [instance]}) as response:
        assert await response.json() == {"predictions": [{"sum": [4, 4, 4], "difference": [-2, 0, 2]}]}
    assert await (await one.rest.get("/v1/models")).json() == {"models": ["m", "two"]}
    assert await (await one.rest.get("/v1/models/m")).json() == {"name": "m", "ready": True}


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("m", b"{", "not valid"),
        ("m", {}, "instances"),
        ("m", {"instances": []}, "at least one row"),
        ("m", {"instances": [[1, 2], [3]]}, "differ in shape"),
        ("m", {"instances": [[1, "a"]]}, "input 'x'"),
        ("m", {"instances": [{"x": [1, 2]}, {"y": [1, 2]}]}, "instance 1 lacks input 'x'"),
        ("two", {"instances": [[1, 2]]}, "an object with a, b"),
        ("two", {"instances": [{"a": [1, 2, 3], "b": [1, 2, 3], "c": 1}]}, "'c', which is no input"),
    ],
)
async def test_bad_requests_of_v1(serve, tmp_path, model, body, words):
    graphs.scaled(tmp_path / "m.onnx", columns=2)
    graphs.sum_and_difference(tmp_path / "two.onnx")
    one = await serve(tmp_path)
    content = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with one.rest.post(f"/v1/models/{model}:predict", **content) as response:
        assert response.status == 400
        assert words in (await response.json())["error"]
