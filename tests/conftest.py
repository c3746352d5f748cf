"""How properties are searched: at random for developers, the same examples every time in CI. What collecting costs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The machine is shared: an example that takes long says nothing about the code.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

# Containers often forbid bytecode. Here that costs every worker the rewriting of every test module, and every process
# that a test starts the compilation of what it imports: minutes of each run.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collecting makes millions of objects that live to the end: nothing among them is worth looking for as garbage,
    neither then nor at each full collection of the tests' own."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    if config.getvalue("dist") != "loadgroup":
        return None
    from rooms import RoomScheduling

    return RoomScheduling(config, log)
