"""The decisions of flow control know no I/O, no clock, no log and no chance."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fairlead.gateway.flow as flow

FOLDER = Path(flow.__file__).parent
EDGE = {"__init__", "gate", "scale_from_zero"}
PURE = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in EDGE)
ALLOWED = {
    "__future__", "bisect", "collections", "dataclasses", "enum", "heapq", "itertools", "math", "typing",
    "fairlead.gateway.flow", "fairlead.gateway.pick",
}  # fmt: skip


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_nothing_that_acts(module: str) -> None:
    found = set()
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    strange = {name for name in found if not any(name == a or name.startswith(f"{a}.") for a in ALLOWED)}
    assert not strange
    assert not found & {f"fairlead.gateway.flow.{edge}" for edge in EDGE}
