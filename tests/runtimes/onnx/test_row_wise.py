"""Which graphs may be batched: found out by trying them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from fairlead.runtimes.onnx.datatypes import NUMPY
from fairlead.runtimes.onnx.model import Model
from fairlead.runtimes.onnx.row_wise import ROWS, made_up
from fairlead.runtimes.onnx.settings import ModelSettings
from fairlead.runtimes.onnx.signature import TensorSpec
from runtimes.onnx import graphs

FLOAT = graphs.FLOAT


def _reason(file):
    return Model(file, ModelSettings()).unbatched_because


def test_graphs_of_independent_rows_are_batched(tmp_path):
    assert _reason(graphs.scaled(tmp_path / "a.onnx")) is None
    assert _reason(graphs.sum_and_difference(tmp_path / "b.onnx")) is None
    assert _reason(graphs.looked_up(tmp_path / "c.onnx")) is None
    for datatype in NUMPY:
        assert _reason(graphs.echo(tmp_path / f"{datatype}.onnx", datatype)) is None


def test_one_row_at_a_time_is_a_setting(tmp_path):
    model = Model(graphs.scaled(tmp_path / "m.onnx"), ModelSettings(max_batch_size=1))
    assert not model.batchable


def test_a_graph_that_adds_up_its_rows_is_not_batched(tmp_path):
    axis = helper.make_tensor("axis", TensorProto.INT64, [], [0])
    tensor = (FLOAT, [None, 2])
    node = helper.make_node("CumSum", ["x", "axis"], ["y"])
    assert "'y' of a row depends" in _reason(
        graphs.write(tmp_path / "m.onnx", [node], {"x": tensor}, {"y": tensor}, [axis])
    )


def test_a_graph_that_normalises_along_the_batch_is_not_batched(tmp_path):
    tensor = (FLOAT, ["n", 2])
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    assert "depends" in _reason(graphs.write(tmp_path / "m.onnx", [node], {"x": tensor}, {"y": tensor}))


def test_positions_within_the_batch_are_noticed(tmp_path):
    assert "depends" in _reason(graphs.non_zero(tmp_path / "m.onnx"))


@pytest.mark.parametrize("shape", [[2, 3], ["n", 3]])
def test_dimensions_that_are_not_one_quantity(tmp_path, shape):
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["z"], ["w"])]
    one, other = (FLOAT, shape), (FLOAT, ["m", 3])
    file = graphs.write(tmp_path / "m.onnx", nodes, {"x": one, "z": other}, {"y": one, "w": other})
    assert "one quantity" in _reason(file)


def test_a_graph_that_refuses_every_made_up_value_is_not_batched(tmp_path):
    table = helper.make_tensor("table", FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("Sub", ["x", "far"], ["index"]),
        helper.make_node("Gather", ["table", "index"], ["y"]),
    ]
    far = helper.make_tensor("far", TensorProto.INT64, [], [1000])
    file = graphs.write(
        tmp_path / "m.onnx", nodes, {"x": (TensorProto.INT64, [None])}, {"y": (FLOAT, [None])}, [table, far]
    )
    assert "does not run on made-up values" in _reason(file)


def test_made_up_rows_differ_and_are_the_same_each_time():
    specs = [TensorSpec("x", "FP32", (-1, -1, 3)), TensorSpec("t", "BYTES", (-1, 1))]
    first, second = made_up(specs, 4), made_up(specs, 4)
    assert first["x"].shape == (ROWS, 4, 3)
    assert np.array_equal(first["x"], second["x"])
    assert not np.array_equal(first["x"][0], first["x"][1])
    assert made_up([TensorSpec("x", "FP32", (-1, -1, -1, -1))], 10_000) is None
