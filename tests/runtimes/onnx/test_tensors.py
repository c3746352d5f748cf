"""Tensors there and back in both wire forms, and every way in which data may not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.runtimes.onnx.datatypes import NUMPY
from fairlead.runtimes.onnx.errors import InferenceError
from fairlead.runtimes.onnx.tensors import from_bytes, from_json, from_values, to_bytes, to_json

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def tensors(draw):
    datatype = draw(st.sampled_from(sorted(NUMPY)))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    if datatype == "BYTES":
        array = np.empty(shape, object)
        for index in np.ndindex(shape):
            array[index] = draw(_TEXT)
        return datatype, array
    finite = {"allow_nan": False, "allow_infinity": False} if datatype.startswith("FP") else {}
    elements = hnp.from_dtype(NUMPY[datatype], **finite)
    return datatype, draw(hnp.arrays(NUMPY[datatype], shape, elements=elements))


@given(tensors())
def test_binary_data_comes_back(tensor):
    datatype, array = tensor
    back = from_bytes("x", datatype, array.shape, to_bytes(array, datatype))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@given(tensors(), st.booleans())
def test_json_data_comes_back_flat_or_nested(tensor, nested):
    datatype, array = tensor
    nested = nested and array.size > 0
    data = json.dumps(array.tolist() if nested else to_json(array)).encode()
    back = from_json("x", datatype, array.shape, data)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@given(st.sampled_from(sorted(NUMPY)), st.lists(st.integers(-2, 9), max_size=4), st.binary(max_size=64))
def test_any_bytes_are_a_tensor_or_a_refusal(datatype, shape, data):
    for read in (from_bytes, from_json):
        try:
            assert read("x", datatype, shape, data).shape == tuple(shape)
        except InferenceError as error:
            assert error.status == 400
            assert "'x'" in error.message


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "words"),
    [
        ("FP99", [1], b"[1]", "unknown datatype 'FP99'"),
        ("FP32", [-1], b"[1]", "negative dimension"),
        ("FP32", [0, 2**60], b"[]", "spans more than"),
        ("FP32", [1] * 17, b"[1]", "at most 16 dimensions"),
        ("FP32", [3], b"[1, 2]", "has 2 elements, shape [3] needs 3"),
        ("FP32", [2, 2], b"[[1, 2], [3]]", "rows of data differ in length"),
        ("FP32", [2, 2], b"[[1, 2, 3, 4]]", "has shape [1, 4], expected [2, 2]"),
        ("FP32", [4], b"[[1, 2], [3, 4]]", "nested 2 deep"),
        ("FP32", [1], b'["1"]', "not FP32"),
        ("INT32", [1], b"[1.5]", "not INT32"),
        ("UINT8", [1], b"[256]", "out of the range of UINT8"),
        ("UINT8", [1], b"[-1]", "out of the range of UINT8"),
        ("FP16", [1], b"[1e6]", "out of the range of FP16"),
        ("FP32", [2], b"[1.0, 1e300]", "out of the range of FP32"),
        ("BOOL", [1], b"[1]", "not BOOL"),
        ("BYTES", [1], b"[1]", "not BYTES"),
        ("FP32", [1], b"{}", "flat list or 1 levels"),
        ("FP32", [1], b"[1", "not a JSON list"),
    ],
)
def test_json_data_that_does_not_fit(datatype, shape, data, words):
    with pytest.raises(InferenceError, match=r"input 'x'") as caught:
        from_json("x", datatype, shape, data)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "words"),
    [
        ("FP32", [2], b"1234567", "7 bytes of data, shape [2] of FP32 needs 8"),
        ("BYTES", [1], b"\x09\0\0\0abc", "claims 9 bytes, 3 are left"),
        ("BYTES", [2], b"\x01\0\0\0a", "hold 1 elements, expected 2"),
        ("BYTES", [1], b"\x01\0\0\0a\0", "expected 1"),
        ("BYTES", [1], b"\x01\0\0\0\xff", "UTF-8"),
    ],
)
def test_binary_data_that_does_not_fit(datatype, shape, data, words):
    with pytest.raises(InferenceError, match=r"input 'x'") as caught:
        from_bytes("x", datatype, shape, data)
    assert words in caught.value.message


def test_typed_contents_out_of_range_are_refused():
    with pytest.raises(InferenceError, match="range of INT8"):
        from_values("x", "INT8", (1,), [200])
    with pytest.raises(InferenceError, match="needs 2"):
        from_values("x", "FP32", (2,), [1.0])
