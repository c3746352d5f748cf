"""Decisions, what they are learned from and how they are configured do no I/O, read no clock and draw no numbers."""

import ast
from pathlib import Path

import pytest

import fairlead.gateway.config
import fairlead.gateway.latency
import fairlead.gateway.pick

IMPURE = {
    "aiohttp",
    "asyncio",
    "logging",
    "os",
    "pathlib",
    "random",
    "requests",
    "secrets",
    "socket",
    "subprocess",
    "time",
}
MODULES = sorted(
    path
    for package in (fairlead.gateway.pick, fairlead.gateway.latency, fairlead.gateway.config)
    for path in Path(package.__file__).parent.rglob("*.py")
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_impure_is_imported(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    assert not imported & IMPURE
