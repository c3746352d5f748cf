"""Any body is a request or a refusal that says why: nothing that a client sends is an error of the server."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairlead.runtimes.onnx import v1_json, v2_json
from fairlead.runtimes.onnx.datatypes import NUMPY
from fairlead.runtimes.onnx.errors import InferenceError
from fairlead.runtimes.onnx.grpc_service import infer_request
from fairlead.runtimes.onnx.inference import InferResponse
from fairlead.runtimes.onnx.messages import message
from fairlead.runtimes.onnx.model import Output
from fairlead.runtimes.onnx.signature import Signature, TensorSpec, check_inputs

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
_DATATYPES = st.sampled_from([*NUMPY, "FP99", ""])
_INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y", ""]) | _VALUES,
        "shape": st.lists(st.integers(-2, 3) | st.sampled_from([2**40, 2**62, 2**63, 2**70]), max_size=4) | _VALUES,
        "datatype": _DATATYPES | _VALUES,
        "data": st.lists(st.integers(-1, 300) | st.floats() | st.text(max_size=2) | st.booleans(), max_size=4)
        | _VALUES,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "q"]), _SCALARS, max_size=2) | _VALUES,
    },
)
_BODIES = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(_INPUTS, max_size=3) | _VALUES,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.just("y")}), max_size=2) | _VALUES,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_output", "timeout"]), _SCALARS) | _VALUES,
        "id": st.text(max_size=3) | _VALUES,
        "instances": st.lists(_VALUES, max_size=3) | _VALUES,
    },
)
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))


@given(_BODIES, st.binary(max_size=16), st.none() | st.integers(-1, 400).map(str) | st.text(max_size=4))
def test_a_body_of_v2_is_a_request_or_a_refusal(body, rest, length):
    text = json.dumps(body).encode()
    for header in (length, str(len(text))):
        try:
            request = v2_json.parse(text + rest, header).request
            check_inputs("m", SIGNATURE, request.inputs)
        except InferenceError as error:
            assert error.status == 400
            assert len(error.message) < 2000


@given(_BODIES)
def test_a_body_of_v1_is_a_request_or_a_refusal(body):
    try:
        request = v1_json.parse(json.dumps(body).encode(), SIGNATURE)
        check_inputs("m", SIGNATURE, request.inputs)
    except InferenceError as error:
        assert error.status == 400
        assert len(error.message) < 2000


@given(st.binary(max_size=300))
def test_bytes_are_a_request_or_a_refusal(body):
    for parse in (lambda: v2_json.parse(body, None), lambda: v1_json.parse(body, SIGNATURE)):
        try:
            parse()
        except InferenceError as error:
            assert error.status == 400


@given(
    _DATATYPES,
    st.lists(st.sampled_from([-(2**63), -1, 0, 1, 2, 2**40, 2**63 - 1]), max_size=4),
    st.lists(st.floats(width=32), max_size=4),
    st.lists(st.integers(-300, 300), max_size=4),
    st.lists(st.binary(max_size=8), max_size=2),
)
def test_a_message_of_grpc_is_a_request_or_a_refusal(datatype, shape, floats, integers, raw):
    request = message("ModelInferRequest")(model_name="m", raw_input_contents=raw)
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    tensor.contents.fp32_contents.extend(floats)
    tensor.contents.int_contents.extend(integers)
    try:
        check_inputs("m", SIGNATURE, infer_request(request).inputs)
    except InferenceError as error:
        assert error.status == 400


def test_what_json_lacks_is_null_and_stays_in_binary():
    values = np.array([[np.nan, np.inf, -np.inf, 1.5]], np.float32)
    response = InferResponse("m", "1", ((SIGNATURE.outputs[0], Output(values)),))
    head = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    for binary in (False, True):
        asked = v2_json.parse(
            json.dumps({"inputs": [head], "parameters": {"binary_data_output": binary}}).encode(), None
        )
        body, length = v2_json.render(response, asked)
        if length is None:
            assert json.loads(body)["outputs"][0]["data"] == [None, None, None, 1.5]
        else:
            assert body[length:] == values.tobytes()
