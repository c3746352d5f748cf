"""Whether a graph treats each row by itself, found out by trying: what it says of its dimensions cannot tell.

A graph may give as many rows as it gets and still let them influence each other (a sum along the batch, positions
within it); answers put together by dynamic batching would then be wrong without anybody noticing. So a few rows of
made-up values run together and one by one, and the answers have to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fairlead.runtimes.onnx.datatypes import NUMPY
from fairlead.runtimes.onnx.errors import InferenceError
from fairlead.runtimes.onnx.signature import Signature, TensorSpec
from fairlead.runtimes.onnx.tensors import Array

ROWS = 3
_SIZES = (2, 32, 224)
"""What a dimension of any size is tried as: features, then a short text or a small picture, then a usual picture."""

_MAX_ELEMENTS = 8_000_000
_RELATIVE, _ABSOLUTE = 1e-2, 1e-4
"""Sums of other lengths round differently; influence of other rows is no matter of rounding."""

Run = Callable[[Mapping[str, Array], Sequence[str]], Sequence[Array]]
"""Inputs and names of outputs -> outputs. Raises InferenceError."""


def obstacle(run: Run, signature: Signature) -> str | None:
    """Why rows of several requests must not run together; None if they may. Blocks as long as some executions."""
    if not signature.batchable:
        return "the first dimension of its inputs and outputs is not one quantity of any size"
    names = [spec.name for spec in signature.outputs]
    for size in _SIZES:
        inputs = made_up(signature.inputs, size)
        if inputs is None:
            break
        try:
            together = run(inputs, names)
            singly = [run({n: a[i : i + 1] for n, a in inputs.items()}, names) for i in range(ROWS)]
        except InferenceError:
            continue
        for index, name in enumerate(names):
            if not _agree(together[index], [row[index] for row in singly]):
                return f"output '{name}' of a row depends on the other rows"
        return None
    return "it does not run on made-up values, so its rows cannot be shown to be independent"


def made_up(specs: Sequence[TensorSpec], size: int) -> dict[str, Array] | None:
    """`ROWS` rows for each input, the same for the same arguments; None if that would be too much."""
    random = np.random.default_rng(0)
    inputs: dict[str, Array] = {}
    for spec in specs:
        shape = (ROWS, *(size if own == -1 else own for own in spec.shape[1:]))
        if np.prod(shape, dtype=np.float64) > _MAX_ELEMENTS:
            return None
        if spec.datatype.startswith("FP"):
            inputs[spec.name] = random.uniform(0.1, 1.0, shape).astype(NUMPY[spec.datatype])
        elif spec.datatype == "BYTES":
            inputs[spec.name] = random.choice(np.array(["a", "b"], object), shape)
        else:
            # Numbers of words and of categories: only the smallest exist in every model.
            inputs[spec.name] = random.integers(0, 2, shape).astype(NUMPY[spec.datatype])
    return inputs


def _agree(together: Array, singly: Sequence[Array]) -> bool:
    if any(row.ndim == 0 or row.shape[0] != 1 for row in singly) or together.shape[:1] != (len(singly),):
        return False
    if any(row.shape[1:] != together.shape[1:] for row in singly):
        return False
    apart = np.concatenate(singly)
    if together.dtype.kind != "f":
        return bool(np.array_equal(together, apart))
    return bool(np.allclose(together, apart, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True))
