"""Specs for the tests of the CDI, and the paths of the problems in one."""

from __future__ import annotations

from typing import Any

from fairlead.devices.cdi import ContainerEdits, Device, Spec, find_problems

ENV = ContainerEdits(env=["FOO=BAR"])


def device(name: str = "dev1", edits: ContainerEdits = ENV, **fields: Any) -> Device:
    return Device(name, container_edits=edits, **fields)


def spec(*devices: Device, version: str = "1.1.0", kind: str = "vendor.com/device", **fields: Any) -> Spec:
    return Spec(version, kind, devices=devices or (device(),), **fields)


def problem_paths(made: Spec) -> list[str]:
    return [problem.path for problem in find_problems(made)]


def edit_paths(edits: ContainerEdits) -> list[str]:
    """Paths of the problems of these edits, relative to them. Another device keeps the spec whole."""
    found = problem_paths(spec(device("other"), container_edits=edits))
    assert all(path.startswith("containerEdits.") for path in found), found
    return [path.removeprefix("containerEdits.") for path in found]
