"""One graph in ONNX Runtime: its signature and its execution. Everything here blocks: call it from a thread."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from fairlead.runtimes.onnx.datatypes import NUMPY, datatype_of
from fairlead.runtimes.onnx.errors import InferenceError, invalid
from fairlead.runtimes.onnx.row_wise import obstacle
from fairlead.runtimes.onnx.settings import ModelSettings
from fairlead.runtimes.onnx.signature import Signature, TensorSpec
from fairlead.runtimes.onnx.tensors import Array

_ZIP_MAP = re.compile(r"seq\(map\((?:int64|string),tensor\(float\)\)\)")
_ERRORS_ONLY = 3
_FATAL_ONLY = 4
"""Of executions: their errors are answered, and are the client's as often as the model's."""

ort.set_default_logger_severity(_ERRORS_ONLY)


class LoadError(Exception):
    """The file is not a model that can be served; the message says why."""


class Output:
    """An output's array; for one that the model gives as maps from class to score also the class of each column."""

    __slots__ = ("array", "classes")

    def __init__(self, array: Array, classes: tuple[int | str, ...] | None = None) -> None:
        self.array = array
        self.classes = classes

    @property
    def rows(self) -> int | None:
        return self.array.shape[0] if self.array.ndim else None

    def part(self, begin: int, end: int) -> Output:
        """Some of the rows, as a copy: a small answer must not keep a whole batch alive."""
        return Output(self.array[begin:end].copy(), self.classes)


class Model:
    """A loaded graph. `run` may be called from several threads."""

    def __init__(self, file: Path, settings: ModelSettings) -> None:
        """Raises LoadError."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = settings.intra_op_threads
        options.inter_op_num_threads = settings.inter_op_threads
        if settings.inter_op_threads > 1:
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        # Threads that spin while idle would take the cores from the other models and processes of the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common class.
            raise LoadError(f"{file} cannot be loaded: {_first_line(error)}") from error
        self._run_options = ort.RunOptions()
        self._run_options.log_severity_level = _FATAL_ONLY
        self.signature = Signature(
            tuple(_spec(file, "input", node) for node in self._session.get_inputs()),
            tuple(_spec(file, "output", node) for node in self._session.get_outputs()),
        )
        if settings.max_batch_size == 1:
            self.unbatched_because: str | None = "its max_batch_size is 1"
        else:
            self.unbatched_because = obstacle(self._arrays, self.signature)

    @property
    def batchable(self) -> bool:
        """Whether rows of several requests may run together; else `unbatched_because` is a sentence."""
        return self.unbatched_because is None

    def interrupt(self) -> None:
        """End the executions going on, at their next operator, and all later ones with an error."""
        self._run_options.terminate = True

    def _arrays(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        return [output.array for output in self.run(inputs, outputs)]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Output]:
        """Execute the graph on checked inputs. Raises InferenceError: 400 when the values are to blame, else 500."""
        try:
            results = self._session.run(list(outputs), dict(inputs), self._run_options)
        except InvalidArgument as error:
            raise invalid(f"the model refuses the values: {_first_line(error)}") from error
        except Exception as error:
            raise InferenceError(500, f"the model failed: {_first_line(error)}") from error
        return [_output(result) for result in results]


def _spec(file: Path, kind: str, node: Any) -> TensorSpec:
    datatype = datatype_of(node.type)
    if kind == "output" and _ZIP_MAP.fullmatch(node.type):
        return TensorSpec(node.name, "FP32", (-1, -1), (None, None))
    if datatype is None:
        raise LoadError(f"{file} cannot be served: {kind} '{node.name}' has type {node.type}")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    symbols = tuple(size if isinstance(size, str) else None for size in node.shape)
    return TensorSpec(node.name, datatype, shape, symbols)


def _output(result: Any) -> Output:
    if isinstance(result, list):
        classes = tuple(sorted(result[0])) if result else ()
        if any(len(row) != len(classes) for row in result):
            raise InferenceError(500, "the rows of an output name different classes")
        scores = np.array([[row[c] for c in classes] for row in result], NUMPY["FP32"]).reshape(-1, len(classes))
        return Output(scores, classes)
    array = np.asarray(result)
    return Output(array.astype(object) if array.dtype.kind in "US" else array)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
