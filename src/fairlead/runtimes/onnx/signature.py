"""What a model takes and gives, and whether a request fits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.runtimes.onnx.datatypes import NUMPY
from fairlead.runtimes.onnx.errors import invalid, shortened
from fairlead.runtimes.onnx.tensors import Array


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. A dimension of any size is -1 in `shape`; `symbols` are the names the model gives such."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    symbols: tuple[str | None, ...] = ()

    def accepts(self, shape: Sequence[int]) -> bool:
        return len(shape) == len(self.shape) and all(
            own in (-1, size) for own, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a model, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batchable(self) -> bool:
        """Whether rows of several requests may be put together: the first dimension of every tensor is of any size,
        and nowhere has a name that says it is another quantity than elsewhere."""
        tensors = (*self.inputs, *self.outputs)
        symbols = {t.symbols[0] for t in tensors if t.symbols and t.symbols[0]}
        return bool(self.inputs) and len(symbols) <= 1 and all(t.shape and t.shape[0] == -1 for t in tensors)


def check_inputs(model: str, signature: Signature, inputs: Mapping[str, Array]) -> None:
    """Raises InferenceError that names the tensor, what was expected and what came."""
    known = {spec.name: spec for spec in signature.inputs}
    for name in inputs:
        if name not in known:
            raise invalid(f"model '{model}' has no input '{shortened(name)}'; its inputs: {', '.join(known)}")
    for name, spec in known.items():
        array = inputs.get(name)
        if array is None:
            raise invalid(f"input '{name}' of model '{model}' is missing: expected {spec.datatype} {list(spec.shape)}")
        if array.dtype != NUMPY[spec.datatype]:
            got = next(d for d, dtype in NUMPY.items() if dtype == array.dtype)
            raise invalid(f"input '{name}' of model '{model}': expected datatype {spec.datatype}, got {got}")
        if not spec.accepts(array.shape):
            raise invalid(
                f"input '{name}' of model '{model}': expected shape {list(spec.shape)}, got {list(array.shape)}"
            )


def check_outputs(model: str, signature: Signature, wanted: Sequence[str]) -> tuple[TensorSpec, ...]:
    """The outputs that a request names, all of them if it names none. Raises InferenceError."""
    if not wanted:
        return signature.outputs
    known = {spec.name: spec for spec in signature.outputs}
    for name in wanted:
        if name not in known:
            raise invalid(f"model '{model}' has no output '{shortened(name)}'; its outputs: {', '.join(known)}")
    if len(set(wanted)) != len(wanted):
        raise invalid(f"an output of model '{model}' is named twice: {', '.join(map(shortened, wanted))}")
    return tuple(known[name] for name in wanted)
