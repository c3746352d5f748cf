"""Small ONNX graphs, made without training."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, save

ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
FLOAT = TensorProto.FLOAT


def write(path: Path, nodes, inputs, outputs, initializers=()) -> Path:
    """Inputs and outputs as name -> (element type, shape)."""

    def values(tensors):
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in tensors.items()]

    graph = helper.make_graph(nodes, "graph", values(inputs), values(outputs), list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, str(path))
    return path


def scaled(path: Path, factor: float = 2.0, columns: int | str = "c") -> Path:
    """y = factor · x for x [rows, columns], FP32; exact, whatever the batch."""
    constant = helper.make_tensor("k", FLOAT, [], [factor])
    shape = ["rows", columns]
    return write(
        path,
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        {"x": (FLOAT, shape)},
        {"y": (FLOAT, shape)},
        [constant],
    )


def echo(path: Path, datatype: str) -> Path:
    """y = x for x of any rows and columns."""
    tensor = (ELEMENT_TYPES[datatype], [None, None])
    return write(path, [helper.make_node("Identity", ["x"], ["y"])], {"x": tensor}, {"y": tensor})


def sum_and_difference(path: Path) -> Path:
    """Two inputs [rows, 3], two outputs."""
    tensor = (FLOAT, ["rows", 3])
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
    return write(path, nodes, {"a": tensor, "b": tensor}, {"sum": tensor, "difference": tensor})


def looked_up(path: Path) -> Path:
    """y = table[x] for x INT64 [rows]: values beyond 0 to 3 make the execution fail."""
    table = helper.make_tensor("table", FLOAT, [4], [10.0, 11.0, 12.0, 13.0])
    return write(
        path,
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, [None])},
        {"y": (FLOAT, [None])},
        [table],
    )


def non_zero(path: Path) -> Path:
    """y = positions of what is not zero in x [rows]: as many rows as there are such, though the graph says -1."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Transpose", ["found"], ["y"]),
    ]
    return write(path, nodes, {"x": (FLOAT, [None])}, {"y": (TensorProto.INT64, [None, None])})


def slow(path: Path, size: int = 1500) -> Path:
    """y = x · M · M · M with M of `size`²: some tens of milliseconds of work."""
    matrix = helper.make_tensor(
        "m", FLOAT, [size, size], np.full(size * size, 1 / size, np.float32).tobytes(), raw=True
    )
    nodes = [helper.make_node("MatMul", [a, "m"], [b]) for a, b in itertools.pairwise(("x", "one", "two", "y"))]
    tensor = (FLOAT, ["rows", size])
    return write(path, nodes, {"x": tensor}, {"y": tensor}, [matrix])


def endless(path: Path, operators: int = 2000) -> Path:
    """y [1, 1] from x [1, 1] by `operators` sines over five million numbers: minutes of work in little memory."""
    names = [f"t{i}" for i in range(operators + 1)]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [5_000_000, 1])
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["t0"]),
        *(helper.make_node("Sin", [a], [b]) for a, b in itertools.pairwise(names)),
        helper.make_node("ReduceMax", [names[-1]], ["y"]),
    ]
    return write(path, nodes, {"x": (FLOAT, [1, 1])}, {"y": (FLOAT, [1, 1])}, [shape])
